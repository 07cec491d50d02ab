// What the canvas shows: the mask in its colours, the result over it, the cursor; and where a point lies in the mask.

const LARGEST_ZOOM = 32;

export class View {
  constructor(canvas, colors) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.colors = new Uint32Array(colors.map(([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0));
    this.picture = document.createElement("canvas");
    this.overlay = null; // an image
    this.opacity = 0;
    this.cursor = null; // {x, y, size, square}, in pixels of the mask
    this.zoom = 1;
    this.left = this.top = 0; // the mask's place, in pixels of the canvas
    this.asked = this.stale = false;
    this.zoomed = () => {};
    new ResizeObserver(() => this.fitCanvas()).observe(canvas.parentElement);
  }

  show(mask) {
    const resized = !this.mask || mask.width !== this.mask.width || mask.height !== this.mask.height;
    this.mask = mask;
    if (resized) {
      this.picture.width = mask.width;
      this.picture.height = mask.height;
      this.pixels = new ImageData(mask.width, mask.height);
      this.fitCanvas();
      this.fit();
    }
    this.stale = true;
    this.draw();
  }

  // Colours the picture by the mask's ids, once a frame at most.
  color() {
    const words = new Uint32Array(this.pixels.data.buffer), {ids} = this.mask;
    for (let i = 0; i < words.length; i++) words[i] = this.colors[ids[i]];
    this.picture.getContext("2d").putImageData(this.pixels, 0, 0);
    this.stale = false;
  }

  // Gives the canvas the width of its frame and the mask's proportions.
  fitCanvas() {
    if (!this.mask) return;
    const width = this.canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
    const height = width * this.mask.height / this.mask.width;
    this.canvas.style.height = `${height}px`;
    const before = this.canvas.width;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (before) {
      this.left *= this.canvas.width / before;
      this.top *= this.canvas.width / before;
    }
    this.draw();
  }

  get scale() {
    return this.zoom * this.canvas.width / this.mask.width;
  }

  fit() {
    this.zoom = 1;
    this.left = this.top = 0;
    this.zoomed();
    this.draw();
  }

  // Zooms by a factor; the point, in client coordinates, keeps its place. Without one the middle does.
  zoomBy(factor, clientX, clientY) {
    const point = clientX === undefined
      ? {x: this.canvas.width / 2, y: this.canvas.height / 2}
      : this.toCanvas(clientX, clientY);
    const zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.zoom * factor)), change = zoom / this.zoom;
    this.left = point.x - (point.x - this.left) * change;
    this.top = point.y - (point.y - this.top) * change;
    this.zoom = zoom;
    this.zoomed();
    this.keepInside();
  }

  panBy(clientX, clientY) {
    const ratio = this.canvas.width / this.canvas.clientWidth;
    this.left += clientX * ratio;
    this.top += clientY * ratio;
    this.keepInside();
  }

  // Moves the view so that a pixel of the mask is seen.
  reveal({x, y}) {
    const place = {x: this.left + (x + 0.5) * this.scale, y: this.top + (y + 0.5) * this.scale};
    this.left += Math.max(0, this.scale - place.x) - Math.max(0, place.x - this.canvas.width + this.scale);
    this.top += Math.max(0, this.scale - place.y) - Math.max(0, place.y - this.canvas.height + this.scale);
    this.keepInside();
  }

  keepInside() {
    this.left = Math.min(0, Math.max(this.canvas.width * (1 - this.zoom), this.left));
    this.top = Math.min(0, Math.max(this.canvas.height * (1 - this.zoom), this.top));
    this.draw();
  }

  toCanvas(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    return {x: (clientX - box.left) * ratio, y: (clientY - box.top) * ratio};
  }

  // The pixel of the mask under a point of the window; it may lie outside.
  toMask(clientX, clientY) {
    const {x, y} = this.toCanvas(clientX, clientY);
    return {x: Math.floor((x - this.left) / this.scale), y: Math.floor((y - this.top) / this.scale)};
  }

  draw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.drawNow();
    });
  }

  drawNow() {
    const {context, canvas, picture, scale} = this;
    if (this.stale) this.color();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const area = [this.left, this.top, picture.width * scale, picture.height * scale];
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, ...area);
    if (this.overlay && this.opacity > 0) {
      context.globalAlpha = this.opacity;
      context.imageSmoothingEnabled = scale < 4;
      context.drawImage(this.overlay, ...area);
      context.globalAlpha = 1;
    }
    if (this.cursor) this.drawCursor();
  }

  drawCursor() {
    const {context, scale, cursor} = this, size = cursor.size * scale;
    const x = this.left + (cursor.x - Math.floor(cursor.size / 2)) * scale;
    const y = this.top + (cursor.y - Math.floor(cursor.size / 2)) * scale;
    for (const [color, width] of [["#000", 3], ["#fff", 1]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      if (cursor.square || cursor.size < 3) context.rect(x, y, size, size);
      else context.ellipse(x + size / 2, y + size / 2, size / 2, size / 2, 0, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
