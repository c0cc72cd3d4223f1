// The composer: what is typed, attached and quoted.

import { $, button, element, icon, order } from "/elements.js";
import { roving } from "/keyboard.js";
import { onLanguage, t } from "/language.js";
import { askForVoice } from "/voice.js";

const WORDLESS = new Set(["video", "file", "interactiveCard"]);
const KINDS = { image: "picture", audio: "audio", video: "video" };
const MENU = [
  ["own_picture", "M3 4h14v12H3zM3 13l4-4 4 4 2.5-2.5L17 13"], ["audio", "M10 2.5a2.5 2.5 0 0 1 2.5 2.5v4a2.5 2.5 0 0 1-5 0V5A2.5 2.5 0 0 1 10 2.5zM4.5 9a5.5 5.5 0 0 0 11 0M10 14.5v3"],
  ["own_file", "M5 2.5h6L15.5 7v10.5H5zM11 2.5V7h4.5"], null,
  ["picture"], ["video"], ["file"], ["markdown"], ["chatRecord"], ["interactiveCard"], ["unknownMsgType"],
];
let quoted = null, say = async () => {};

export function quote(chosen) {
  quoted = chosen;
  $("quoting").hidden = !chosen;
  $("quoting").firstElementChild.textContent = chosen?.text ?? "";
  if (chosen) $("text").focus();
}

const fit = () => { $("text").style.height = "auto"; $("text").style.height = `${$("text").scrollHeight}px`; };

// `where(text)` says who speaks in which chat; `sent` is called afterwards.
export function listenToComposer({ where, sent }) {
  say = async (kind, files = [], words = null) => {
    const written = $("text").value, answered = quoted;
    const text = words ?? (WORDLESS.has(kind) ? "" : written.trim());
    if (!text && kind === "text") return;
    const isRich = kind === "picture" && text;
    if (text && words === null) $("text").value = "";
    quote(null);
    fit();
    try {
      await order("say", { text, files, kind: isRich ? "richText" : kind, ...where(text), ...(answered && { quote: answered.key }) });
      await sent();
    } catch {
      if (words === null) $("text").value = written;
      quote(answered);
    }
  };
  $("composer").addEventListener("submit", (event) => { event.preventDefault(); say("text"); });
  $("text").addEventListener("keydown", (event) => {
    // An input method ends a Chinese word with Enter too; that one is not ours.
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("composer").requestSubmit(); }
    if (event.key === "Escape" && quoted) { event.preventDefault(); quote(null); }
  });
  $("text").addEventListener("input", fit);
  $("quoting").querySelector("button").addEventListener("click", () => { quote(null); $("text").focus(); });
  listenToFiles();
  listenToMenu();
}

export const sayText = (text) => say("text", [], text);

function listenToFiles() {
  for (const id of ["file", "picture"]) {
    $(id).addEventListener("change", async () => { await sendFiles([...$(id).files]); $(id).value = ""; });
  }
  $("text").addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    sendFiles([...event.clipboardData.files]);
  });
  const chat = document.querySelector("main");
  chat.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) event.preventDefault(); });
  chat.addEventListener("drop", (event) => { event.preventDefault(); sendFiles([...event.dataTransfer.files]); });
}

async function sendFiles(files) {
  for (const each of files) await say(KINDS[each.type.split("/")[0]] ?? "file", [await asSent(each)]);
}

export async function asSent(file, duration_ms = 4000) {
  let binary = "";
  for (const each of new Uint8Array(await file.arrayBuffer())) binary += String.fromCharCode(each);
  return { name: file.name, base64: btoa(binary), media_type: file.type, duration_ms };
}

// The menu of everything else than text

function listenToMenu() {
  const keys = roving($("kinds"), "[role=menuitem]");
  const open = (isOpen) => {
    $("kinds").hidden = !isOpen;
    $("show-attach").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) { keys.settle(); $("kinds").querySelector("[role=menuitem]").focus(); }
  };
  const close = () => { open(false); $("show-attach").focus(); };
  $("show-attach").addEventListener("click", () => open($("kinds").hidden));
  $("attach").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || $("kinds").hidden) return;
    event.preventDefault();
    close();
  });
  $("attach").addEventListener("focusout", (event) => { if (!$("attach").contains(event.relatedTarget)) open(false); });
  onLanguage(() => {
    $("kinds").replaceChildren(...MENU.map((each) => (each ? menuItem(each, close) : sampleTitle())));
  });
}

function sampleTitle() {
  const made = element("p", "", t("attach.samples"));
  made.setAttribute("role", "presentation");
  return made;
}

function menuItem([kind, path], close) {
  const made = button("", t(`attach.${kind}`), () => { close(); choose(kind); });
  if (path) made.prepend(icon(path));
  made.dataset.kind = kind;
  made.setAttribute("role", "menuitem");
  return made;
}

async function choose(kind) {
  if (kind === "own_picture") $("picture").click();
  else if (kind === "own_file") $("file").click();
  else if (kind === "audio") {
    const voice = await askForVoice();
    if (voice) await say("audio", voice.file ? [await asSent(voice.file, voice.duration_ms)] : [], voice.words);
  } else if (kind === "markdown" || kind === "chatRecord") await say(kind, [], $("text").value.trim() ? null : t(`sample.${kind}`));
  else await say(kind);
}
