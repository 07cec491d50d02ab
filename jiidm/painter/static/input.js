// Mouse, pen, touch and keys on the canvas, turned into strokes, zoom and pan.

import {Stroke} from "./tools.js";

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

// `board` as in tools.js, and `board.hovers(point)`, `board.begins()`, `board.speaks(point)`.
export function listen(canvas, view, board) {
  const fingers = new Map(); // pointers that are down, by id: {x, y} in the window
  let stroke = null, panning = false, pinch = null, keyStroke = null;

  const pointOf = (event) => view.toMask(event.clientX, event.clientY);

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 2) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    if (event.pointerType === "touch" && fingers.size === 2) { // two fingers zoom and pan; the first one's dot goes
      if (stroke) stroke.abandon();
      stroke = null;
      pinch = spread(fingers);
      return;
    }
    if (fingers.size > 1) return;
    panning = event.button === 1 || board.tool === "hand";
    if (panning) return;
    board.begins();
    stroke = new Stroke(board, pointOf(event), event.button === 2 ? "pick" : board.tool);
  });

  canvas.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (pinch && finger) {
      fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
      const now = spread(fingers);
      view.zoomBy(now.distance / pinch.distance, now.x, now.y);
      view.panBy(now.x - pinch.x, now.y - pinch.y);
      pinch = now;
    } else if (panning && finger) {
      view.panBy(event.clientX - finger.x, event.clientY - finger.y);
      fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    } else if (stroke && finger) {
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const each of passed.length ? passed : [event]) stroke.move(pointOf(each));
    }
    board.hovers(pointOf(event));
  });

  const up = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (fingers.size < 2) pinch = null;
    if (fingers.size) return;
    panning = false;
    if (stroke) stroke.end();
    stroke = null;
  };
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(name, up);
  canvas.addEventListener("pointerleave", () => board.hovers(null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    view.zoomBy(2 ** (-Math.sign(event.deltaY) / 4), event.clientX, event.clientY);
  }, {passive: false});

  // Arrows move the cursor, Shift with them ten pixels. The space bar puts the pen down, and lifts it.
  let cursor = null;
  const lift = () => {
    if (keyStroke) keyStroke.end();
    keyStroke = null;
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    cursor ??= {x: Math.floor(board.mask.width / 2), y: Math.floor(board.mask.height / 2)};
    cursor = clamp(cursor, board.mask);
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key], reach = event.shiftKey ? 10 : 1;
      cursor = clamp({x: cursor.x + dx * reach, y: cursor.y + dy * reach}, board.mask);
      if (keyStroke) keyStroke.move(cursor);
    } else if (event.key === " ") {
      if (event.repeat) return event.preventDefault();
      if (keyStroke) {
        lift();
      } else if (board.tool !== "hand") {
        board.begins();
        keyStroke = new Stroke(board, cursor);
        if (board.tool === "bucket" || board.tool === "pick") lift();
      }
    } else if (event.key === "Escape" && keyStroke) {
      keyStroke.abandon();
      keyStroke = null;
    } else {
      return;
    }
    event.preventDefault();
    view.reveal(cursor);
    board.hovers(cursor);
    board.speaks(cursor, keyStroke !== null);
  });
  canvas.addEventListener("blur", () => {
    lift();
    board.hovers(null);
  });
}

function clamp({x, y}, mask) {
  return {x: Math.min(mask.width - 1, Math.max(0, x)), y: Math.min(mask.height - 1, Math.max(0, y))};
}

// The middle of two fingers and how far apart they are.
function spread(fingers) {
  const [a, b] = fingers.values();
  return {x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) || 1};
}
