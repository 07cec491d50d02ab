// The board: the mask that is painted, the tool in hand, and the steps back. Strokes (tools.js) work on it.

import {History} from "./history.js";
import {className, say} from "./language.js";
import {fromBase64, Mask, packRuns, toBase64, unpackRuns} from "./mask.js";
import {remember, remembered} from "./session.js";
import {WITH_SIZE} from "./tools.js";

const MOUNTAIN = 0, SKY = 1;
export const LARGEST_BRUSH = 64;
export const NAME = "painting"; // of a mask that is none of the person's own files
const $ = (id) => document.getElementById(id);

export class Board {
  // `began` is called when a stroke begins, `edited` when the mask is another one.
  constructor(state, view, {began, edited, picked}) {
    Object.assign(this, {state, view, picked, edited});
    this.begins = began;
    this.history = new History();
    this.tool = "brush";
    this.size = 12;
    this.square = false;
    this.chosen = MOUNTAIN;
    this.background = SKY;
    this.open(kept() ?? this.emptyMask());
  }

  nameOf(id) {
    return className(this.state.classes[id].name);
  }

  emptyMask() {
    const {width, height} = this.mask ?? this.state;
    return new Mask(width, height, new Uint8Array(width * height).fill(this.background), NAME);
  }

  open(mask) {
    this.mask = mask;
    this.view.show(mask);
    this.hovers(null);
  }

  // Puts another mask in the place of this one, which can be undone.
  load(mask) {
    const before = this.mask;
    this.open(mask);
    this.finished(before);
  }

  // `load` of a mask as the server sends it, with its ids in base 64.
  loadSent({width, height, mask, name}) {
    this.load(new Mask(width, height, fromBase64(mask), name));
  }

  changed() {
    this.view.show(this.mask);
  }

  finished(before) {
    if (this.history.add(before, this.mask)) this.keep();
  }

  step(direction) {
    const mask = this.history[direction](this.mask);
    if (!mask) return;
    this.open(mask);
    this.keep();
  }

  keep() {
    const {width, height, ids, name} = this.mask;
    remember("drawing", {width, height, name, runs: toBase64(packRuns(ids))});
    this.edited();
  }

  // Shows the cursor at a pixel, and what is there; null where there is none.
  hovers(point) {
    const inside = point && this.mask.contains(point.x, point.y);
    const size = WITH_SIZE.has(this.tool) ? this.size : 1;
    this.view.cursor = point && this.tool !== "hand" ? {...point, size, square: this.square} : null;
    this.view.draw();
    $("under").textContent = inside
      ? `${point.x}, ${point.y} · ${this.nameOf(this.mask.at(point.x, point.y))}`
      : `${this.mask.width}×${this.mask.height}`;
  }

  // Tells a screen reader where the cursor is.
  speaks({x, y}, down) {
    const place = say("spokenAt", {x, y, name: this.nameOf(this.mask.at(x, y))});
    $("spoken").textContent = down ? `${place}, ${say("spokenDown")}` : place;
  }
}

// The drawing before the reload, or null.
function kept() {
  const drawing = remembered("drawing");
  if (!drawing) return null;
  const {width, height, runs, name} = drawing;
  try {
    return new Mask(width, height, unpackRuns(fromBase64(runs), width * height), name);
  } catch {
    return null;
  }
}
