// The chat itself: one row for each message, reply, card and refusal, drawn again when it changes.

import { answerBubble, messageBubble } from "/bubbles.js";
import { actionField, cardBubble, thinking } from "/cards.js";
import { quote } from "/composer.js";
import { $, button, clock, element, fill, order } from "/elements.js";
import { roving } from "/keyboard.js";
import { has, onLanguage, t } from "/language.js";
import { face } from "/places.js";
import { endOf, hereId, itemsHere, me, nick, now, world } from "/world.js";

const SHOWN_AT_MOST = 300;
const OPEN = ["pushed", "acked", "refused", "queued"];
const SOON_S = 300;
let drawn = new Map(), place = null, keys, actions = {}, staysAtEnd = true;

// `onSay(text)` says something as whoever speaks; `onWire(text)` shows what the wire has of it.
export function listenToMessages({ onSay, onWire }) {
  actions = { say: onSay, wire: onWire };
  keys = roving($("messages"), ":scope > li.row", { startsAtEnd: true });
  onLanguage(() => { drawn = new Map(); });
  setInterval(tick, 500);
  $("messages").addEventListener("scroll", () => { staysAtEnd = isAtEnd($("messages")); });
  // A picture that comes later pushes the end down.
  $("messages").addEventListener("load", () => { if (staysAtEnd) toEnd(); }, true);
  $("messages").addEventListener("keydown", (event) => {
    if (event.key !== "r" || !event.target.matches("li.row")) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.querySelector(".quote")?.click();
  });
}

const isAtEnd = (list) => list.scrollHeight - list.scrollTop - list.clientHeight < 80;
export const toEnd = () => { $("messages").scrollTop = $("messages").scrollHeight; staysAtEnd = true; };
export const focusNewest = () => [...$("messages").querySelectorAll("li.row")].at(-1)?.focus();

export function drawMessages() {
  const list = $("messages"), where = `${me.place} ${me.robot} ${me.person} ${hereId()}`;
  const wasAtEnd = isAtEnd(list);
  if (where !== place) drawn = new Map();
  const shown = itemsHere().slice(-SHOWN_AT_MOST);
  const wanted = shown.map(([key, item]) => {
    const old = drawn.get(key);
    if (old?.version === item.version) return old.node;
    const node = ROWS[item.kind](item);
    node.classList.add("row");
    node.dataset.key = key;
    for (const each of node.querySelectorAll("a, button, input")) each.tabIndex = -1;
    drawn.set(key, { node, version: item.version });
    return node;
  });
  const last = shown.filter(([, item]) => item.kind === "message").at(-1)?.[1].record;
  const lastShown = shown.at(-1)?.[1].record;
  const isWritten = lastShown?.state === "streaming" || ["1", "2"].includes(lastShown?.params?.flowStatus);
  if (last && ["pushed", "acked"].includes(last.state) && endOf(last) > now() && !isWritten) wanted.push(thinkingRow());
  if (!shown.length) wanted.push(emptyRow());
  fill(list, wanted);
  keys.settle();
  if (wasAtEnd || where !== place) toEnd();
  place = where;
  tick();
}

function emptyRow() {
  const line = element("li", "empty");
  line.append(element("p", "", t("messages.empty")), element("p", "", t("messages.hint")));
  return line;
}

function shell(classes, shownFace, name, bubble) {
  const line = element("li", classes), body = element("div", "body");
  body.append(element("span", "who", name), bubble);
  line.append(shownFace, body);
  return [line, body];
}

// What can be done with a row; seen when it is pointed at or has the focus.
function deeds(...made) {
  const group = element("span", "deeds");
  group.append(...made.filter(Boolean));
  return group;
}

function deed(key, does, classes = "") {
  const made = button(`deed ${classes}`, t(key), does);
  made.dataset.key = key;
  return made;
}

const quoteDeed = (key, text) => deed("deed.quote", () => quote({ key, text }), "quote");

