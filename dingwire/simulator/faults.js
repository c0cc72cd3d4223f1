// The panel's faults: what can be done to a bot now, and every switch of the simulator with its state.

import { $, button, element, fill, order, toast } from "/elements.js";
import { onLanguage, t } from "/language.js";
import { API_FAULTS, GROUPS, REPLY_FAULTS } from "/switches.js";
import { hereId, itemsHere, world } from "/world.js";

const LINES = ["open", "mute", "half_open"];
const ONCE = "once", UNTIL = "until";
const shown = new Map(); // what brings a control up to date, by name
const give = (verb, body) => order(verb, body).catch(() => {});

const lastMessage = () => itemsHere().filter(([, item]) => item.kind === "message").at(-1)?.[1].record;
const DEEDS = {
  expire: () => (hereId() ? give("expire", { conversation: hereId() }) : toast(t("faults.nothing_said"))),
  drop: () => give("drop"),
  disconnect: () => give("disconnect"),
  redeliver: () => (lastMessage() ? give("redeliver", { message: lastMessage().message_id }) : toast(t("faults.nothing_said"))),
  tokens: () => give("tokens"),
  codes: () => give("codes"),
};

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const moved = () => Object.keys(world.state?.faults ?? {}).filter((name) => !same(world.state.faults[name], world.state.normal[name]));
const isLeft = (fault) => fault.times === null || fault.met < fault.times;
const left = (list) => (world.state?.[list] ?? []).filter(isLeft);
const held = () => [...world.connections.values()].filter((each) => ["mute", "half_open"].includes(each.state));

function count() {
  return moved().length + left("reply_faults").length + left("api_faults").length + (world.state?.registration_faults.length ?? 0) + (held().length ? 1 : 0);
}

export function listenToFaults() {
  $("heal").addEventListener("click", () => give("heal"));
  onLanguage(() => { build(); drawFaults(); });
}

export function drawFaults() {
  if (!world.state) return;
  if (!shown.size) build();
  const faults = count(), text = faults ? t("faults.on", { count: faults }) : t("faults.none");
  $("troubles").hidden = !faults;
  $("troubles").textContent = text;
  if ($("faults-state").textContent !== text) $("faults-state").textContent = text;
  $("faults-state").dataset.state = faults ? "on" : "";
  $("heal").disabled = !faults;
  for (const each of shown.values()) each();
}

function build() {
  if (!world.state) return;
  shown.clear();
  fill($("switches"), [now(), ...GROUPS.map(([name, switches]) => group(name, switches))]);
}

// What happens at once, and the state of the connections

function now() {
  const made = element("section", "now"), deeds = element("div", "deed-row");
  deeds.append(...Object.entries(DEEDS).map(([name, does]) => {
    const one = button("small", t(`faults.${name}`), does);
    one.dataset.deed = name;
    return one;
  }));
  made.append(element("h3", "", t("faults.now")), deeds, lines());
  return made;
}

function lines() {
  const made = element("div", "segments");
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", t("faults.lines"));
  const buttons = LINES.map((state) => {
    const one = button("", t(`faults.line.${state}`), () => give("connections", { state }));
    one.dataset.line = state;
    return one;
  });
  made.append(element("span", "label", t("faults.lines")), ...buttons);
  shown.set("lines", () => {
    const states = new Set([...world.connections.values()].map((each) => each.state));
    for (const each of buttons) {
      each.disabled = !world.connections.size;
      each.setAttribute("aria-pressed", String(states.has(each.dataset.line)));
    }
  });
  return made;
}

// A group of switches, folded

function group(name, switches) {
  const made = element("details", "group"), summary = element("summary"), mark = element("span", "count");
  made.dataset.key = name;
  made.open = name === "webhook";
  summary.append(element("span", "", t(`faults.group.${name}`)), mark);
  made.append(summary);
  if (name === "webhook") made.append(scripted("replies", "reply_faults", REPLY_FAULTS));
  if (name === "api") made.append(scripted("api", "api_faults", API_FAULTS));
  made.append(...switches.map(switchRow));
  shown.set(`group ${name}`, () => {
    const on = switches.filter((each) => moved().includes(each)).length
      + (name === "webhook" ? left("reply_faults").length : name === "api" ? left("api_faults").length : 0);
    mark.hidden = !on;
    mark.textContent = String(on);
  });
  return made;
}

