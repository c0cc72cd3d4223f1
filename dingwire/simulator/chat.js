// The chat page: shows what the simulator's event feed tells, says what is typed.

import { actionField, answerBubble, cardBubble, element, messageBubble } from "/bubbles.js";
import { listenToComposer, order, quoteButton } from "/composer.js";

const SHOWN_AT_MOST = 300;
const STATES = {
  queued: "waiting for a bot", pushed: "delivered to the bot", acked: "acknowledged",
  refused: "refused by the bot", answered: "answered", expired: "expired", lost: "lost: no bot",
};
const $ = (id) => document.getElementById(id);
const me = { person: "alice", place: "private", robot: "" };
let people = [], conversations = [], connections = new Map(), endpoint = location.origin;
let items = new Map(), drawn = new Map(), unread = new Map();
let clockOffset = 0, isCaughtUp = false, isAsked = false, serial = 0;

const robots = () => [...new Set([...connections.values()].filter((each) => each.state === "open").map((each) => each.client_id))];
const now = () => Date.now() + clockOffset;
const person = (id) => people.find((each) => each.staff_id === id);
const nick = (id) => person(id)?.nick ?? id;

function face(id, extra = null) {
  const index = Math.max(0, people.findIndex((each) => each.staff_id === id));
  const made = element("span", `face ${extra ?? `c${index % 6}`}`);
  made.textContent = extra === "bot" ? "" : extra === "group" ? "#" : [...nick(id)][0].toUpperCase();
  made.setAttribute("aria-hidden", "true");
  return made;
}

// Where we are

function hereId() {
  const wanted = me.place === "private"
    ? (each) => !each.is_group && each.name === me.person && each.robot === me.robot
    : (each) => each.is_group && each.name === me.place;
  return conversations.find(wanted)?.conversation_id ?? null;
}

async function refresh() {
  const state = await (await fetch("/control/state")).json();
  clockOffset = state.now_ms - Date.now();
  endpoint = state.endpoint;
  people = state.people;
  conversations = state.conversations;
  connections = new Map(state.connections.map((each) => [each.connection_id, each]));
  draw();
}

