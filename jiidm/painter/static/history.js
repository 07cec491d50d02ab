// Undo and redo. A step keeps the rectangle that it changed, before and after; a new mask keeps both whole.

const MOST_BYTES = 256 * 2 ** 20;

export class History {
  constructor() {
    this.done = [];
    this.undone = [];
    this.bytes = 0;
  }

  // Notes the change from `before` to `after`; tells whether there was one.
  add(before, after) {
    const step = changeBetween(before, after);
    if (!step) return false;
    for (const forgotten of this.undone) this.bytes -= forgotten.bytes;
    this.undone = [];
    this.done.push(step);
    this.bytes += step.bytes;
    while (this.bytes > MOST_BYTES && this.done.length > 1) this.bytes -= this.done.shift().bytes;
    return true;
  }

  // The mask one step back, or null at the first.
  undo(mask) {
    const step = this.done.pop();
    if (!step) return null;
    this.undone.push(step);
    return apply(mask, step, "before");
  }

  redo(mask) {
    const step = this.undone.pop();
    if (!step) return null;
    this.done.push(step);
    return apply(mask, step, "after");
  }
}

function changeBetween(before, after) {
  if (before.width !== after.width || before.height !== after.height || before.name !== after.name) {
    return {before: before.copy(), after: after.copy(), whole: true, bytes: before.ids.length + after.ids.length};
  }
  const {width, height} = after, a = before.ids, b = after.ids;
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (a[i] === b[i]) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  if (right < 0) return null;
  const area = {left, top, width: right - left + 1, height: bottom - top + 1};
  return {area, before: cut(before, area), after: cut(after, area), bytes: 2 * area.width * area.height};
}

function cut(mask, {left, top, width, height}) {
  const piece = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const start = (top + row) * mask.width + left;
    piece.set(mask.ids.subarray(start, start + width), row * width);
  }
  return piece;
}

function apply(mask, step, side) {
  if (step.whole) return step[side].copy();
  const {left, top, width, height} = step.area;
  for (let row = 0; row < height; row++) {
    mask.ids.set(step[side].subarray(row * width, (row + 1) * width), (top + row) * mask.width + left);
  }
  return mask;
}
