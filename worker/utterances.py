"""What of a message and its answer is remembered: the words, and how they are written down.

Used by ``worker/memory.py``. Pure: no store, no key, no clock.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from contract.content import Attachment, Quoted
from contract.envelope import Earlier, Envelope
from dingwire.replies import Media, Reply, words_of
from worker.agents.base import Message
from worker.agents.context import Said

__all__ = ["LIMIT_CHARS", "QUOTE_CHARS", "exchange_of", "said_in"]

# Of a question, and of an answer; what is longer is cut.
LIMIT_CHARS = 8_000
# Of what a question quotes.
QUOTE_CHARS = 1_000

_VERSION = 1


def exchange_of(
    envelope: Envelope, replies: Sequence[Reply], *, answered_at: datetime
) -> dict[str, Any]:
    """Return a question and its answer as plain JSON, for :func:`said_in`.

    Args:
        envelope: In clear, with all messages of its turn.
        replies: None are silence: then the question stands alone.
        answered_at: Aware.
    """
    asked = {
        "text": _cut(_question(envelope), LIMIT_CHARS),
        "nick": envelope.sender_nick,
        "id": envelope.sender_id,
        "at": (envelope.created_at or envelope.received_at).isoformat(),
    }
    exchange: dict[str, Any] = {"version": _VERSION, "asked": asked}
    if replies:
        answer = "\n\n".join(map(_reply, replies))
        exchange["answered"] = {"text": _cut(answer, LIMIT_CHARS), "at": answered_at.isoformat()}
    return exchange


def said_in(exchange: Any) -> tuple[Said, ...]:
    """Return the utterances of what :func:`exchange_of` wrote, one or two.

    Raises:
        ValueError: It is none, or one of a later release; the text shows nothing of it.
    """
    try:
        if exchange["version"] != _VERSION:
            raise ValueError("of a later release")
        asked, answered = exchange["asked"], exchange.get("answered")
        question = Said(
            "user",
            str(asked["text"]),
            sender_nick=str(asked["nick"]),
            sender_id=str(asked["id"]),
            at=datetime.fromisoformat(asked["at"]),
        )
        if answered is None:
            return (question,)
        at = datetime.fromisoformat(answered["at"])
        return question, Said("assistant", str(answered["text"]), at=at)
    except (TypeError, KeyError, AttributeError):
        raise ValueError("no exchange") from None


def _question(envelope: Envelope) -> str:
    """Return the words of a turn, under what it quotes and above what came with it."""
    words = Message.of(envelope).text
    turn: tuple[Earlier | Envelope, ...] = (*envelope.earlier, envelope)
    quoted = next((each.quoted for each in reversed(turn) if each.quoted), None)
    attached = [_attachment(code) for each in turn for code in each.attachments]
    return "\n".join(part for part in (_quote(quoted), words, *attached) if part)


def _quote(quoted: Quoted | None) -> str:
    if quoted is None:
        return ""
    parts = [quoted.text, *(_attachment(code) for code in quoted.attachments)]
    words = "\n".join(part for part in parts if part) or f"[{quoted.kind}]"
    who = "" if quoted.is_from_bot or not quoted.sender_nick else f"{quoted.sender_nick}: "
    return "\n".join(f"> {line}" for line in f"{who}{_cut(words, QUOTE_CHARS)}".splitlines())


def _attachment(code: Attachment) -> str:
    return f"[{code.kind} {code.name}]" if code.name else f"[{code.kind}]"


def _reply(reply: Reply) -> str:
    if isinstance(reply, Media):
        # What its closest form shows are our own names of uploads, which say nothing.
        return f"[{reply.kind} {reply.name}]" if reply.name else f"[{reply.kind}]"
    return words_of(reply)


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
