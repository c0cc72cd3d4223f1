// The part of Markdown that DingTalk shows, as nodes: what a bot sends is only ever text in the few
// elements made here. A single line break folds, two spaces before it keep it; a table needs an empty
// line above. No picture but those that were uploaded: the page fetches nothing from elsewhere.

import { element } from "/elements.js";
import { t } from "/language.js";

const INLINE = new RegExp([
  "`(?<code>[^`]+)`",
  "!\\[(?<name>[^\\]]*)\\]\\((?<picture>[^\\s)]+)\\)",
  "\\[(?<words>[^\\]]*)\\]\\((?<address>[^\\s)]+)\\)",
  "\\*\\*(?<strong>(?:[^*]|\\*(?!\\*))+)\\*\\*",
  "(?<![*\\w])\\*(?<em>[^*\\s](?:[^*]*[^*\\s])?)\\*(?!\\*)",
  "<font color=[\"']?(?<colour>#?\\w{3,20})[\"']?>(?<coloured>.*?)</font>",
  "(?<line>  +\\n)", "(?<fold>\\n)", "(?<space>&nbsp;|&#160;)",
].join("|"), "gs");
const LISTS = [["ul", /^\s*[-*] +(.*)$/], ["ol", /^\s*\d+\. +(.*)$/]];
const QUOTE = /^\s*> ?(.*)$/, HEADING = /^\s*(#{1,6}) +(.*)$/, FENCE = /^\s*```(\w*)/, RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

export const isAddress = (text) => /^https?:\/\//.test(text);

// `actions` is { say } for links that make the reader say something; `isCard` allows colours.
export function markdown(source, actions = {}, isCard = false) {
  const made = document.createDocumentFragment();
  const inline = (text) => inlineNodes(text, actions, isCard);
  for (const block of blocksOf(String(source))) made.append(drawn(block, inline));
  return made;
}

export function link(words, address, actions = {}) {
  const said = saidBy(address);
  if (said !== null && actions.say) {
    const made = element("button", "saying", words);
    Object.assign(made, { type: "button", title: t("link.says", { text: said }) });
    made.addEventListener("click", () => actions.say(said));
    return made;
  }
  if (!isAddress(address)) return null;
  const made = element("a", "", words || address);
  Object.assign(made, { href: address, target: "_blank", rel: "noopener noreferrer" });
  return made;
}

// dtmd://dingtalkclient/sendMessage?content=… writes to the bot as whoever presses it.
function saidBy(address) {
  if (!/^dtmd:\/\/dingtalkclient\/sendMessage\?/.test(address)) return null;
  return new URLSearchParams(address.slice(address.indexOf("?") + 1)).get("content");
}

export function uploaded(id, name) {
  const made = element("img", "picture");
  Object.assign(made, { src: `/control/files?media=${encodeURIComponent(id)}`, alt: name, title: name, loading: "lazy" });
  return made;
}

function inlineNodes(text, actions, isCard) {
  const nodes = [], inner = (words) => inlineNodes(words, actions, isCard);
  const wrapped = (tag, words) => { const made = element(tag); made.append(...inner(words)); return made; };
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    const g = found.groups;
    let node = null;
    if (g.code) node = element("code", "", g.code);
    else if (g.picture) node = g.picture.startsWith("@") ? uploaded(g.picture, g.name) : link(g.name || t("kind.picture"), g.picture, actions);
    else if (g.address) node = link(g.words, g.address, actions);
    else if (g.strong) node = wrapped("strong", g.strong);
    else if (g.em) node = wrapped("em", g.em);
    else if (g.colour && isCard) { node = wrapped("span", g.coloured); node.style.color = g.colour; }
    else if (g.line) node = element("br");
    else if (g.fold) node = " ";
    else if (g.space) node = "\u00a0";
    nodes.push(text.slice(at, found.index), node ?? found[0]);
    at = found.index + found[0].length;
  }
  return [...nodes, text.slice(at)].filter((each) => each !== "");
}

function blocksOf(source) {
  const blocks = [];
  let open = null, isAfterSpace = true;
  const lines = source.split(/\r?\n/);
  const add = (kind, line) => {
    if (open?.kind !== kind) blocks.push(open = { kind, lines: [] });
    open.lines.push(line);
  };
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at], list = LISTS.find(([, pattern]) => pattern.test(line));
    if (FENCE.test(line)) {
      const end = lines.findIndex((each, index) => index > at && /^\s*```\s*$/.test(each));
      const last = end < 0 ? lines.length : end;
      blocks.push({ kind: "pre", language: line.match(FENCE)[1], lines: lines.slice(at + 1, last) });
      at = last;
      open = null;
    } else if (!line.trim()) open = null;
    else if (HEADING.test(line)) { blocks.push({ kind: "heading", lines: [line] }); open = null; }
    else if (open?.kind === "table" && line.includes("|")) add("table", line);
    else if (isAfterSpace && line.includes("|") && RULE.test(lines[at + 1] ?? "")) { open = null; add("table", line); }
    else if (QUOTE.test(line)) add("blockquote", line.match(QUOTE)[1]);
    else if (list) add(list[0], line.match(list[1])[1]);
    else add("p", line);
    isAfterSpace = !line.trim() || FENCE.test(line);
  }
  return blocks;
}

function drawn({ kind, lines, language }, inline) {
  if (kind === "table") return table(lines, inline);
  if (kind === "heading") {
    const [, signs, words] = lines[0].match(HEADING);
    const made = element("h4", signs.length < 3 ? "big" : "");
    made.append(...inline(words));
    return made;
  }
  const made = element(kind);
  if (kind === "pre") {
    if (language) made.dataset.language = language;
    made.append(element("code", "", lines.join("\n")));
  } else if (kind === "ul" || kind === "ol") {
    made.append(...lines.map((line) => { const item = element("li"); item.append(...inline(line)); return item; }));
  } else made.append(...inline(lines.map((line) => line.trimStart()).join("\n").trimEnd()));
  return made;
}

function table(lines, inline) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((each) => each.trim());
  const sides = cells(lines[1]).map((each) => (/^:-+:$/.test(each) ? "center" : /-:$/.test(each) ? "right" : ""));
  const box = element("div", "table"), made = element("table"), head = element("thead"), body = element("tbody");
  [lines[0], ...lines.slice(2)].forEach((line, index) => {
    const row = element("tr");
    cells(line).forEach((words, column) => {
      const cell = element(index ? "td" : "th", sides[column] ?? "");
      cell.append(...inline(words));
      row.append(cell);
    });
    (index ? body : head).append(row);
  });
  made.append(head, body);
  box.append(made);
  return box;
}
