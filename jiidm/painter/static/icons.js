// Line drawings of 24 by 24 for the buttons.

const PATHS = {
  brush: "M20 4c-3 0-8 4-11 8l3 3c4-3 8-8 8-11z M8 13c-3 0-3 3-4 5 3 2 7 1 7-2z",
  line: "M5 19L19 5 M3 19h4v2H3z M17 3h4v4h-4z",
  rectangle: "M4 6h16v12H4z",
  bucket: "M11 3l8 8-8 8-7-7 7-7 M4 12h14 M20 15c1 2 2 3 2 4a2 2 0 0 1-4 0c0-1 1-2 2-4",
  eraser: "M9 19l-5-5L14 4l6 6-9 9z M9 19h11 M9 9l6 6",
  pick: "M13 7l4 4 M12 8l-8 8v4h4l8-8 M14 6l2-2a2 2 0 0 1 4 4l-2 2z",
  hand: "M12 3v18 M3 12h18 M12 3L9 6 M12 3l3 3 M12 21l-3-3 M12 21l3-3 M3 12l3-3 M3 12l3 3 M21 12l-3-3 M21 12l-3 3",
  undo: "M8 5L4 9l4 4 M4 9h10a5 5 0 0 1 0 10H9",
  redo: "M16 5l4 4-4 4 M20 9H10a5 5 0 0 0 0 10h5",
  plus: "M12 5v14 M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5",
  dice: "M4 4h16v16H4z M8.5 8.5v.01 M15.5 8.5v.01 M12 12v.01 M8.5 15.5v.01 M15.5 15.5v.01",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
