// What is asked of the model, and what comes back: preview, progress, result, gallery.

import {say} from "./language.js";
import {toBase64} from "./mask.js";
import {Gallery, References} from "./pictures.js";
import {Generation} from "./server.js";
import {remember, remembered} from "./session.js";
import {Settings} from "./settings.js";

const PAUSE = 200; // milliseconds without a change before a live preview is asked for
const $ = (id) => document.getElementById(id);

export class Outcome {
  // `restored` gets a result whose mask is to be painted on; `failed` gets the words of a failure.
  constructor(state, view, {restored, failed}) {
    this.view = view;
    this.failed = failed;
    // a tab of its own, even where the browser has copied another one
    this.tab = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const kept = remembered("settings");
    this.settings = new Settings(state, (matters) => this.chose(matters));
    this.settings.values = kept ?? state.settings;
    this.references = new References(state.references, () => this.chose());
    this.references.choose(kept?.reference);
    if (!this.references.key) this.references.choose(firstReference(state));
    this.gallery = new Gallery((result) => this.show(result), (result) => {
      this.settings.values = {...result.order, lock: this.settings.values.lock};
      this.references.choose(result.order.reference);
      this.show(result);
      restored(result);
    });
    this.generation = new Generation((line, order) => this.hear(line, order));
    this.timer = null;
    this.finished = ""; // the order of the last result
    this.shown = null; // the result that is seen
    this.askedAt = 0;
    $("progress").value = 0;
    $("generate").addEventListener("click", () => this.again());
    $("cancel").addEventListener("click", () => this.stop());
    document.addEventListener("translated", () => {
      if (this.shown && !this.generation.running) this.show(this.shown);
    });
  }

  // Begins to work on this board.
  watch(board) {
    this.board = board;
    if (this.gallery.results.length) this.show(this.gallery.results[0]);
  }

  chose(matters = true) {
    remember("settings", {...this.settings.values, reference: this.references.key});
    if (matters) this.soon();
  }

  order() {
    const {width, height, ids, name} = this.board.mask, {lock, ...numbers} = this.settings.values;
    return {tab: this.tab, name, width, height, mask: toBase64(ids), reference: this.references.key, ...numbers, preview: true};
  }

  // A live order follows a change after a short pause.
  soon() {
    this.stop();
    this.askedAt = performance.now();
    if ($("live").checked) this.timer = setTimeout(() => this.generate(), PAUSE);
  }

  stop() {
    clearTimeout(this.timer);
    if (!this.generation.running) return;
    this.generation.cancel();
    this.rest(say("cancelled"));
  }

  // The same once more would give the same image: then the seed is another one, unless it is locked.
  again() {
    if (!this.settings.values.lock && this.finished === JSON.stringify(this.order())) {
      this.settings.newSeed();
      this.chose(false);
    }
    this.askedAt = performance.now();
    this.generate();
  }

  generate() {
    clearTimeout(this.timer);
    this.settings.repair();
    $("generate").hidden = true;
    $("cancel").hidden = false;
    $("progress").removeAttribute("value");
    $("status").textContent = say("working");
    this.generation.start(this.order());
  }

  hear(line, order) {
    const seconds = ((performance.now() - this.askedAt) / 1000).toFixed(1);
    switch (line.state) {
      case "waiting":
        $("status").textContent = say("waiting");
        break;
      case "preview":
        this.showImage(`${line.image}?at=${Math.round(performance.now())}`, say("previewAlt"));
        $("result-note").textContent = say("previewNote");
        $("downloads").hidden = true;
        this.shown = null;
        this.say(say("preview", {seconds}));
        break;
      case "step":
        $("progress").value = line.done / line.total;
        $("status").textContent = say("step", line);
        break;
      case "image": {
        const {mask, ...kept} = order, result = {key: line.key, order: kept};
        this.finished = JSON.stringify(order);
        this.gallery.add(result);
        this.show(result);
        this.rest(say("finished", {seconds}));
        break;
      }
      case "failed":
        this.rest("");
        this.failed(line.error);
        break;
      default: // cancelled, or over without a last word
        if ($("generate").hidden) this.rest(say("cancelled"));
    }
  }

  rest(text) {
    $("generate").hidden = false;
    $("cancel").hidden = true;
    $("progress").value = 0;
    this.say(text);
  }

  // Shows how far it is, and tells a screen reader, which the steps between would only tire.
  say(text) {
    $("status").textContent = $("spoken").textContent = text;
  }

  showImage(source, alt) {
    const image = $("result");
    image.src = source;
    image.alt = alt;
    image.hidden = false;
    $("no-result").hidden = true;
    image.decode().then(() => {
      this.view.overlay = image;
      this.view.draw();
    }).catch(() => {}); // a newer image has taken its place
  }

  show({key, order}) {
    this.shown = {key, order};
    this.showImage(`results/${key}/image.jpg`, say("resultAlt", order));
    $("result-note").textContent = say("seedNote", order);
    $("downloads").hidden = false;
    $("download-image").href = `results/${key}/download.jpg`;
    $("download-zip").href = `results/${key}/download.zip`;
  }
}

// The reference that is chosen at first: of the data folder if there is one, else a generated style.
function firstReference({references}) {
  return (references.find(({key}) => !key.startsWith("u")) ?? references[0]).key;
}
