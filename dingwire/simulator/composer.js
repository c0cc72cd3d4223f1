// The composer: what is typed, attached and quoted, and the orders the page gives the simulator.

import { element } from "/bubbles.js";

const WORDLESS = new Set(["video", "file"]);
const KINDS = { image: "picture", audio: "audio", video: "video" };
const $ = (id) => document.getElementById(id);
let quoted = null;

export async function order(verb, body) {
  const response = await fetch(`/control/${verb}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error((await response.json()).error ?? response.statusText);
}

export function quoteButton(key, text) {
  const made = element("button", "quote", "Reply");
  made.type = "button";
  made.addEventListener("click", () => { quote({ key, text }); $("text").focus(); });
  return made;
}

function quote(chosen) {
  quoted = chosen;
  $("quoting").hidden = !chosen;
  $("quoting").firstElementChild.textContent = chosen?.text ?? "";
}

const fit = () => { $("text").style.height = "auto"; $("text").style.height = `${$("text").scrollHeight}px`; };

// `where(text)` says who speaks in which chat; then `sent` is called, or `failed` with the error.
export function listenToComposer({ where, sent, failed }) {
  async function say(kind, files = []) {
    const written = $("text").value, answered = quoted;
    const text = WORDLESS.has(kind) ? "" : written.trim();
    if (!text && kind === "text") return;
    const isRich = kind === "picture" && text;
    if (text) $("text").value = "";
    quote(null);
    fit();
    try {
      await order("say", { text, files, kind: isRich ? "richText" : kind, ...where(text), ...(answered && { quote: answered.key }) });
      await sent();
    } catch (error) {
      $("text").value = written;
      quote(answered);
      failed(error);
    }
  }

  $("composer").addEventListener("submit", (event) => { event.preventDefault(); say("text"); });
  $("text").addEventListener("keydown", (event) => {
    // An input method ends a Chinese word with Enter too; that one is not ours.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  });
  $("text").addEventListener("input", fit);
  $("attach").addEventListener("click", (event) => {
    const { kind } = event.target.dataset;
    if (!kind) return;
    $("attach").open = false;
    say(kind);
  });
  $("file").addEventListener("change", async () => {
    $("attach").open = false;
    for (const each of $("file").files) await say(KINDS[each.type.split("/")[0]] ?? "file", [await read(each)]);
    $("file").value = "";
  });
  $("quoting").querySelector("button").addEventListener("click", () => quote(null));
}

async function read(file) {
  let binary = "";
  for (const each of new Uint8Array(await file.arrayBuffer())) binary += String.fromCharCode(each);
  return { name: file.name, base64: btoa(binary), media_type: file.type };
}
