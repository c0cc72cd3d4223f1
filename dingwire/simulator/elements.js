// Small helpers every part of the page uses.

export const $ = (id) => document.getElementById(id);

export function element(tag, classes = "", text = null) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text !== null) made.textContent = text;
  return made;
}

export function button(classes, text, pressed) {
  const made = element("button", classes, text);
  made.type = "button";
  if (pressed) made.addEventListener("click", pressed);
  return made;
}

export function icon(path) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  made.setAttribute("viewBox", "0 0 20 20");
  made.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  made.append(line);
  return made;
}

// Give a list these children and leave alone those that are there already. What has the focus keeps
// it: a node that replaces another one has it where the other had, by its data-key.
export function fill(list, wanted) {
  const held = list.contains(document.activeElement) ? document.activeElement : null;
  const keys = held && [...keysOf(held, list)];
  const kept = new Set(wanted);
  for (const node of [...list.children]) if (!kept.has(node)) node.remove();
  wanted.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
  });
  if (!held || held === document.activeElement) return;
  const found = keys.reverse().reduce((place, key) => place?.querySelector(`[data-key="${CSS.escape(key)}"]`), list);
  (held.isConnected ? held : found)?.focus({ preventScroll: true });
}

function* keysOf(node, end) {
  for (let each = node; each !== end; each = each.parentElement) if (each.dataset.key) yield each.dataset.key;
}

export const clock = (ms, digits) =>
  new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, fractionalSecondDigits: digits });

let fading = 0;
export function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { $("toast").hidden = true; }, 8000);
}

// Give the simulator an order; what it refuses is said in a toast, and thrown.
export async function order(verb, body = {}) {
  const response = await fetch(`/control/${verb}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (response.ok) return answer;
  toast(answer.error ?? response.statusText);
  throw new Error(answer.error ?? response.statusText);
}
