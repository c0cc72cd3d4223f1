// The words of the page, from texts.json, in the language of the browser or the one chosen here.

const KEPT = "dingtalk-simulator.language";
const texts = await (await fetch("/texts.json")).json();
const changed = [];
let language = kept() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

function kept() {
  const known = localStorage.getItem(KEPT);
  return known in texts ? known : null;
}

// The text of a key; `{name}` in it is replaced. With `count` 1 the key's own `.one` is taken.
export function t(key, values = {}) {
  const words = texts[language];
  const text = (values.count === 1 && words[`${key}.one`]) || words[key] || key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const has = (key) => key in texts[language];

// Fill in the elements that name a text: data-text, data-label, data-placeholder.
export function fillIn(root = document) {
  for (const each of root.querySelectorAll("[data-text]")) each.textContent = t(each.dataset.text);
  for (const each of root.querySelectorAll("[data-placeholder]")) each.placeholder = t(each.dataset.placeholder);
  for (const each of root.querySelectorAll("[data-label]")) {
    each.setAttribute("aria-label", t(each.dataset.label));
    if (each.matches("button")) each.title = t(each.dataset.label);
  }
}

function apply() {
  document.documentElement.lang = t("language.code");
  document.title = `DingTalk ${t("title.simulator")}`;
  fillIn();
  const button = document.getElementById("language");
  button.textContent = t("language.other");
  button.lang = t("language.other_code");
  button.title = t("language.switch");
  for (const each of changed) each();
}

export function onLanguage(heard) {
  changed.push(heard);
}

export function listenToLanguage() {
  document.getElementById("language").addEventListener("click", () => {
    language = language === "en" ? "zh" : "en";
    localStorage.setItem(KEPT, language);
    apply();
  });
  apply();
}