function listen() {
  const feed = new EventSource("/control/events");
  const on = (kind, heard) => feed.addEventListener(kind, (event) => { heard(JSON.parse(event.data)); draw(); });
  const clear = () => { items = new Map(); drawn = new Map(); unread = new Map(); $("messages").replaceChildren(); };
  feed.addEventListener("open", () => { clear(); isCaughtUp = false; });
  feed.addEventListener("error", () => { connections = new Map(); setPill("down", "the simulator is gone"); });
  on("ready", () => { isCaughtUp = true; refresh(); });
  on("reset", () => { clear(); refresh(); });
  on("connection", (record) => {
    if (record.state === "closed") connections.delete(record.connection_id);
    else connections.set(record.connection_id, record);
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
}

function keep(key, item) {
  const known = items.get(key);
  items.set(key, { ...item, version: (known?.version ?? 0) + 1 });
  if (!conversations.some((each) => each.conversation_id === item.where) && isCaughtUp) refresh();
  const isNews = !known && isCaughtUp && item.where !== hereId();
  if (isNews) unread.set(item.where, (unread.get(item.where) ?? 0) + 1);
}

// Drawing

function draw() {
  if (isAsked || !isCaughtUp) return;
  isAsked = true;
  requestAnimationFrame(() => { isAsked = false; drawAll(); });
}

function drawAll() {
  unread.delete(hereId());
  drawBot();
  drawPeople();
  drawConversations();
  drawMessages();
  tick();
}

function setPill(state, text) {
  $("bot").dataset.state = state;
  $("bot").textContent = text;
}

function drawBot() {
  const live = [...connections.values()].filter((each) => each.state === "open"), names = robots();
  $("help").hidden = connections.size > 0;
  $("bot").title = live.map((each) => `${each.client_id} ${each.ua}`).join("\n");
  if (live.length) setPill("up", live.length === 1 ? "bot connected" : `${names.length === 1 ? "bot" : `${names.length} bots`} connected, ${live.length} connections`);
  else if (connections.size) setPill("leaving", "bot is being disconnected");
  else setPill("down", "no bot connected");
  $("command").textContent = `export DINGTALK_OPENAPI_ENDPOINT=${endpoint}\nexport DINGTALK_WEBHOOK_HOSTS=${new URL(endpoint).host}\nexport DINGTALK_CLIENT_ID=any DINGTALK_CLIENT_SECRET=any DINGTALK_ALLOWED_USERS='*'\npython -m listener & celery -A worker worker`;
}

function row(shownFace, name, attribute, isChosen, count, chosen) {
  const line = element("li"), button = element("button");
  button.type = "button";
  button.setAttribute(attribute, String(isChosen));
  button.append(shownFace, element("span", "name", name));
  if (count) button.append(element("span", "count", String(count)));
  button.addEventListener("click", () => { chosen(); $("messages").replaceChildren(); drawn = new Map(); drawAll(); toEnd(); $("text").focus(); });
  line.append(button);
  return line;
}

function drawPeople() {
  // A load test brings hundreds of people; the list shows who is of use here.
  const shown = people.filter((each, index) => index < 12 || each.staff_id === me.person);
  $("people").replaceChildren(...shown.map((each) => {
    const own = conversations.filter((one) => !one.is_group && one.name === each.staff_id);
    const isMe = each.staff_id === me.person;
    const count = isMe ? 0 : own.reduce((sum, one) => sum + (unread.get(one.conversation_id) ?? 0), 0);
    return row(face(each.staff_id), each.nick, "aria-pressed", isMe, count, () => { me.person = each.staff_id; });
  }));
}

function drawConversations() {
  const several = robots().length > 1 ? robots() : [];
  const privates = ["", ...several].map((robot) => {
    const chat = conversations.find((each) => !each.is_group && each.name === me.person && each.robot === robot);
    const isHere = me.place === "private" && me.robot === robot;
    const name = robot ? `Private with ${robot}` : "Private chat";
    return row(face("", "bot"), name, "aria-current", isHere, unread.get(chat?.conversation_id), () => { me.place = "private"; me.robot = robot; });
  });
  const groups = conversations.filter((each) => each.is_group).slice(0, 12).map((each) =>
    row(face("", "group"), each.name, "aria-current", me.place === each.name, unread.get(each.conversation_id), () => { me.place = each.name; me.robot = ""; }));
  $("conversations").replaceChildren(...privates, ...groups);
  const isPrivate = me.place === "private";
  const here = conversations.find((each) => each.conversation_id === hereId());
  const detail = isPrivate ? "only the two of them read this" : (here?.members ?? []).map(nick).slice(0, 6).join(", ");
  $("title").replaceChildren(isPrivate ? `${nick(me.person)} and ${me.robot || "the bot"}` : me.place, element("small", "", detail));
  $("text").placeholder = isPrivate ? `Write to the bot as ${nick(me.person)}` : `Write to the bot in ${me.place} as ${nick(me.person)}`;
}

function drawMessages() {
  const list = $("messages"), id = hereId();
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const shown = [...items].filter(([, item]) => item.where === id).sort((a, b) => a[1].at - b[1].at).slice(-SHOWN_AT_MOST);
  const wanted = [];
  for (const [key, item] of shown) {
    let old = drawn.get(key);
    if (!old || old.version !== item.version) {
      const made = ROWS[item.kind](item);
      old?.node.replaceWith(made);
      old = { node: made, version: item.version };
      drawn.set(key, old);
    }
    wanted.push(old.node);
  }
  const last = shown.filter(([, item]) => item.kind === "message").at(-1)?.[1].record;
  const isWritten = shown.at(-1)?.[1].record.state === "streaming"; // a card, which grows
  if (last && ["pushed", "acked"].includes(last.state) && last.expires_at_ms > now() && !isWritten) wanted.push(thinkingRow());
  if (!shown.length) wanted.push(element("li", "empty", "Nothing said here yet. Enter sends, Shift+Enter makes a new line."));
  const keptNodes = new Set(wanted);
  for (const node of [...list.children]) if (!keptNodes.has(node)) node.remove();
  wanted.forEach((node, index) => { if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null); });
  if (isAtEnd) toEnd();
}

const toEnd = () => { $("messages").scrollTop = $("messages").scrollHeight; };
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

function shell(classes, shownFace, name, bubble) {
  const line = element("li", classes), body = element("div", "body");
  body.append(element("span", "who", name), bubble);
  line.append(shownFace, body);
  return [line, body];
}

function messageRow({ record }) {
  const [line, body] = shell(record.person === me.person ? "mine" : "", face(record.person), record.nick, messageBubble(record));
  const meta = element("div", "meta");
  const state = element("span", `state ${record.state}`, STATES[record.state] ?? record.state);
  const left = element("span", "countdown");
  Object.assign(left.dataset, { expires: record.expires_at_ms, state: record.state });
  for (const each of record.reactions) meta.append(element("span", "reaction", each));
  meta.append(element("span", "", clock(record.created_at_ms)), state, left, quoteButton(record.message_id, record.text || `[${record.kind}]`));
  body.append(meta);
  return line;
}

function refusedRow({ kind, record }) {
  const line = element("li", "note");
  const reason = kind === "reply" ? `errcode ${record.errcode} ${record.errmsg}` : record.code;
  line.append(element("p", "", record.status && record.status !== 200 ? `a reply met HTTP ${record.status}` : `a reply was not shown: ${reason}`));
  return line;
}

function answerRow({ kind, record }) {
  if (!record.accepted) return refusedRow({ kind, record });
  const [line, body] = shell("bot", face("", "bot"), record.robot || "Bot", answerBubble(kind, record, nick));
  const meta = element("div", "meta");
  meta.append(element("span", "", clock(record.at_ms)));
  if (kind === "proactive") meta.append(element("span", "", "sent by the API, without a webhook"));
  meta.append(quoteButton(record.reply_id || record.process_query_key, record.text));
  body.append(meta);
  return line;
}

function cardRow({ record }) {
  const press = (action, params) => order("click", { card: record.out_track_id, action_id: action, person: me.person, params }).catch(failed);
  const [line, body] = shell("bot", face("", "bot"), "Bot", cardBubble(record, me.person, press));
  const meta = element("div", "meta");
  meta.append(element("span", "", clock(record.created_at_ms)), element("span", "", `card, ${record.state}`), quoteButton(record.out_track_id, record.text));
  if (record.callback_type === "STREAM") meta.append(actionField(press));
  body.append(meta);
  return line;
}

const ROWS = { message: messageRow, reply: answerRow, proactive: answerRow, card: cardRow };

function thinkingRow() {
  const dots = element("div", "bubble");
  const three = element("span", "dots");
  three.append(element("i"), element("i"), element("i"));
  three.setAttribute("aria-label", "the bot is at work");
  dots.append(three);
  return shell("bot", face("", "bot"), "Bot", dots)[0];
}

function tick() {
  for (const each of document.querySelectorAll(".countdown")) {
    const left = Math.ceil((Number(each.dataset.expires) - now()) / 1000);
    const isOver = left <= 0, { state } = each.dataset;
    each.classList.toggle("over", isOver && state !== "answered");
    each.classList.toggle("soon", !isOver && left < 300);
    const shown = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    each.textContent = isOver ? "webhook expired" : `webhook ends in ${shown}`;
    if (isOver && ["pushed", "acked", "refused", "queued"].includes(state)) {
      const label = each.previousElementSibling;
      label.className = "state expired";
      if (label.textContent !== STATES.expired) draw();
      label.textContent = STATES.expired;
    }
  }
}

// Typing

// In a group with several bots those are written to that the text names, else all.
function addressed(text) {
  if (me.place === "private") return me.robot || [];
  const all = robots(), named = all.filter((each) => text.includes(`@${each}`));
  return all.length > 1 ? (named.length ? named : all) : [];
}

const failed = (error) => setPill("down", error instanceof TypeError ? "the simulator is gone" : error.message);

listenToComposer({
  where: (text) => ({ person: me.person, group: me.place === "private" ? null : me.place, to: addressed(text) }),
  sent: async () => { await refresh(); toEnd(); },
  failed,
});
$("hire").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = event.target.name.value.trim();
  if (!name) return;
  if (!person(name)) people.push({ staff_id: name, nick: name });
  me.person = name;
  event.target.reset();
  draw();
});

setInterval(tick, 500);
refresh().then(listen, listen);
