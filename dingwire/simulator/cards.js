// AI cards: their text as it grows, their parameters, and buttons that call the bot back.

import { formatted } from "/bubbles.js";
import { button, element } from "/elements.js";
import { t } from "/language.js";

const NOT_SHOWN = new Set(["flowStatus", "config", "sys_full_json_obj"]);
const BEGINS = "1", WRITES = "2";

// `press(id, params)` presses a button; `click` is the last one that was pressed, if any.
export function cardBubble(record, { person, press, click, nick, actions }) {
  const bubble = element("div", "bubble card");
  const params = { ...record.params, ...record.private[person] };
  const isThinking = !record.text && [BEGINS, WRITES].includes(params.flowStatus) && !["finished", "failed"].includes(record.state);
  bubble.dataset.state = record.state;
  bubble.append(isThinking ? thinking() : formatted(record.text, actions, true));
  for (const [name, value] of Object.entries(params)) {
    if (value && value !== record.text && !NOT_SHOWN.has(name) && !asList(value)) bubble.append(element("small", "param", `${name}: ${value}`));
  }
  if (record.state === "streaming" || record.state === "failed") bubble.append(element("small", `param ${record.state}`, t(`card.${record.state}`)));
  const buttons = cardButtons(params);
  if (record.callback_type === "STREAM" && buttons.length) bubble.append(pressRow(buttons, press));
  if (click) bubble.append(element("small", `click ${click.state}`, t(`click.${click.state}`, { name: nick(click.person), action: click.action_id || "–" })));
  return bubble;
}

export function thinking() {
  const dots = element("span", "dots");
  dots.append(element("i"), element("i"), element("i"));
  dots.setAttribute("role", "img");
  dots.setAttribute("aria-label", t("bot.thinks"));
  return dots;
}

function pressRow(buttons, press) {
  const made = element("div", "buttons");
  for (const { id, text, params } of buttons) {
    const one = button("", text, () => press(id, params));
    one.dataset.key = `press ${id}`;
    made.append(one);
  }
  return made;
}

// For buttons that only the template knows.
export function actionField(press) {
  const made = element("input", "action");
  Object.assign(made, { placeholder: t("card.press"), ariaLabel: t("card.press_label") });
  made.dataset.key = "action";
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