function labelled(name, text, control) {
  const row = element("div", "switch"), label = element("label", "", text);
  control.id = label.htmlFor = `switch-${name}`;
  row.append(label, control);
  return row;
}

function options(select, names, prefix) {
  select.append(...names.map((each) => Object.assign(element("option", "", t(`${prefix}.${each}`)), { value: each })));
  return select;
}

// What the next reply or call meets, or all of them, until it is set back.
function scripted(verb, list, faults) {
  const what = options(element("select"), ["ok", ...Object.keys(faults)], `faults.${verb}`);
  const times = options(element("select", "times"), [UNTIL, ONCE], "faults.times");
  times.setAttribute("aria-label", t("faults.times.label"));
  const row = labelled(verb, t(`faults.${verb}`), what);
  row.append(times);
  const orders = async () => {
    const fault = faults[what.value];
    await give(verb, { heal: true, ...(fault && { ...fault, times: times.value === ONCE ? 1 : null }) });
  };
  what.addEventListener("change", orders);
  times.addEventListener("change", () => { if (what.value !== "ok") orders(); });
  shown.set(verb, () => {
    const [fault] = left(list);
    const name = fault && Object.keys(faults).find((each) => Object.entries(faults[each]).every(([member, value]) => member === "errmsg" || same(fault[member], value)));
    row.classList.toggle("moved", Boolean(fault));
    if (fault && !name) { if (!what.querySelector("[value=other]")) options(what, ["other"], "faults"); what.value = "other"; }
    else what.value = name ?? "ok";
    if (fault) times.value = fault.times === null ? UNTIL : ONCE;
  });
  return row;
}

function switchRow(name) {
  const { kind, choices } = world.state.switches[name];
  const control = controlFor(kind, choices, name), row = labelled(name, t(`switch.${name}`), control);
  const code = element("code", "", name);
  const back = button("back", "↺", () => give("faults", { [name]: world.state.normal[name] }));
  row.querySelector("label").append(code);
  row.dataset.kind = kind;
  row.append(back);
  control.addEventListener("change", async () => {
    const value = valueOf(kind, control);
    if (value === null || Number.isNaN(value)) { shown.get(name)(true); return; }
    await order("faults", { [name]: value }).catch(() => shown.get(name)(true));
  });
  shown.set(name, (isForced = false) => {
    const value = world.state.faults[name], normal = world.state.normal[name], isMoved = !same(value, normal);
    row.classList.toggle("moved", isMoved);
    back.hidden = !isMoved;
    back.title = t("faults.back", { value: textOf(normal) });
    back.setAttribute("aria-label", `${t(`switch.${name}`)}: ${back.title}`);
    if (document.activeElement === control && !isForced && kind !== "flag" && kind !== "choice") return;
    if (kind === "flag") control.checked = value;
    else control.value = kind === "list" ? value.join(", ") : value;
  });
  return row;
}

function controlFor(kind, choices, name) {
  if (kind === "choice") {
    const made = element("select");
    made.append(...choices.map((each) => Object.assign(element("option", "", each), { value: each })));
    return made;
  }
  const made = element("input");
  made.type = kind === "flag" ? "checkbox" : kind === "seconds" || kind === "number" ? "number" : "text";
  if (kind === "flag") made.setAttribute("role", "switch");
  if (made.type === "number") Object.assign(made, { step: kind === "number" ? "1" : "any", min: name === "clock_skew_s" ? "" : "0" });
  if (kind === "list") made.placeholder = t("faults.list");
  return made;
}

const textOf = (value) => (Array.isArray(value) ? value.join(", ") || "–" : value === "" ? "–" : String(value));

function valueOf(kind, control) {
  if (kind === "flag") return control.checked;
  if (kind === "list") return control.value.split(/[,，]/).map((each) => each.trim()).filter(Boolean);
  if (kind === "seconds" || kind === "number") return control.value === "" ? null : Number(control.value);
  return control.value;
}
