// The page's language: the browser's, until the switch chooses the other.

import {WORDS} from "./words.js";
import {remember, remembered} from "./session.js";

let language = remembered("language", true) ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

// The text of a key, its {places} filled.
export function say(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const className = (name) => WORDS[language].names[name] ?? name;
export const keyNames = () => Object.entries(WORDS[language].keyNames);

// What a generated style looks like, or a file's name.
export function lookName(label) {
  const looks = WORDS[language].looks;
  return label.split(" ").map((word) => looks[word] ?? word).join(language === "zh" ? "" : " ");
}

export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  remember("language", language, true);
  translate();
}

// Writes the texts of all elements that name one: data-text, data-label (for screen readers) and data-title.
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = say("pageTitle");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  for (const element of document.querySelectorAll("[data-title]")) element.title = say(element.dataset.title);
  const button = document.getElementById("language");
  button.textContent = say("language");
  button.title = say("languageHint");
  button.lang = language === "zh" ? "en" : "zh-CN";
  document.dispatchEvent(new Event("translated"));
}