function messageRow({ record }) {
  const isMine = record.person === me.person;
  const [line, body] = shell(isMine ? "mine" : "", face(record.person), record.nick, messageBubble(record));
  const meta = element("div", "meta"), left = element("span", "countdown");
  Object.assign(left.dataset, { message: record.message_id });
  for (const each of record.reactions) meta.append(element("span", "reaction", each));
  meta.append(element("span", "", clock(record.created_at_ms)), element("span", `state ${record.state}`, t(`state.${record.state}`)));
  if (record.pushes.length > 1) meta.append(element("span", "again", t("state.again", { count: record.pushes.length })));
  meta.append(left);
  body.append(meta, deeds(
    quoteDeed(record.message_id, record.text || `[${has(`kind.${record.kind}`) ? t(`kind.${record.kind}`) : record.kind}]`),
    deed("deed.redeliver", () => order("redeliver", { message: record.message_id }).catch(() => {}), "redeliver"),
    deed("deed.wire", () => actions.wire(record.message_id), "to-wire"),
  ));
  return line;
}

function refusedRow({ kind, record }) {
  const line = element("li", "note");
  const reason = kind === "reply" ? `errcode ${record.errcode} ${record.errmsg}` : record.code;
  const isHttp = record.status && record.status !== 200;
  line.append(element("p", "", isHttp ? t("refused.http", { status: record.status }) : t("refused.reply", { reason })));
  return line;
}

function answerRow({ kind, record }) {
  if (!record.accepted) return refusedRow({ kind, record });
  const bubble = answerBubble(kind, record, nick, actions);
  const [line, body] = shell("bot", face("", "bot"), record.robot || t("bot.name"), bubble);
  const meta = element("div", "meta");
  meta.append(element("span", "", clock(record.at_ms)));
  if (kind === "proactive") meta.append(element("span", "", t("answer.proactive")));
  body.append(meta, deeds(quoteDeed(record.reply_id || record.process_query_key, record.text)));
  return line;
}

function cardRow({ record }) {
  const press = (action, params) => order("click", { card: record.out_track_id, action_id: action, person: me.person, params }).catch(() => {});
  const click = world.clicks.get(record.out_track_id);
  const bubble = cardBubble(record, { person: me.person, press, click, nick, actions });
  const [line, body] = shell("bot", face("", "bot"), t("bot.name"), bubble);
  const meta = element("div", "meta");
  meta.append(element("span", "", clock(record.created_at_ms)), element("span", "", t("card.state", { state: t(`cardstate.${record.state}`) })));
  body.append(meta, deeds(
    quoteDeed(record.out_track_id, record.text),
    deed("deed.wire", () => actions.wire(record.out_track_id), "to-wire"),
    record.callback_type === "STREAM" ? actionField(press) : null,
  ));
  return line;
}

const ROWS = { message: messageRow, reply: answerRow, proactive: answerRow, card: cardRow };

function thinkingRow() {
  const dots = element("div", "bubble");
  dots.append(thinking());
  return shell("bot", face("", "bot"), t("bot.name"), dots)[0];
}

function tick() {
  for (const each of document.querySelectorAll(".countdown")) {
    const record = world.items.get(each.dataset.message)?.record;
    if (!record) continue;
    const left = Math.ceil((endOf(record) - now()) / 1000), isOver = left <= 0;
    each.classList.toggle("over", isOver && !["answered", "stopped"].includes(record.state));
    each.classList.toggle("soon", !isOver && left < SOON_S);
    each.textContent = isOver ? t("countdown.over") : t("countdown.left", { time: `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` });
    if (!isOver || !OPEN.includes(record.state)) continue;
    const label = each.parentElement.querySelector(".state");
    if (label.textContent !== t("state.expired")) requestAnimationFrame(drawMessages); // nobody thinks any more
    label.className = "state expired";
    label.textContent = t("state.expired");
  }
}
