// What opens at the sides: the panel, and on a narrow window the list of chats. There each lies over
// the chat, and the rest cannot be reached until it is closed.

import { $ } from "/elements.js";

const OVER = { nav: matchMedia("(max-width: 760px)"), panel: matchMedia("(max-width: 1080px)") };
const TABS = ["wire", "faults"];
let opener = null, tab = "wire", shown = () => {};

const isOpen = (name) => (name === "nav" ? document.body.dataset.nav === "open" : !$("panel").hidden);
const isOver = (name) => OVER[name].matches && isOpen(name);

function apply() {
  const over = ["nav", "panel"].find(isOver);
  $("scrim").hidden = !over;
  for (const each of document.body.querySelectorAll(":scope > :is(header, nav, main, aside)")) {
    each.inert = Boolean(over) && each.id !== over;
  }
  $("show-nav").setAttribute("aria-expanded", String(isOpen("nav")));
  for (const name of TABS) {
    const isShown = isOpen("panel") && name === tab;
    $(`show-${name}`).setAttribute("aria-expanded", String(isShown));
    $(`tab-${name}`).setAttribute("aria-selected", String(name === tab));
    $(`tab-${name}`).tabIndex = name === tab ? 0 : -1;
    $(name).hidden = !isShown;
  }
  document.body.dataset.panel = isOpen("panel") ? "open" : "";
}

export const isShown = (name) => isOpen("panel") && tab === name;

export function openPanel(name, { isFocused = true } = {}) {
  if (!isOpen("panel")) opener = document.activeElement;
  document.body.dataset.nav = "";
  tab = name;
  $("panel").hidden = false;
  apply();
  shown(name);
  if (isFocused) $(`tab-${name}`).focus();
}

function toggle(name) {
  if (isShown(name)) close();
  else openPanel(name);
}

export function openNav() {
  opener = document.activeElement;
  document.body.dataset.nav = "open";
  apply();
  $("people").querySelector("button[tabindex='0']")?.focus();
}

// Close what lies over the chat, else the panel; says whether there was something.
export function close() {
  const name = ["nav", "panel"].find(isOver) ?? (isOpen("panel") ? "panel" : null);
  if (!name) return false;
  const held = $(name).contains(document.activeElement);
  if (name === "nav") document.body.dataset.nav = "";
  else $("panel").hidden = true;
  apply();
  if (held) (opener?.isConnected && opener !== document.body ? opener : $("text")).focus();
  return true;
}

export const closeNav = () => { if (isOver("nav")) close(); };

// `onShown` is called with the name of the part of the panel that is seen now.
export function listenToDrawers(onShown) {
  shown = onShown;
  for (const name of TABS) {
    $(`show-${name}`).addEventListener("click", () => toggle(name));
    $(`tab-${name}`).addEventListener("click", () => openPanel(name));
  }
  $("troubles").addEventListener("click", () => openPanel("faults"));
  $("tabs").addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key) || event.target.role !== "tab") return;
    openPanel(TABS.find((name) => name !== tab));
  });
  $("show-nav").addEventListener("click", openNav);
  $("hide-panel").addEventListener("click", close);
  $("scrim").addEventListener("click", close);
  for (const each of Object.values(OVER)) each.addEventListener("change", apply);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const isInPanel = $("panel").contains(document.activeElement);
    if ((["nav", "panel"].some(isOver) || isInPanel) && close()) event.preventDefault();
  });
  apply();
}
