// Puts the page together, and hears its buttons and keys.

import {Board} from "./board.js";
import {listen} from "./input.js";
import {say, switchLanguage, translate} from "./language.js";
import {toBase64} from "./mask.js";
import {Outcome} from "./outcome.js";
import {Panels} from "./panels.js";
import {Masks} from "./pictures.js";
import {getJson, postFile, postForBlob} from "./server.js";
import {TOOL_KEYS, TOOLS} from "./tools.js";
import {View} from "./view.js";

const ZOOM = 1.5;
const GENERATED = 1e6; // how many landscapes "surprise me" draws from
const $ = (id) => document.getElementById(id);

async function main() {
  const state = await getJson("state");
  const view = new View($("canvas"), state.classes.map(({color}) => color));
  const outcome = new Outcome(state, view, {
    restored: (result) => trying(async () => open(await getJson(`results/${result.key}/mask`))),
    failed: tellError,
  });
  const board = new Board(state, view, {
    began: () => outcome.stop(),
    picked: (id) => panels.setClass(id),
    edited: () => {
      $("welcome").hidden = true;
      allowSteps(board);
      outcome.soon();
    },
  });
  const panels = new Panels(board, view);
  const open = (sent) => {
    board.loadSent(sent);
    if (sent.foreign) tell(say("foreign"));
  };
  new Masks(state.masks, (key) => trying(async () => open(await getJson(`masks/${key}`))));
  const acts = {
    "undo": () => board.step("undo"),
    "redo": () => board.step("redo"),
    "zoom-in": () => view.zoomBy(ZOOM),
    "zoom-out": () => view.zoomBy(1 / ZOOM),
    "zoom-fit": () => view.fit(),
    "shape": () => panels.toggleSquare(),
    "empty": () => board.load(board.emptyMask()),
    "surprise": () => trying(async () => open(await getJson(`masks/g${Math.floor(Math.random() * GENERATED)}`))),
    "download-mask": () => trying(() => saveMask(board.mask)),
    "help": () => $("keys").showModal(),
    "language": switchLanguage,
    "error-close": () => { $("error").hidden = true; },
  };
  for (const [id, act] of Object.entries(acts)) $(id).addEventListener("click", act);
  $("live").addEventListener("change", () => {
    if ($("live").checked && board.history.done.length) outcome.soon();
    else outcome.stop();
  });
  onFile("upload-mask", async (file) => open(await postFile("masks", file)));
  onFile("upload-reference", async (file) => {
    const reference = await postFile("references", file);
    outcome.references.add(reference);
    outcome.references.choose(reference.key);
    outcome.chose();
  });
  listenToKeys({
    ...Object.fromEntries(TOOLS.map((tool) => [TOOL_KEYS[tool], () => panels.setTool(tool)])),
    "[": () => panels.setSize(board.size - 1), "]": () => panels.setSize(board.size + 1),
    "q": acts.shape, "x": () => panels.swapClasses(), "o": () => panels.toggleOverlay(),
    "+": acts["zoom-in"], "=": acts["zoom-in"], "-": acts["zoom-out"], "0": acts["zoom-fit"],
    "escape": () => outcome.stop(), "?": acts.help,
  }, {
    "z": (event) => board.step(event.shiftKey ? "redo" : "undo"),
    "y": acts.redo,
    "enter": () => outcome.again(),
  });
  listen($("canvas"), view, board);
  $("model").textContent = `${state.model} · ${state.width}×${state.height}`;
  allowSteps(board);
  translate();
  outcome.watch(board);
  document.body.dataset.ready = "";
}

function allowSteps({history}) {
  $("undo").disabled = !history.done.length;
  $("redo").disabled = !history.undone.length;
}

// Keys that hold for the whole page, and those that go with Ctrl or Command.
function listenToKeys(keys, controlKeys) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || $("keys").open) return;
    const key = event.key.toLowerCase(), control = event.ctrlKey || event.metaKey;
    const typing = event.target.matches("input[type=number], select");
    if (event.altKey || (typing && key !== "enter")) return;
    const act = (control ? controlKeys : keys)[key];
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}

// The file that a person has chosen; the same may be chosen again.
function onFile(id, use) {
  $(id).addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) await trying(() => use(file));
    event.target.value = "";
  });
}

async function saveMask({width, height, ids, name}) {
  const blob = await postForBlob("mask.png", {width, height, mask: toBase64(ids)}), link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function tell(text) {
  $("error-text").textContent = text;
  $("error").hidden = false;
}

const tellError = (text) => tell(text || say("lost"));

async function trying(act) {
  $("error").hidden = true;
  try {
    await act();
  } catch (error) {
    tellError(error.message);
  }
}

main().catch((error) => {
  translate();
  tellError(error.message);
});
