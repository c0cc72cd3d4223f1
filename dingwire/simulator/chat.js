// The chat page: puts its parts together. Each part draws one piece of what world.js knows.

import { listenToComposer, sayText } from "/composer.js";
import { close, closeNav, isShown, listenToDrawers, openNav, openPanel } from "/drawers.js";
import { $ } from "/elements.js";
import { drawFaults, listenToFaults } from "/faults.js";
import { listenToKeys } from "/keyboard.js";
import { listenToLanguage, onLanguage } from "/language.js";
import { drawMessages, focusNewest, listenToMessages, toEnd } from "/messages.js";
import { drawPlaces, listenToPlaces } from "/places.js";
import { drawWire, filterWire, heardWire, listenToWire } from "/wire.js";
import { addressed, found, hire, listen, me, refresh, world } from "/world.js";

let isAsked = false;

function draw() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => { isAsked = false; drawAll(); });
}

function drawAll() {
  drawPlaces();
  if (world.isCaughtUp) drawMessages();
  drawFaults();
}

const isSmall = matchMedia("(max-width: 760px)");

listenToPlaces(() => {
  const isByKey = document.activeElement?.matches(":focus-visible");
  closeNav();
  drawAll();
  if (!isByKey && !isSmall.matches) $("text").focus();
});
listenToMessages({ onSay: sayText, onWire: (text) => { openPanel("wire"); filterWire(text); } });
listenToComposer({
  where: (text) => ({ person: me.person, group: me.place === "private" ? null : me.place, to: addressed(text) }),
  sent: async () => { await refresh(); drawAll(); toEnd(); },
});
listenToWire(() => isShown("wire"));
listenToFaults();
listenToDrawers((name) => (name === "wire" ? drawWire() : drawFaults()));
listenToKeys({
  "/": () => $("text").focus(),
  g: () => (isSmall.matches ? openNav() : $("conversations").querySelector("[tabindex='0']").focus()),
  m: () => focusNewest(),
  w: () => (isShown("wire") ? close() : openPanel("wire")),
  f: () => (isShown("faults") ? close() : openPanel("faults")),
  "?": () => $("keys").showModal(),
});
for (const [form, named] of [["hire", hire], ["found", found]]) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const name = event.target.name.value.trim();
    if (!name) return;
    named(name);
    event.target.reset();
    drawAll();
  });
}
// Out of the composer, to where single keys do something.
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || !document.querySelector("li.row")) return;
  event.preventDefault();
  focusNewest();
});
onLanguage(draw);
listenToLanguage();
listen(draw, heardWire);
