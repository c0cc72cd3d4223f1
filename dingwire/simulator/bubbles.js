// What stands in a bubble: what people send, what bots answer, and cards with their buttons.

import { markdown } from "/markdown.js";

const NOT_SHOWN = new Set(["flowStatus", "config", "sys_full_json_obj"]);
const PICTURES = new Set(["picture", "richText"]);
const CARD_STATES = { streaming: "being written", failed: "failed" };

export function element(tag, classes = "", text = null) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text !== null) made.textContent = text;
  return made;
}

function formatted(source) {
  const made = element("div", "formatted");
  made.innerHTML = markdown(source); // escapes everything it is given
  return made;
}

function picture(address, name) {
  const made = element("img", "picture");
  Object.assign(made, { src: address, alt: name, title: name, loading: "lazy" });
  return made;
}

function download(address, name, note) {
  const made = element("a", "file");
  Object.assign(made, { href: address, download: name });
  made.append(element("b", "", name), element("small", "", note));
  return made;
}

const sent = (record, index) => `/control/files?message=${encodeURIComponent(record.message_id)}&index=${index}`;
const uploaded = (id) => `/control/files?media=${encodeURIComponent(id)}`;
const isAddress = (text) => /^https?:\/\//.test(text);

// People

export function messageBubble(record) {
  const bubble = element("div", "bubble plain");
  if (record.quoted) bubble.append(element("blockquote", "quoted", record.quoted));
  const isNamed = record.files.length > 0 || record.kind === "text";
  const text = isNamed ? record.text : `[${record.kind}] ${record.text}`;
  if (text) bubble.append(element("span", "words", text));
  record.files.forEach((name, index) => {
    const address = sent(record, index);
    if (PICTURES.has(record.kind)) bubble.append(picture(address, name));
    else bubble.append(download(address, name, record.kind === "audio" ? "voice message" : record.kind));
  });
  return bubble;
}

// Bots

export function answerBubble(kind, record, nick) {
  const bubble = kind === "proactive" ? sendBubble(record) : replyBubble(record);
  for (const each of record.mentioned ?? []) mention(bubble, each, each === "@all" ? each : `@${nick(each)}`);
  return bubble;
}

// Where the words have `@id`, as DingTalk's clients show it, else at their end.
function mention(bubble, id, name) {
  const shown = element("span", "mention", name), written = `@${id}`;
  const texts = document.createTreeWalker(bubble, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, start = text.data.indexOf(written), end = start + written.length;
    if (start < 0 || /\w/.test(text.data[end] ?? "")) continue;
    text.splitText(start).splitText(written.length);
    text.nextSibling.replaceWith(shown);
    return;
  }
  bubble.append(" ", shown);
}

function replyBubble(record) {
  const body = record.body ?? {};
  if (body.msgtype === "text") return element("div", "bubble plain", record.text);
  const bubble = element("div", "bubble");
  bubble.append(formatted(replySource(body.msgtype, body[body.msgtype] ?? {}, record.text)));
  return bubble;
}

function replySource(type, part, text) {
  if (type === "link") return linkSource(part);
  if (type === "feedCard") return (part.links ?? []).map((each) => `- [${each.title}](${each.messageURL})`).join("\n");
  if (type !== "actionCard") return text;
  const buttons = part.singleURL ? [{ title: part.singleTitle, actionURL: part.singleURL }] : part.btns ?? [];
  return buttonsSource(text, buttons.map((each) => [each.title, each.actionURL]));
}

const linkSource = (part) => `**${part.title}**\n\n${part.text}\n\n[${part.messageUrl}](${part.messageUrl})`;
const buttonsSource = (text, buttons) => `${text}\n\n${buttons.map(([title, address]) => `[${title}](${address})`).join(" · ")}`;

function sendBubble(record) {
  const key = record.body.msgKey, part = JSON.parse(record.body.msgParam);
  const bubble = element("div", key === "sampleText" ? "bubble plain" : "bubble");
  bubble.append(sendContent(key, part, record.text));
  return bubble;
}

function sendContent(key, part, text) {
  if (key === "sampleText") return element("span", "", text);
  if (key === "sampleImageMsg") return isAddress(part.photoURL) ? formatted(`[picture](${part.photoURL})`) : picture(uploaded(part.photoURL), "picture");
  if (key === "sampleFile") return download(uploaded(part.mediaId), part.fileName, part.fileType);
  if (key === "sampleAudio") return download(uploaded(part.mediaId), "voice message", `${Number(part.duration) / 1000} s`);
  if (key === "sampleVideo") return download(uploaded(part.videoMediaId), "film", `${part.duration} s`);
  if (key === "sampleLink") return formatted(linkSource(part));
  return formatted(key.startsWith("sampleActionCard") ? buttonsSource(text, sendButtons(part)) : text);
}

function sendButtons(part) {
  const numbered = [1, 2, 3, 4, 5].map((n) => [part[`actionTitle${n}`] ?? part[`buttonTitle${n}`], part[`actionURL${n}`] ?? part[`buttonUrl${n}`]]);
  return [[part.singleTitle, part.singleURL], ...numbered].filter(([title]) => title);
}

// Cards

export function cardBubble(record, person, press) {
  const bubble = element("div", "bubble card");
  bubble.dataset.state = record.state;
  const params = { ...record.params, ...record.private[person] };
  bubble.append(formatted(record.text));
  const buttons = cardButtons(params);
  for (const [name, value] of Object.entries(params)) {
    if (value && value !== record.text && !NOT_SHOWN.has(name) && !asList(value)) bubble.append(element("small", "param", `${name}: ${value}`));
  }
  if (CARD_STATES[record.state]) bubble.append(element("small", "param", CARD_STATES[record.state]));
  if (record.callback_type === "STREAM" && buttons.length) bubble.append(pressRow(buttons, press));
  return bubble;
}

function pressRow(buttons, press) {
  const made = element("div", "buttons");
  for (const { id, text, params } of buttons) {
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => press(id, params));
    made.append(button);
  }
  return made;
}

// For buttons that only the template knows.
export function actionField(press) {
  const made = element("input", "action");
  Object.assign(made, { placeholder: "press by action id", ariaLabel: "Press a button by its action id" });
  made.addEventListener("change", () => { if (made.value) press(made.value, {}); });
  return made;
}

// A template keeps its buttons where it likes; a list of named things is taken for buttons.
function cardButtons(params) {
  const full = asJson(params.sys_full_json_obj);
  const lists = [...Object.values(params).map(asList), full?.msgButtons].filter(Array.isArray);
  return lists.flat().filter((each) => each && (each.text ?? each.title)).map((each) => {
    const text = String(each.text ?? each.title);
    return { text, id: String(each.id ?? each.actionId ?? text), params: each.params ?? {} };
  });
}

function asJson(text) {
  try { return JSON.parse(text); } catch { return null; }
}

const asList = (text) => {
  const value = /^\s*\[/.test(text) ? asJson(text) : null;
  return Array.isArray(value) ? value : null;
};
