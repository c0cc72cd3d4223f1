"""The world behind the bot: people, conversations and the sessions that end.

Pure state; the clock is passed in. ``server`` owns one, all faces work on it.
"""

import base64
import hashlib
import json
import os
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dingwire.simulator.bot_records import ProactiveSend
from dingwire.simulator.faults import Faults, ReplyFault
from dingwire.simulator.filestore import FileStore
from dingwire.simulator.journal import Journal
from dingwire.simulator.records import Message, Reply
from dingwire.simulator.wire import Wire

__all__ = [
    "DEFAULT_GROUP",
    "SEEDED_PEOPLE",
    "Conversation",
    "Person",
    "Session",
    "World",
    "bot_user_id",
    "headers_of",
    "new_message_id",
]

SEEDED_PEOPLE = {"alice": "Alice", "bob": "Bob", "xiaoming": "小明"}
DEFAULT_GROUP = "Ops room"
CORP_ID = "dingcorp0001"
BOT_ID = "$:LWCP_v1:$BotExample=="

# Commands that bots answer at once, whatever else they are at; the first of them end that.
STOPS = frozenset({"/stop", "/停止", "/停"})
AT_ONCE = STOPS | {"/status", "/状态", "/help", "/帮助", "/?", "/whoami", "/我是谁"}


@dataclass(frozen=True)
class Person:
    """Somebody of the bot's organisation; the staff id is the name tests use."""

    staff_id: str
    nick: str

    @property
    def sender_id(self) -> str:
        """The opaque id, of no use as a staff id."""
        return "$:LWCP_v1:$" + _digest("person", self.staff_id)


@dataclass
class Session:
    """A session webhook: one per conversation and bot, its end moved forward by each message."""

    value: str = field(repr=False)
    conversation_id: str
    expires_at_ms: int
    robot: str = ""
    uses: int = 0


@dataclass
class Conversation:
    """A private chat with the bot, or a group it is in."""

    conversation_id: str
    name: str
    is_group: bool
    members: set[str] = field(default_factory=set)
    sessions: dict[str, Session] = field(default_factory=dict)  # by bot; "" when none was named
    robot: str = ""  # of a private chat with a bot that was named
    recent_reply_times_ms: list[int] = field(default_factory=list)
    throttled_until_ms: int = 0
    expired_at_ms: int = 0  # when its sessions were ended before their time

    @property
    def session(self) -> Session | None:
        """The session that was opened last."""
        return next(reversed(self.sessions.values()), None)


