// Lists with one Tab stop each, and the shortcuts of the page.

import { $, button, element } from "/elements.js";
import { onLanguage, t } from "/language.js";

const OFF = "dingtalk-simulator.shortcuts-off";
const INNER = "a, button, input, select, summary";
const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

// One Tab stop for a list: arrows, Home and End move inside. What is in the chosen item can be
// reached by Tab, what is in the others cannot. Call `settle` after the list was drawn.
export function roving(list, selector, { startsAtEnd = false } = {}) {
  let chosen = null;
  const items = () => [...list.querySelectorAll(selector)];
  const reach = (item, tabIndex) => {
    item.tabIndex = tabIndex;
    if (item.matches("li")) for (const each of item.querySelectorAll(INNER)) each.tabIndex = tabIndex;
  };
  const choose = (item) => {
    if (chosen && chosen !== item) reach(chosen, -1);
    chosen = item;
    if (item) reach(item, 0);
  };
  const settle = () => {
    const all = items(), key = chosen?.dataset.key;
    for (const each of all) if (each !== chosen) reach(each, -1);
    const same = all.includes(chosen) ? chosen : key && all.find((each) => each.dataset.key === key);
    choose(same || all.at(startsAtEnd ? -1 : 0) || null);
  };
  list.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item && list.contains(item)) choose(item);
  });
  list.addEventListener("keydown", (event) => {
    const all = items(), at = all.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { Home: 0, End: all.length - 1 }[event.key] ?? at + (STEPS[event.key] ?? 0);
    if (to === at || !all[to]) return;
    event.preventDefault();
    all[to].focus();
  });
  return { settle };
}

const isTyping = (node) => node.matches?.("input:not([type=checkbox]), textarea, select");

// `actions` are what single keys do outside of text fields; they can be turned off in the list.
export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    const isOther = event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented;
    if (isOther || isTyping(event.target) || document.querySelector("dialog[open]") || localStorage.getItem(OFF)) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
  $("show-keys").addEventListener("click", () => $("keys").showModal());
  onLanguage(() => drawKeys(Object.keys(actions)));
}

function drawKeys(keys) {
  const rows = [...keys, "Enter", "Shift+Enter", "Esc", "↑ ↓"].map((key) => {
    const row = element("div");
    const shown = element("dt");
    shown.append(...key.split(/(?=\+)|(?<=\+)| /).map((each) => (each === "+" ? "+" : element("kbd", "", each))));
    row.append(shown, element("dd", "", t(`keys.${key}`)));
    return row;
  });
  const list = element("dl");
  list.append(...rows);
  const label = element("label"), box = element("input");
  Object.assign(box, { type: "checkbox", checked: !localStorage.getItem(OFF) });
  box.addEventListener("change", () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")));
  label.append(box, t("keys.single"));
  const title = element("h2", "", t("keys.title"));
  title.id = "keys-title";
  const foot = element("div", "foot");
  foot.append(label, button("main", t("dialog.close"), () => $("keys").close()));
  $("keys").replaceChildren(title, list, foot);
}
