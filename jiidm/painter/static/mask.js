// The painting: class ids in a Uint8Array. Drawing writes whole ids, so strokes never blend into other ids.

export class Mask {
  // `name` is that of the image to be made of it.
  constructor(width, height, ids, name) {
    Object.assign(this, {width, height, ids, name});
  }

  copy() {
    return new Mask(this.width, this.height, this.ids.slice(), this.name);
  }

  at(x, y) {
    return this.ids[y * this.width + x];
  }

  contains(x, y) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height;
  }

  // Sets columns x0 to x1 - 1 of row y, as far as they lie within.
  fillRow(y, x0, x1, id) {
    if (y < 0 || y >= this.height) return;
    const from = Math.max(0, x0), to = Math.min(this.width, x1);
    if (from < to) this.ids.fill(id, y * this.width + from, y * this.width + to);
  }

  // A dot of `size` pixels across whose middle is (x, y), or for an even size the corner at its upper left.
  dot(x, y, size, square, id) {
    const first = -Math.floor(size / 2);
    for (let row = 0; row < size; row++) {
      const inset = square ? 0 : roundInset(size, row);
      this.fillRow(y + first + row, x + first + inset, x + first + size - inset, id);
    }
  }

  // Dots at every pixel of the line from a to b, both included.
  line(a, b, size, square, id) {
    for (const [x, y] of pixelsBetween(a, b)) this.dot(x, y, size, square, id);
  }

  // The filled rectangle with corners a and b, both included.
  rectangle(a, b, id) {
    const left = Math.min(a.x, b.x), right = Math.max(a.x, b.x) + 1;
    const top = Math.max(0, Math.min(a.y, b.y)), bottom = Math.min(this.height - 1, Math.max(a.y, b.y));
    for (let y = top; y <= bottom; y++) this.fillRow(y, left, right, id);
  }

  // The connected area of one id around (x, y), by its four neighbours, row by row.
  bucket(x, y, id) {
    const old = this.at(x, y);
    if (old === id) return;
    const {width, height, ids} = this;
    const stack = [y * width + x];
    while (stack.length) {
      const seed = stack.pop();
      if (ids[seed] !== old) continue;
      const row = seed - (seed % width);
      let left = seed, right = seed + 1;
      while (left > row && ids[left - 1] === old) left--;
      while (right < row + width && ids[right] === old) right++;
      ids.fill(id, left, right);
      for (const shift of [-width, width]) {
        if (row + shift < 0 || row + shift >= width * height) continue;
        for (let i = left + shift; i < right + shift; i++) {
          if (ids[i] === old && (i === left + shift || ids[i - 1] !== old)) stack.push(i);
        }
      }
    }
  }
}

// How many pixels a round dot of this size leaves out at each end of a row.
function roundInset(size, row) {
  if (size < 3) return 0;
  const centre = (size - 1) / 2, limit = (size * size) / 4 - 0.3;
  let inset = 0;
  while ((inset - centre) ** 2 + (row - centre) ** 2 > limit) inset++;
  return inset;
}

// Bresenham's line.
function* pixelsBetween(a, b) {
  let {x, y} = a;
  const dx = Math.abs(b.x - x), dy = -Math.abs(b.y - y);
  const sx = x < b.x ? 1 : -1, sy = y < b.y ? 1 : -1;
  let error = dx + dy;
  for (;;) {
    yield [x, y];
    if (x === b.x && y === b.y) return;
    const twice = 2 * error;
    if (twice >= dy) { error += dy; x += sx; }
    if (twice <= dx) { error += dx; y += sy; }
  }
}

export function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Runs of equal ids as bytes: id, then the run's length in groups of seven bits, the lowest first.
export function packRuns(ids) {
  const packed = [];
  for (let i = 0; i < ids.length;) {
    let end = i + 1;
    while (end < ids.length && ids[end] === ids[i]) end++;
    packed.push(ids[i]);
    let length = end - i;
    for (; length > 127; length >>>= 7) packed.push((length & 127) | 128);
    packed.push(length);
    i = end;
  }
  return Uint8Array.from(packed);
}

// Raises RangeError where the runs are not exactly `count` ids.
export function unpackRuns(packed, count) {
  const ids = new Uint8Array(count);
  let place = 0;
  for (let i = 0; i < packed.length;) {
    const id = packed[i++];
    let length = 0, shift = 0;
    do {
      length |= (packed[i] & 127) << shift;
      shift += 7;
    } while (packed[i++] & 128);
    ids.fill(id, place, place + length);
    place += length;
  }
  if (place !== count) throw new RangeError("damaged drawing");
  return ids;
}
