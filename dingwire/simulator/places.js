// Who speaks and where: the lists at the side, the title, and the state of the bot.

import { $, button, element, fill } from "/elements.js";
import { roving } from "/keyboard.js";
import { t } from "/language.js";
import { groups, here, hereId, me, nick, person, robots, world } from "/world.js";

const SHOWN_AT_MOST = 12; // a load test brings hundreds of people; the lists show who is of use here
const rows = new Map();
let chosen = () => {}, peopleKeys, chatKeys;

export function face(id, extra = null) {
  const index = Math.max(0, world.people.findIndex((each) => each.staff_id === id));
  const made = element("span", `face ${extra ?? `c${index % 6}`}`);
  made.textContent = extra === "bot" ? "" : extra === "group" ? "#" : [...nick(id)][0].toUpperCase();
  made.setAttribute("aria-hidden", "true");
  return made;
}

// `onChosen` is called when somebody else speaks or another chat is looked at.
export function listenToPlaces(onChosen) {
  chosen = onChosen;
  peopleKeys = roving($("people"), "button");
  chatKeys = roving($("conversations"), "button");
}

export function drawPlaces() {
  world.unread.delete(hereId());
  drawBot();
  drawPeople();
  drawConversations();
  drawTitle();
}

function setPill(state, text, title = "") {
  Object.assign($("bot"), { textContent: text, title });
  delete $("bot").dataset.text; // it said that the page connects
  $("bot").dataset.state = state;
}

function drawBot() {
  const live = [...world.connections.values()].filter((each) => each.state === "open"), count = robots().length;
  $("help").hidden = world.connections.size > 0 || !world.isCaughtUp;
  const title = live.map((each) => `${each.client_id} ${each.ua}`).join("\n");
  if (!world.isHere) setPill("down", t("bot.gone"));
  else if (live.length === 1) setPill("up", t("bot.up"), title);
  else if (live.length) setPill("up", t(count === 1 ? "bot.up_several" : "bot.several_up", { bots: count, connections: live.length }), title);
  else if (world.connections.size) setPill("leaving", t("bot.leaving"));
  else setPill("down", t("bot.down"));
  const { endpoint } = world;
  $("command").textContent = `export DINGTALK_OPENAPI_ENDPOINT=${endpoint}\nexport DINGTALK_WEBHOOK_HOSTS=${new URL(endpoint).host}\nexport DINGTALK_CLIENT_ID=any DINGTALK_CLIENT_SECRET=any DINGTALK_ALLOWED_USERS='*'\npython -m listener & celery -A worker worker`;
}

// Rows stay the same nodes while they are drawn again, so that the focus stays where it is.
function row(key, { shown, name, attribute, isChosen, count, choose }) {
  const look = JSON.stringify([name, isChosen, count, shown.className]);
  const known = rows.get(key);
  if (known?.look === look) return known.line;
  const line = element("li"), one = button("", "", () => { choose(); chosen(); });
  one.dataset.key = key;
  one.setAttribute(attribute, String(isChosen));
  one.append(shown, element("span", "name", name));
  if (count) one.append(element("span", "count", String(count)));
  line.append(one);
  rows.set(key, { look, line });
  return line;
}

function drawPeople() {
  const shown = world.people.filter((each, index) => index < SHOWN_AT_MOST || each.staff_id === me.person);
  fill($("people"), shown.map((each) => {
    const own = world.conversations.filter((one) => !one.is_group && one.name === each.staff_id);
    const isMe = each.staff_id === me.person;
    return row(`person ${each.staff_id}`, {
      shown: face(each.staff_id), name: each.nick, attribute: "aria-pressed", isChosen: isMe,
      count: isMe ? 0 : own.reduce((sum, one) => sum + (world.unread.get(one.conversation_id) ?? 0), 0),
      choose: () => { me.person = each.staff_id; },
    });
  }));
  peopleKeys.settle();
}

function drawConversations() {
  const several = robots().length > 1 ? robots() : [];
  const privates = ["", ...several].map((robot) => {
    const chat = world.conversations.find((each) => !each.is_group && each.name === me.person && each.robot === robot);
    return row(`private ${robot}`, {
      shown: face("", "bot"), name: robot ? t("chat.private_with", { robot }) : t("chat.private"), attribute: "aria-current",
      isChosen: me.place === "private" && me.robot === robot, count: world.unread.get(chat?.conversation_id),
      choose: () => Object.assign(me, { place: "private", robot }),
    });
  });
  const shared = groups().slice(0, SHOWN_AT_MOST).map((each) => row(`group ${each.name}`, {
    shown: face("", "group"), name: each.name, attribute: "aria-current", isChosen: me.place === each.name,
    count: world.unread.get(each.conversation_id), choose: () => Object.assign(me, { place: each.name, robot: "" }),
  }));
  fill($("conversations"), [...privates, ...shared]);
  chatKeys.settle();
}

function drawTitle() {
  const isPrivate = me.place === "private", name = person(me.person)?.nick ?? me.person;
  const members = here()?.members ?? [];
  const detail = isPrivate ? t("chat.alone") : members.map(nick).slice(0, 6).join(t("list.comma"));
  const title = isPrivate ? t("chat.of_two", { name, bot: me.robot || t("chat.the_bot") }) : me.place;
  fill($("title"), [element("span", "", title), element("small", "", detail)]);
  $("text").placeholder = t(isPrivate ? "composer.private" : "composer.group", { name, group: me.place });
}

