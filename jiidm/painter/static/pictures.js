// The pictures to choose from: style photos, masks to start from, and what was made so far.

import {choice, option} from "./choice.js";
import {lookName, say} from "./language.js";
import {remember, remembered} from "./session.js";

const PAGE = 24; // pictures that are shown before "more" is asked for
const $ = (id) => document.getElementById(id);

function thumbnail(key) {
  const image = document.createElement("img");
  image.src = `thumbnails/${key}`;
  image.alt = "";
  image.loading = "lazy";
  return image;
}

export class References {
  constructor(list, chosen) {
    this.list = list;
    this.shown = PAGE;
    this.mark = choice($("references"), (key) => {
      this.choose(key);
      chosen();
    });
    $("more-references").addEventListener("click", () => {
      this.shown += PAGE;
      this.draw();
    });
    document.addEventListener("translated", () => this.draw());
  }

  choose(key) {
    const place = this.list.findIndex((each) => each.key === key);
    if (place < 0) return;
    this.key = key;
    if (place >= this.shown) {
      this.shown = place + 1;
      this.draw();
    }
    this.mark(key);
  }

  add(reference) {
    this.list.unshift(reference);
    this.draw();
  }

  draw() {
    $("references").replaceChildren(...this.list.slice(0, this.shown).map(({key, label}) => {
      const button = option(key, thumbnail(key));
      button.title = label ? lookName(label) : say("uploaded");
      button.setAttribute("aria-label", button.title);
      return button;
    }));
    $("more-references").hidden = this.shown >= this.list.length;
    this.mark(this.key);
  }
}

export class Masks {
  constructor(list, start) {
    this.list = list;
    this.shown = PAGE;
    $("masks").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) start(button.dataset.key);
    });
    $("more-masks").addEventListener("click", () => {
      this.shown += PAGE;
      this.draw();
    });
    document.addEventListener("translated", () => this.draw());
  }

  draw() {
    $("masks").replaceChildren(...this.list.slice(0, this.shown).map(({key, label}, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.key = key;
      button.title = label || say("maskNumber", {number: number + 1});
      button.setAttribute("aria-label", button.title);
      button.append(thumbnail(key));
      return button;
    }));
    $("more-masks").hidden = this.shown >= this.list.length;
  }
}

// Results: {key, order}, where `order` is what was asked for, without its mask.
export class Gallery {
  constructor(show, restore) {
    this.results = remembered("gallery") ?? [];
    this.show = show;
    this.restore = restore;
    document.addEventListener("translated", () => this.draw());
  }

  add(result) {
    this.results.unshift(result);
    this.keep();
  }

  keep() {
    remember("gallery", this.results);
    this.draw();
  }

  draw() {
    $("no-gallery").hidden = this.results.length > 0;
    $("gallery").replaceChildren(...this.results.map((result) => this.item(result)));
  }

  item(result) {
    const item = document.createElement("li"), look = document.createElement("button"), image = document.createElement("img");
    image.src = `results/${result.key}/image.jpg`;
    image.alt = "";
    image.addEventListener("error", () => { // the server was started anew, or keeps newer ones only
      this.results = this.results.filter((each) => each !== result);
      this.keep();
    });
    look.type = "button";
    look.append(image);
    look.setAttribute("aria-label", say("shownResult", {seed: result.order.seed}));
    look.addEventListener("click", () => this.show(result));
    const links = document.createElement("div");
    links.append(
      action(say("restore"), say("restoreHint"), () => this.restore(result)),
      download(`results/${result.key}/download.jpg`, "JPEG", say("downloadImage")),
      download(`results/${result.key}/download.zip`, "zip", say("zipHint")),
    );
    item.append(look, links);
    return item;
  }
}

function action(text, hint, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.title = hint;
  button.addEventListener("click", act);
  return button;
}

function download(href, text, hint) {
  const link = document.createElement("a");
  link.href = href;
  link.download = "";
  link.textContent = text;
  link.title = hint;
  return link;
}
