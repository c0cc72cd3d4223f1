// The panel's wire: frames and calls, both ways, word for word with their secrets shortened.

import { $, button, clock, element, fill, toast } from "/elements.js";
import { jsonNode } from "/json.js";
import { roving } from "/keyboard.js";
import { onLanguage, t } from "/language.js";

const SHOWN_AT_MOST = 250, KEPT = 500;
const KINDS = { stream: ["push", "ack"], ping: ["ping"], registration: ["registration"], webhook: ["webhook"], api: ["api"] };
const hidden = new Set(["ping"]), opened = new Set(), rows = new Map();
let exchanges = new Map(), isPaused = false, isAsked = false, isSeen = () => false, keys;

export function heardWire(exchange) {
  if (!exchange) { exchanges = new Map(); rows.clear(); opened.clear(); }
  if (exchange) exchanges.set(exchange.number, exchange);
  if (exchanges.size > KEPT) exchanges.delete(exchanges.keys().next().value);
  if (exchange && rows.has(exchange.number)) rows.get(exchange.number).isOld = true;
  drawWireSoon();
}

function drawWireSoon() {
  if (isAsked || !isSeen()) return;
  isAsked = true;
  requestAnimationFrame(() => { isAsked = false; drawWire(); });
}

// Show what the wire has of a message: all whose text holds this.
export function filterWire(text) {
  $("wire-filter").value = text;
  drawWire();
}

// `seen` says whether anybody looks; what nobody sees is not drawn.
export function listenToWire(seen) {
  isSeen = seen;
  keys = roving($("exchanges"), ".exchange");
  $("wire-filter").addEventListener("input", drawWireSoon);
  $("wire-pause").addEventListener("click", () => { isPaused = !isPaused; drawWire(); });
  $("wire-clear").addEventListener("click", () => { exchanges = new Map(); rows.clear(); drawWire(); });
  $("wire-filter").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !event.target.value) return;
    event.preventDefault();
    filterWire("");
  });
  onLanguage(() => { rows.clear(); drawKinds(); drawWire(); });
}

function drawKinds() {
  fill($("wire-kinds"), Object.keys(KINDS).map((kind) => {
    const made = button("chip", t(`wire.${kind}`), () => {
      if (!hidden.delete(kind)) hidden.add(kind);
      made.setAttribute("aria-pressed", String(!hidden.has(kind)));
      drawWire();
    });
    made.dataset.kind = kind;
    made.setAttribute("aria-pressed", String(!hidden.has(kind)));
    return made;
  }));
}

let held = 0; // the last exchange that was there when the wire was paused
export function drawWire() {
  const all = [...exchanges.values()];
  if (!isPaused) held = all.at(-1)?.number ?? 0;
  const missed = all.filter((each) => each.number > held && isWanted(each)).length;
  $("wire-pause").textContent = isPaused ? t("wire.go_on", { count: missed }) : t("wire.pause");
  $("wire-pause").setAttribute("aria-pressed", String(isPaused));
  const list = $("exchanges"), isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const shown = all.filter((each) => each.number <= held && isWanted(each)).slice(-SHOWN_AT_MOST);
  fill(list, shown.length ? shown.map(row) : [element("li", "empty", t(all.length ? "wire.nothing" : "wire.empty"))]);
  keys.settle();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function isWanted(exchange) {
  if ([...hidden].some((kind) => KINDS[kind].includes(exchange.kind))) return false;
  const wanted = $("wire-filter").value.trim().toLowerCase();
  if (!wanted) return true;
  exchange.text ??= JSON.stringify([exchange.title, exchange.message_id, exchange.client_id, exchange.status, exchange.request, exchange.response]).toLowerCase();
  return exchange.text.includes(wanted);
}

function row(exchange) {
  const known = rows.get(exchange.number);
  if (known && !known.isOld) return known.line;
  const line = element("li"), one = button("exchange", "");
  line.dataset.key = one.dataset.key = String(exchange.number);
  one.dataset.way = exchange.way;
  const title = element("span", "title", exchange.title.replace("/v1.0/", "/"));
  const way = element("span", "way", exchange.way === "out" ? "→" : "←");
  way.setAttribute("role", "img");
  way.setAttribute("aria-label", t(`wire.${exchange.way}`));
  title.title = exchange.title;
  one.append(element("span", "time", clock(exchange.at_ms, 3)), way, title, statusOf(exchange));
  one.setAttribute("aria-expanded", "false");
  one.addEventListener("click", () => toggle(exchange, line));
  line.append(one);
  rows.set(exchange.number, { line });
  if (opened.has(exchange.number)) open(exchange, line);
  return line;
}

// An answer with HTTP 200 may still say no: its own code counts then.
function statusOf({ kind, status, took_ms, response }) {
  const made = element("span", "status");
  const code = Number(response?.errcode ?? 0), isCall = kind === "api" || kind === "webhook";
  if (status === null) made.textContent = isCall ? "…" : "";
  else {
    made.textContent = status === 0 ? t("wire.cut") : code ? `${status} · ${code}` : String(status);
    made.classList.add(status >= 200 && status < 300 && !code ? "good" : "bad");
  }
  if (took_ms !== null) made.title = `${took_ms} ms`;
  return made;
}

function toggle(exchange, line) {
  if (!opened.delete(exchange.number)) { opened.add(exchange.number); open(exchange, line); return; }
  line.querySelector(".detail").remove();
  line.firstChild.setAttribute("aria-expanded", "false");
}

function open(exchange, line) {
  const detail = element("div", "detail");
  const facts = [exchange.took_ms === null ? "" : `${exchange.took_ms} ms`, exchange.client_id, exchange.message_id].filter(Boolean);
  detail.append(element("p", "facts", [exchange.title, ...facts].join(" · ")));
  for (const part of ["request", "response"]) if (exchange[part] !== "") detail.append(partOf(exchange, part));
  line.firstChild.setAttribute("aria-expanded", "true");
  line.append(detail);
}

function partOf(exchange, part) {
  const isFrame = ["push", "ack", "ping"].includes(exchange.kind), value = exchange[part];
  const made = element("section"), head = element("div", "head");
  const copy = button("small copy", t("wire.copy"), async () => {
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    try { await navigator.clipboard.writeText(text); copy.textContent = t("wire.copied"); } catch { toast(t("wire.cannot_copy")); }
  });
  head.append(element("b", "", t(isFrame ? "wire.frame" : `wire.${part}`)), copy);
  made.append(head, jsonNode(value));
  return made;
}
