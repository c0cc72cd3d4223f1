"""What is fuzzed: each target takes bytes, and lets out only what its function promises to raise.

A target that returns has passed. What it checks beside that are promises a caller relies on.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from contract.envelope import Envelope, EnvelopeError
from contract.turn import Order, lane, place
from dingwire import replies
from dingwire.messages import parse_bot_message
from dingwire.parts import split
from dingwire.protocol import BotPush, StreamProtocol
from dingwire.simulator import payloads
from listener.task_message import answer_task
from listener.translate import to_envelope
from tests.fuzz import structures
from worker.agents.base import Message

__all__ = ["TARGETS", "Target"]

SAMPLES = Path(__file__).parents[1] / "samples"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
PART_BYTES = 1_500

_protocol = StreamProtocol()


@dataclass(frozen=True)
class Target:
    """One function under fuzz.

    ``share`` is its part of all inputs; ``corpus`` are inputs that are right.
    """

    run: Callable[[bytes], None]
    share: float
    corpus: Callable[[], Iterator[bytes]]
    structures: st.SearchStrategy[bytes]


def _samples() -> Iterator[bytes]:
    for path in sorted(SAMPLES.glob("*.json")):
        yield path.read_bytes()


def _frame(kind: str, topic: str, data: str) -> bytes:
    """Return one as the simulator sends it."""
    frame = payloads.frame(
        kind=kind, topic=topic, push_id="push-1", now_ms=NOW_MS, data=data, connection_id="c1"
    )
    return frame.encode()


def _frames() -> Iterator[bytes]:
    yield _frame("SYSTEM", "ping", '{"opaque":"6f1c"}')
    yield _frame("SYSTEM", "disconnect", '{"reason":"persistent connection is timeout"}')
    yield _frame("EVENT", "*", '{"eventType":"user_add_org","userId":["u1"]}')
    yield _frame("CALLBACK", "/v1.0/card/instances/callback", '{"outTrackId":"t1"}')
    for sample in _samples():
        yield _frame("CALLBACK", payloads.BOT_TOPIC, sample.decode())


def _receive(raw: bytes) -> None:
    _protocol.receive(raw)
    # The library hands text over as such, checked for UTF-8 by itself.
    received = _protocol.receive(raw.decode("utf-8", "replace"))
    reply = getattr(received, "reply", None)
    if reply is not None:
        json.loads(reply)


def _translate(raw: bytes) -> None:
    frame = _frame("CALLBACK", payloads.BOT_TOPIC, raw.decode("utf-8", "replace"))
    received = _protocol.receive(frame)
    if not isinstance(received, BotPush):
        return
    message = parse_bot_message(received.payload)
    repr(message)
    for offset in (timedelta(0), timedelta(hours=-12)):
        envelope = to_envelope(
            message,
            received,
            client_id="ding1",
            received_at=NOW,
            clock_offset=offset,
            reply_within_s=60,
        )
    # As it travels: the listener writes JSON, the worker reads it and shows it to an agent.
    carried = json.loads(json.dumps(answer_task(envelope).body))
    assert Envelope.from_wire(carried[1]["envelope"]) == envelope
    assert Message.of(envelope).text == message.text
    _ask_for_its_turn(envelope)


def _ask_for_its_turn(envelope: Envelope) -> None:
    for order in Order:
        lane(envelope, order)
    place(envelope)


def _envelopes() -> Iterator[bytes]:
    for sample in _samples():
        push = _protocol.receive(_frame("CALLBACK", payloads.BOT_TOPIC, sample.decode()))
        assert isinstance(push, BotPush)
        envelope = to_envelope(
            parse_bot_message(push.payload),
            push,
            client_id="ding1",
            received_at=NOW,
            clock_offset=timedelta(0),
            reply_within_s=60,
        )
        wire = envelope.to_wire()
        wire["earlier"] = [{"message_id": "m0", "text": "before", "attachments": [{}]}]
        yield json.dumps(wire).encode()


def _decode(raw: bytes) -> None:
    data: Any = raw
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(raw)
    try:
        envelope = Envelope.from_wire(data)
    except EnvelopeError as error:
        str(error)
        return
    _ask_for_its_turn(envelope)
    repr(Message.of(envelope))
    again = json.loads(json.dumps(envelope.to_wire()))
    Envelope.from_wire(again)


def _kept_replies() -> Iterator[bytes]:
    address = "https://example.com/a"
    kinds: list[replies.Reply] = [
        replies.Text(content="hello 你好"),
        replies.Markdown(title="# Title", text="**bold**\n```py\nx = 1\n```\n"),
        replies.Link(title="t", text="x", url=address),
        replies.ActionCard(
            title="t", text="x", buttons=(replies.Button(title="go", url=address),) * 2
        ),
        replies.FeedCard(links=(replies.FeedLink(title="t", url=address, picture=address),)),
        replies.File(media_id="@lAD", name="a.pdf"),
        replies.Video(media_id="@lAD", duration_s=3, cover=replies.Image(media_id="@lAD")),
        replies.Card(template_id="x.schema", values={"a": 1}, text="x"),
    ]
    for reply in kinds:
        yield replies.replies_to_json([reply]).encode()
    yield replies.replies_to_json(kinds).encode()


def _read_reply(raw: bytes) -> None:
    try:
        kept = replies.replies_from_json(raw)
    except ValueError:
        return
    assert replies.replies_from_json(replies.replies_to_json(kept)) == kept
    for reply in kept:
        for shown in (reply, *replies.with_note(reply, "sorry")):
            body = replies.webhook_body(shown, msg_uuid="1")
            json.dumps(body, ensure_ascii=False).encode()
            replies.proactive_message(shown)[1].encode()


def _texts() -> Iterator[bytes]:
    rows = "".join(f"| {n} | x |\n" for n in range(60))
    code = "".join(f"print({n})  # 注释\n" for n in range(60))
    items = "".join(f"{n}. item **bold** [link](https://example.com)\n" for n in range(60))
    table = f"| a | b |\n|---|---|\n{rows}"
    yield f"# Title\n\nwords 你好 😀\n\n```python\n{code}```\n\n{table}".encode()
    yield items.encode()
    yield ("一段没有空格的长文字，" * 200).encode()


def _split(raw: bytes) -> None:
    words = raw.decode("utf-8", "replace")
    if not words.strip():
        return
    for reply in (replies.from_agent_text(words), replies.Text(content=words)):
        parts = split(
            reply.model_copy(update={"at_user_ids": ("u1", "u2")}), limit_bytes=PART_BYTES
        )
        assert parts
        for part in parts:
            body = replies.webhook_body(part, msg_uuid="0" * 36)
            assert len(json.dumps(body, ensure_ascii=False).encode()) <= PART_BYTES


TARGETS = {
    "frames": Target(_receive, 0.35, _frames, structures.frames),
    "envelopes": Target(_decode, 0.2, _envelopes, structures.envelopes),
    "translation": Target(_translate, 0.2, _samples, structures.payloads),
    "replies": Target(_read_reply, 0.15, _kept_replies, structures.replies),
    "parts": Target(_split, 0.1, _texts, structures.texts),
}
