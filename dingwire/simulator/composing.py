"""From what a person does to the record of it, with the payload that is pushed.

``server`` calls :func:`compose` for each ``say``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dingwire.simulator import payloads
from dingwire.simulator.bot_records import Card, ProactiveSend
from dingwire.simulator.contents import Coded, Quote, body_of, quoted_content
from dingwire.simulator.filestore import File
from dingwire.simulator.records import BOT_TOPIC, Message, Reply
from dingwire.simulator.samples import sample
from dingwire.simulator.world import BOT_ID, Conversation, Person, World, new_message_id

__all__ = ["Quotable", "Utterance", "compose"]

WITH_FILE = frozenset({"picture", "audio", "video", "file", "richText"})

Quotable = Message | Reply | ProactiveSend | Card | Quote | str


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What a person writes or sends, and where; see :meth:`Simulator.say`."""

    text: str
    person: str
    group: str | None = None
    kind: str = "text"
    files: Sequence[File] = ()
    quote: Quotable | None = None
    mentions: Sequence[str] = ()
    delegate: str | None = None
    robots: Sequence[str] = ()
    omit: Sequence[str] = ()
    raw_data: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


def compose(world: World, said: Utterance) -> Message:
    """The record of a message; people and groups come into being by being named."""
    conversation = _place(world, said)
    sender = world.person(said.person)
    conversation.members.add(said.person)
    message_id = str(said.payload.get("msgId") or new_message_id())
    robots = list(said.robots)
    sessions = {each: world.open_session(conversation, each) for each in robots or [""]}
    session = next(iter(sessions.values()))
    webhooks = {robot: world.webhook_url(each) for robot, each in sessions.items() if robot}
    coded = _coded(world, said)
    world.files.sent[message_id] = [each.file for each in coded]
    quote = None if said.quote is None else _quote(world, said.quote)
    data = payloads.message_data(
        text=said.text,
        kind=said.kind,
        message_id=message_id,
        sender=sender,
        conversation=conversation,
        created_at_ms=world.now_ms(),
        session_webhook=world.webhook_url(session),
        expires_at_ms=session.expires_at_ms,
        faults=world.faults,
        files=coded,
        quote=quote,
        mentions=[world.person(each) for each in said.mentions],
        robots=robots,
    )
    if said.delegate is not None:
        payloads.delegate(data, world.person(said.delegate), sender)
    return Message(
        message_id=message_id,
        conversation_id=conversation.conversation_id,
        conversation=conversation.name,
        is_group=conversation.is_group,
        person=said.person,
        nick=sender.nick,
        text=said.text,
        kind=said.kind,
        created_at_ms=world.now_ms(),
        session_webhook=world.webhook_url(session),
        expires_at_ms=session.expires_at_ms,
        payload={**data, **said.payload},
        omitted=tuple(said.omit),
        raw_data=said.raw_data,
        topic=BOT_TOPIC if said.delegate is None else payloads.DELEGATE_TOPIC,
        robots=robots,
        webhooks=webhooks,
        codes=[code for each in coded for code in (each.code, each.picture_code) if code],
        files=[each.file.name for each in coded],
        quoted=quote.text if quote else "",
    )


def _place(world: World, said: Utterance) -> Conversation:
    """The group, or the private chat with the bot that was named."""
    if said.group:
        return world.group(said.group)
    if len(said.robots) > 1:
        raise ValueError("only a message in a group can be for several bots")
    return world.private_chat(said.person, *said.robots)


def _coded(world: World, said: Utterance) -> list[Coded]:
    """Each file under codes of its own, good for whichever robot is sent them."""
    files = said.files
    if not files and said.kind in WITH_FILE:
        files = [sample(said.kind)]
    life_s = world.faults.download_code_ttl_s

    def code(file: File) -> str:
        return world.files.code(file, robots=set(), life_s=life_s)

    small = said.kind in ("picture", "richText")
    return [Coded(each, code(each), code(each) if small else "") for each in files]


def _quote(world: World, quoted: Quotable) -> Quote:
    if isinstance(quoted, Quote):
        return quoted
    if isinstance(quoted, str):
        quoted = _find(world, quoted)
    if isinstance(quoted, Message):
        return _quote_of_person(world.person(quoted.person), quoted)
    if isinstance(quoted, Reply):
        kind = str(quoted.body.get("msgtype")) if isinstance(quoted.body, dict) else ""
        kind = kind if kind in ("text", "markdown") else "interactiveCard"
        content = quoted_content(kind, {}, quoted.text)
        return Quote(kind, new_message_id(), BOT_ID, quoted.at_ms, content)
    if isinstance(quoted, Card):
        key, at_ms = next(iter(quoted.places.values()), ""), quoted.created_at_ms
    else:
        key, at_ms = quoted.process_query_key, quoted.at_ms
    return Quote("interactiveCard", new_message_id(), BOT_ID, at_ms, None, process_query_key=key)


def _quote_of_person(sender: Person, message: Message) -> Quote:
    raw = message.payload.get("content")
    _, body = body_of("text", message.text, []) if not isinstance(raw, dict) else ("", raw)
    return Quote(
        message.kind,
        message.message_id,
        sender.sender_id,
        message.created_at_ms,
        quoted_content(message.kind, body, message.text),
        sender.nick,
    )


def _find(world: World, key: str) -> Message | Reply | ProactiveSend | Card:
    """A message or reply by its id, a card by its ``outTrackId``, a send by its key."""
    known = world.journal.messages.get(key) or world.journal.cards.get(key)
    if known is not None:
        return known
    for reply in world.journal.replies:
        if reply.reply_id == key:
            return reply
    for send in world.journal.proactive:
        if key and send.process_query_key == key:
            return send
    raise ValueError("the message to quote is not known")
