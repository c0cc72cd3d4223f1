// What the page knows of the simulator: its state, and the feed of what happens.

import { $ } from "/elements.js";

export const me = { person: "alice", place: "private", robot: "" };
export const world = {
  endpoint: location.origin, people: [], conversations: [], connections: new Map(), items: new Map(),
  unread: new Map(), clicks: new Map(), state: null, isHere: true, isCaughtUp: false,
};
const founded = new Set(); // groups that were named here, and nobody wrote in yet
let clockOffset = 0, serial = 0, asked = null, changed = () => {}, heardWire = () => {};

export const now = () => Date.now() + clockOffset;
export const robots = () => [...new Set([...world.connections.values()].filter((each) => each.state === "open").map((each) => each.client_id))];
export const person = (id) => world.people.find((each) => each.staff_id === id);
export const nick = (id) => person(id)?.nick ?? id;
export const conversation = (id) => world.conversations.find((each) => each.conversation_id === id);

export function groups() {
  const known = world.conversations.filter((each) => each.is_group);
  const named = [...founded].filter((name) => !known.some((each) => each.name === name));
  return [...known, ...named.map((name) => ({ name, conversation_id: null, members: [] }))];
}

export function hire(name) {
  if (!person(name)) world.people.push({ staff_id: name, nick: name });
  me.person = name;
}

export function found(name) {
  founded.add(name);
  Object.assign(me, { place: name, robot: "" });
}

export function here() {
  const wanted = me.place === "private"
    ? (each) => !each.is_group && each.name === me.person && each.robot === me.robot
    : (each) => each.is_group && each.name === me.place;
  return world.conversations.find(wanted) ?? null;
}

export const hereId = () => here()?.conversation_id ?? null;

export function itemsHere() {
  const id = hereId();
  return [...world.items].filter(([, item]) => item.where === id).sort((a, b) => a[1].at - b[1].at);
}

// The end of a message's webhook: what it was told, or sooner when it was ended here.
export function endOf(record) {
  const ended = conversation(record.conversation_id)?.expired_at_ms ?? 0;
  return ended >= record.created_at_ms ? Math.min(ended, record.expires_at_ms) : record.expires_at_ms;
}

// In a group with several bots those are written to that the text names, else all.
export function addressed(text) {
  if (me.place === "private") return me.robot || [];
  const all = robots(), named = all.filter((each) => text.includes(`@${each}`));
  return all.length > 1 ? (named.length ? named : all) : [];
}

export async function refresh() {
  const state = await (await fetch("/control/state")).json();
  clockOffset = state.now_ms - Date.now();
  const named = world.people.filter((each) => each.staff_id === me.person);
  Object.assign(world, { state, endpoint: state.endpoint, conversations: state.conversations });
  world.people = [...state.people, ...named.filter((each) => !state.people.some((one) => one.staff_id === each.staff_id))];
  world.connections = new Map(state.connections.map((each) => [each.connection_id, each]));
  changed();
}

// Many changes at once are one look.
function refreshSoon() {
  asked ??= setTimeout(() => { asked = null; refresh().catch(() => {}); }, 50);
}

function clear() {
  Object.assign(world, { items: new Map(), unread: new Map(), clicks: new Map() });
  $("messages").replaceChildren();
  heardWire(null);
}

function keep(key, item) {
  const known = world.items.get(key);
  world.items.set(key, { ...item, version: (known?.version ?? 0) + 1 });
  if (!conversation(item.where) && world.isCaughtUp) refreshSoon();
  if (!known && world.isCaughtUp && item.where !== hereId()) world.unread.set(item.where, (world.unread.get(item.where) ?? 0) + 1);
}

// `onChange` is called after each change, `onWire` with each exchange, and with null to begin anew.
export async function listen(onChange, onWire) {
  changed = onChange;
  heardWire = onWire;
  await refresh().catch(() => {});
  const feed = new EventSource("/control/events");
  const on = (kind, heard) => feed.addEventListener(kind, (event) => { heard(JSON.parse(event.data)); changed(); });
  feed.addEventListener("open", () => { clear(); world.isHere = true; world.isCaughtUp = false; });
  feed.addEventListener("error", () => { world.connections = new Map(); world.isHere = false; changed(); });
  feed.addEventListener("wire", (event) => heardWire(JSON.parse(event.data)));
  on("ready", () => { world.isCaughtUp = true; refresh(); });
  on("reset", () => { clear(); refresh(); });
  on("faults", refreshSoon);
  on("connection", (record) => {
    if (record.state === "closed") world.connections.delete(record.connection_id);
    else world.connections.set(record.connection_id, record);
  });
  on("message", (record) => keep(record.message_id, { kind: "message", at: record.created_at_ms, record, where: record.conversation_id }));
  on("reply", (record) => {
    if (record.conversation_id) keep(`r${++serial}`, { kind: "reply", at: record.at_ms, record, where: record.conversation_id });
  });
  on("card", (record) => {
    for (const id of Object.keys(record.places)) keep(`c${record.out_track_id}@${id}`, { kind: "card", at: record.created_at_ms, record, where: id });
  });
  on("proactive", (record) => {
    for (const id of record.conversation_ids) keep(`p${++serial}`, { kind: "proactive", at: record.at_ms, record, where: id });
  });
  on("click", (record) => {
    world.clicks.set(record.out_track_id, record);
    for (const item of world.items.values()) if (item.record.out_track_id === record.out_track_id) item.version += 1;
  });
}
