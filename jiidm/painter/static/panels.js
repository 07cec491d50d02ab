// The tools, the classes, the brush, the view, the overlay and the list of keys.

import {LARGEST_BRUSH} from "./board.js";
import {choice, option} from "./choice.js";
import {icon} from "./icons.js";
import {keyNames, say} from "./language.js";
import {TOOL_KEYS, TOOLS, WITH_SIZE} from "./tools.js";

const OVERLAY = 60; // per cent, at which it is first switched on
const $ = (id) => document.getElementById(id);

export class Panels {
  constructor(board, view) {
    this.board = board;
    this.view = view;
    this.lastOverlay = OVERLAY;
    this.markTool = choice($("tools"), (tool) => this.setTool(tool));
    this.markClass = choice($("classes"), (id) => this.setClass(Number(id)));
    $("size").max = LARGEST_BRUSH;
    $("size").addEventListener("input", () => this.setSize(Number($("size").value)));
    $("overlay").addEventListener("input", () => this.setOverlay(Number($("overlay").value)));
    $("background").addEventListener("change", () => this.setBackground(Number($("background").value)));
    view.zoomed = () => { $("zoom-value").textContent = `${Math.round(view.zoom * 100)} %`; };
    for (const element of document.querySelectorAll("[data-icon]")) element.append(icon(element.dataset.icon));
    document.addEventListener("translated", () => this.draw());
    this.setSize(board.size);
    this.setOverlay(0);
  }

  // Writes everything that holds words.
  draw() {
    const {board} = this;
    $("tools").replaceChildren(...TOOLS.map(toolButton));
    $("classes").replaceChildren(...board.state.classes.map(({color}, id) => option(id, swatch(color), board.nameOf(id))));
    $("background").replaceChildren(...board.state.classes.map((_, id) => new Option(board.nameOf(id), id)));
    const tools = TOOLS.map((tool) => [TOOL_KEYS[tool].toUpperCase(), say(tool)]);
    $("keys-list").replaceChildren(...[...tools, ...keyNames()].flatMap(keyEntry));
    this.setTool(board.tool);
    this.markClass(board.chosen);
    this.setBackground(board.background);
    board.hovers(null);
  }

  setTool(tool) {
    this.board.tool = tool;
    this.markTool(tool);
    $("canvas").dataset.tool = tool;
    $("brush-bar").classList.toggle("unused", !WITH_SIZE.has(tool));
  }

  setClass(id) {
    this.board.chosen = id;
    this.markClass(id);
    $("spoken").textContent = say("chosen", {name: this.board.nameOf(id)});
  }

  setBackground(id) {
    this.board.background = id;
    $("background").value = id;
  }

  swapClasses() {
    const {chosen, background} = this.board;
    this.setClass(background);
    this.setBackground(chosen);
  }

  setSize(size) {
    this.board.size = Math.min(LARGEST_BRUSH, Math.max(1, size));
    $("size").value = $("size-value").textContent = this.board.size;
  }

  toggleSquare() {
    this.board.square = !this.board.square;
    $("shape").setAttribute("aria-pressed", String(this.board.square));
  }

  setOverlay(percent) {
    $("overlay").value = percent;
    $("overlay-value").textContent = `${percent} %`;
    this.view.opacity = percent / 100;
    this.view.draw();
  }

  toggleOverlay() {
    const now = Number($("overlay").value);
    if (now) this.lastOverlay = now;
    this.setOverlay(now ? 0 : this.lastOverlay);
  }
}

function toolButton(tool) {
  const button = option(tool, icon(tool)), key = TOOL_KEYS[tool].toUpperCase();
  button.title = `${say(tool)} (${key})`;
  button.setAttribute("aria-label", say(tool));
  button.setAttribute("aria-keyshortcuts", key);
  return button;
}

function swatch(color) {
  const element = document.createElement("span");
  element.className = "swatch";
  element.style.background = `rgb(${color})`;
  return element;
}

function keyEntry([keys, text]) {
  const term = document.createElement("dt"), meaning = document.createElement("dd");
  term.append(...keys.split(" ").map((key) => Object.assign(document.createElement("kbd"), {textContent: key})));
  meaning.textContent = text;
  return [term, meaning];
}