class World:
    """People, conversations, sessions and what was said."""

    def __init__(self, *, clock: Callable[[], datetime], faults: Faults) -> None:
        self._clock = clock
        self.faults = faults
        self.journal = Journal()
        self.wire = Wire()
        self.files = FileStore(self.now_ms)
        self.origin = ""  # http://host:port, known once the server listens
        self.reset()

    def reset(self) -> None:
        """Back to the first day: nobody has said anything."""
        self.journal.clear()
        self.wire.clear()
        self.files.clear()
        self.people: dict[str, Person] = {}
        self.conversations: dict[str, Conversation] = {}
        self.sessions: dict[str, Session] = {}
        self.reply_faults: list[ReplyFault] = []
        self.seen_msg_uuids: set[tuple[str, str]] = set()
        self._open_messages: dict[tuple[str, str], list[Message]] = {}
        for staff_id, nick in SEEDED_PEOPLE.items():
            self.person(staff_id, nick)
            self.group(DEFAULT_GROUP).members.add(staff_id)

    def now_ms(self) -> int:
        """DingTalk's clock, skewed when that is switched on, in epoch ms."""
        return round(self._clock().timestamp() * 1000 + self.faults.clock_skew_s * 1000)

    def now(self) -> datetime:
        """DingTalk's clock as an aware time."""
        return datetime.fromtimestamp(self.now_ms() / 1000, tz=UTC)

    def person(self, staff_id: str, nick: str | None = None) -> Person:
        """The person of that staff id, hired on the spot when new."""
        known = self.people.get(staff_id)
        if known is None:
            known = self.people[staff_id] = Person(staff_id, nick or staff_id)
        return known

    def private_chat(self, staff_id: str, robot: str = "") -> Conversation:
        """The private conversation of a person with the bot, or with one named by client id."""
        return self._conversation(staff_id, is_group=False, robot=robot)

    def chat_with(self, staff_id: str, robot: str) -> Conversation:
        """Where a bot writes to a person unasked: their chat with it, if they named it in one."""
        known = self.conversations.get(_conversation_id(staff_id, is_group=False, robot=robot))
        return known or self.private_chat(staff_id)

    def group(self, name: str) -> Conversation:
        """The group of that name, founded on the spot when new."""
        return self._conversation(name, is_group=True)

    def find_conversation(self, name: str) -> Conversation | None:
        """A conversation by its id, else a group by name, else a private chat by staff id."""
        if name in self.conversations:
            return self.conversations[name]
        for is_group in (True, False):
            found = self.conversations.get(_conversation_id(name, is_group=is_group))
            if found is not None:
                return found
        return next((each for each in self.conversations.values() if each.name == name), None)

    def open_session(self, conversation: Conversation, robot: str = "") -> Session:
        """The conversation's session of a bot, its end moved to a full life from now."""
        session = conversation.sessions.pop(robot, None)
        if session is None or self.faults.session_per_message or not self.is_alive(session):
            session = Session(secrets.token_hex(16), conversation.conversation_id, 0, robot)
            self.sessions[session.value] = session
        conversation.sessions[robot] = session
        session.expires_at_ms = self.now_ms() + round(self.faults.session_ttl_s * 1000)
        return session

    def is_alive(self, session: Session) -> bool:
        """Whether a reply through this session still arrives."""
        used_up = self.faults.session_single_use and session.uses > 0
        return self.now_ms() < session.expires_at_ms and not used_up

    def webhook_url(self, session: Session) -> str:
        """The bearer URL a bot answers to."""
        return f"{self.origin}/robot/sendBySession?session={session.value}"

    def add_message(self, message: Message) -> None:
        """Remember what a person wrote."""
        self.journal.messages[message.message_id] = message
        for robot in message.robots or [""]:
            self._open_messages.setdefault((message.conversation_id, robot), []).append(message)
        self.journal.changed("message", message)

    def mark(self, message: Message, state: str) -> None:
        """Move a message on, unless it was answered or stopped already."""
        if message.state not in ("answered", "stopped"):
            message.state = state
            self.journal.changed("message", message)

    def unanswered(self, conversation_id: str, robot: str = "") -> list[Message]:
        """Messages of a conversation that reached the bot and wait for an answer, oldest first."""
        named = self._open_messages.get((conversation_id, robot), [])
        waiting = named or self._open_messages.get((conversation_id, ""), [])
        return [each for each in waiting if each.pushes]

    def add_reply(self, reply: Reply) -> None:
        """Record a post to a session webhook and, when accepted, show it in the chat."""
        if reply.conversation_id is not None:
            waiting = self.unanswered(reply.conversation_id, reply.robot)
            reply.after_message_ids = [each.message_id for each in waiting]
            if reply.accepted:
                self.answered(reply.conversation_id, reply.text, reply.robot)
        self.journal.replies.append(reply)
        self.journal.changed("reply", reply)

    def add_proactive(self, send: ProactiveSend) -> None:
        """Record a proactive send and, when accepted, show it in its conversations."""
        if send.accepted:
            for conversation_id in send.conversation_ids:
                self.answered(conversation_id, send.text, send.client_id)
        self.journal.proactive.append(send)
        self.journal.changed("proactive", send)

    def answered(self, conversation_id: str, text: str, robot: str) -> None:
        """A reply names no message, so it counts for the bot's oldest one that has none.

        Commands that bots answer at once go first, and what was written before an answered one
        to stop waits for nothing any more.
        """
        waiting = self.unanswered(conversation_id, robot)
        if not waiting:
            return
        message = next((each for each in waiting if _command(each) in AT_ONCE), waiting[0])
        if _command(message) in STOPS:
            for each in waiting[: waiting.index(message)]:
                self._closed(each, robot)
                self.mark(each, "stopped")
        self._closed(message, robot)
        message.answers.append(text)
        self.mark(message, "answered")

    def _closed(self, message: Message, robot: str) -> None:
        key = (message.conversation_id, robot)
        is_named = message in self._open_messages.get(key, [])
        self._open_messages[key if is_named else (message.conversation_id, "")].remove(message)

    def complaint(self, shown: str) -> str:
        """What is wrong with a text people would see: ``unsafe`` or ``banned``; else nothing."""
        if any(link in shown for link in self.faults.unsafe_links):
            return "unsafe"
        return "banned" if any(word in shown for word in self.faults.banned_words) else ""

    def take_reply_fault(self, conversation_id: str) -> ReplyFault | None:
        """The scripted fault this reply meets, counted."""
        for fault in self.reply_faults:
            if fault.applies_to(conversation_id):
                fault.met += 1
                if fault.met == fault.times:
                    self.journal.changed("faults", {})
                return fault
        return None

    def _conversation(self, name: str, *, is_group: bool, robot: str = "") -> Conversation:
        conversation_id = _conversation_id(name, is_group=is_group, robot=robot)
        known = self.conversations.get(conversation_id)
        if known is None:
            known = Conversation(conversation_id, name, is_group, robot=robot)
            self.conversations[conversation_id] = known
        return known


def _command(message: Message) -> str:
    return unicodedata.normalize("NFKC", message.text).strip().lower()


def new_message_id() -> str:
    """A chat message's id in DingTalk's style."""
    return "msg" + base64.b64encode(os.urandom(16)).decode()


def bot_user_id(client_id: str) -> str:
    """A bot's opaque id, when there are several."""
    return "$:LWCP_v1:$" + _digest("bot", client_id)


def _conversation_id(name: str, *, is_group: bool, robot: str = "") -> str:
    kind = "group" if is_group else f"private:{robot}" if robot else "private"
    return "cid" + _digest(kind, name)


def _digest(kind: str, name: str) -> str:
    raw = hashlib.sha256(json.dumps([kind, name]).encode()).digest()[:16]
    return base64.b64encode(raw).decode()


def headers_of(headers: Any) -> dict[str, str]:
    """Request headers with lower-case names, as records keep them."""
    return {name.lower(): value for name, value in headers.items()}
