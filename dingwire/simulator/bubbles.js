// What stands in a bubble: what people send and what bots answer. Cards are in cards.js.

import { button, element, icon } from "/elements.js";
import { has, t } from "/language.js";
import { isAddress, link, markdown, uploaded } from "/markdown.js";

const PICTURES = new Set(["picture", "richText"]);
const PLAYED = /\.(wav|webm|ogg|mp3|m4a)$/i;
const kindName = (kind) => (has(`kind.${kind}`) ? t(`kind.${kind}`) : kind);

export function formatted(source, actions, isCard) {
  const made = element("div", "formatted");
  made.append(markdown(source, actions, isCard));
  return made;
}

function picture(address, name) {
  const made = element("img", "picture");
  Object.assign(made, { src: address, alt: name, title: name, loading: "lazy" });
  return made;
}

function download(address, name, note) {
  const made = element("a", "file"), words = element("span");
  Object.assign(made, { href: address, download: name });
  words.append(element("b", "", name), element("small", "", note));
  made.append(icon("M5 2.5h6L15.5 7v10.5H5zM11 2.5V7h4.5"), words);
  return made;
}

const isSound = (name) => PLAYED.test(name);
const sent = (record, index) => `/control/files?message=${encodeURIComponent(record.message_id)}&index=${index}`;
const mediaAddress = (id) => `/control/files?media=${encodeURIComponent(id)}`;

// A sound that browsers can play has a button; AMR, which they cannot, is a download.
function voice(address, name) {
  if (!isSound(name)) return download(address, name, t("kind.audio"));
  const sound = new Audio(), made = button("voice", "");
  const end = () => { made.ariaLabel = t("voice.play"); made.dataset.state = ""; };
  sound.preload = "metadata";
  sound.addEventListener("loadedmetadata", () => { if (Number.isFinite(sound.duration)) made.lastChild.textContent = `${Math.max(1, Math.round(sound.duration))}″`; });
  sound.addEventListener("ended", end);
  made.append(icon("M6 4.5v11l9-5.5z"), element("span", "waves"), element("span"));
  made.addEventListener("click", () => {
    if (!sound.paused) { sound.pause(); end(); return; }
    made.dataset.state = "playing";
    made.ariaLabel = t("voice.pause");
    sound.play().catch(end);
  });
  end();
  sound.src = address;
  return made;
}

// People

export function messageBubble(record) {
  const bubble = element("div", "bubble plain");
  if (record.quoted) bubble.append(element("blockquote", "quoted", record.quoted));
  const isNamed = record.files.length > 0 || record.kind === "text";
  const files = record.files.map((name, index) => {
    const address = sent(record, index);
    if (PICTURES.has(record.kind)) return picture(address, name);
    if (record.kind === "audio") return voice(address, name);
    return download(address, name, kindName(record.kind));
  });
  const words = record.text ? element("span", record.kind === "audio" ? "words heard" : "words", record.text) : null;
  if (!isNamed) bubble.append(element("small", "kind", kindName(record.kind)));
  if (record.kind === "audio") bubble.append(...files, ...(words ? [words] : []));
  else bubble.append(...(words ? [words] : []), ...files);
  return bubble;
}

// Bots

export function answerBubble(kind, record, nick, actions) {
  const bubble = kind === "proactive" ? sendBubble(record, actions) : replyBubble(record, actions);
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

function replyBubble(record, actions) {
  const body = record.body ?? {}, part = body[body.msgtype] ?? {};
  if (body.msgtype === "text") return element("div", "bubble plain", record.text);
  const bubble = element("div", "bubble");
  if (body.msgtype === "link") linkParts(bubble, part);
  else if (body.msgtype === "feedCard") feedParts(bubble, part.links ?? []);
  else if (body.msgtype === "actionCard") {
    const pairs = part.singleURL ? [[part.singleTitle, part.singleURL]] : (part.btns ?? []).map((each) => [each.title, each.actionURL]);
    actionParts(bubble, record.text, pairs, String(part.btnOrientation) === "1", actions);
  } else bubble.append(formatted(record.text, actions));
  return bubble;
}

// The picture of a card lies elsewhere, and nothing is fetched from there: its place and address.
function thumb(address, classes = "") {
  const made = element("span", `thumb ${classes}`);
  if (String(address ?? "").startsWith("@")) made.append(uploaded(address, ""));
  else made.append(icon("M3 4h14v12H3zM3 13l4-4 4 4 2.5-2.5L17 13"));
  made.title = address ?? "";
  return made;
}

function pressable(classes, address, ...parts) {
  const made = element(isAddress(address) ? "a" : "div", classes);
  if (isAddress(address)) Object.assign(made, { href: address, target: "_blank", rel: "noopener noreferrer" });
  made.append(...parts);
  return made;
}

function linkParts(bubble, part) {
  const words = element("span", "about");
  words.append(element("b", "", part.title), element("small", "", part.text));
  bubble.classList.add("linked");
  bubble.append(pressable("linkcard", part.messageUrl, words, thumb(part.picUrl)));
}

function feedParts(bubble, links) {
  bubble.classList.add("feed");
  links.forEach((each, index) => {
    const parts = [element("b", "", each.title), thumb(each.picURL, index ? "" : "large")];
    bubble.append(pressable(index ? "item" : "item first", each.messageURL, ...(index ? parts : parts.reverse())));
  });
}

function actionParts(bubble, text, pairs, isAcross, actions) {
  bubble.classList.add("action-card");
  bubble.append(formatted(text, actions));
  const row = element("div", isAcross && pairs.length > 1 ? "links across" : "links");
  row.append(...pairs.map(([title, address]) => link(title, String(address), actions) ?? element("span", "", title)));
  bubble.append(row);
}

function sendBubble(record, actions) {
  const key = record.body.msgKey, part = JSON.parse(record.body.msgParam);
  const bubble = element("div", key === "sampleText" ? "bubble plain" : "bubble");
  if (key === "sampleLink") linkParts(bubble, part);
  else if (key.startsWith("sampleActionCard")) actionParts(bubble, record.text, sendButtons(part), key.endsWith("6"), actions);
  else bubble.append(sendContent(key, part, record.text, actions));
  return bubble;
}

function sendContent(key, part, text, actions) {
  if (key === "sampleText") return element("span", "", text);
  if (key === "sampleImageMsg") return isAddress(part.photoURL) ? link(t("kind.picture"), part.photoURL) : uploaded(part.photoURL, t("kind.picture"));
  if (key === "sampleFile") return download(mediaAddress(part.mediaId), part.fileName, part.fileType);
  if (key === "sampleAudio") return download(mediaAddress(part.mediaId), t("kind.audio"), `${Number(part.duration) / 1000} s`);
  if (key === "sampleVideo") return download(mediaAddress(part.videoMediaId), t("kind.video"), `${part.duration} s`);
  return formatted(text, actions);
}

function sendButtons(part) {
  const numbered = [1, 2, 3, 4, 5].map((n) => [part[`actionTitle${n}`] ?? part[`buttonTitle${n}`], part[`actionURL${n}`] ?? part[`buttonUrl${n}`]]);
  return [[part.singleTitle, part.singleURL], ...numbered].filter(([title]) => title);
}
