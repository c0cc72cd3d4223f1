// A JSON value as a coloured text. Text that holds JSON itself, as the `data` of a frame does, is
// shown opened, and marked.

import { element } from "/elements.js";
import { t } from "/language.js";

export function jsonNode(value) {
  const made = element("pre", "json");
  if (typeof value === "string" && inner(value) === undefined) made.append(value);
  else write(made, value, "");
  return made;
}

const sign = (text) => document.createTextNode(text);

function inner(text) {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try { return JSON.parse(text); } catch { return undefined; }
}

function write(place, value, indent) {
  if (typeof value === "string") {
    const opened = inner(value);
    if (opened === undefined) { place.append(element("span", "text", JSON.stringify(value))); return; }
    place.append(element("span", "opened", t("wire.text")), " ");
    write(place, opened, indent);
  } else if (Array.isArray(value)) writeAll(place, value.map((each) => [null, each]), "[]", indent);
  else if (value && typeof value === "object") writeAll(place, Object.entries(value), "{}", indent);
  else place.append(element("span", "plain", JSON.stringify(value)));
}

function writeAll(place, pairs, brackets, indent) {
  if (!pairs.length) { place.append(brackets); return; }
  const deeper = `${indent}  `;
  place.append(sign(`${brackets[0]}\n`));
  pairs.forEach(([name, value], index) => {
    place.append(deeper);
    if (name !== null) place.append(element("span", "name", JSON.stringify(name)), ": ");
    write(place, value, deeper);
    place.append(index < pairs.length - 1 ? ",\n" : "\n");
  });
  place.append(indent, brackets[1]);
}
