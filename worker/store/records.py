"""How a record's parts are written down; shared by ``redis.py`` and ``sql.py``.

JSON in ASCII: what a person or an agent wrote may hold characters that a database refuses (a NUL
in PostgreSQL, half a surrogate pair anywhere).
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contract.envelope import Earlier
from worker.store.base import DueMessage, MissedReply, Open, Reason, Step, Taken

__all__ = [
    "PARK_S",
    "STORY_LIMIT",
    "at_ms",
    "conversation_key",
    "due_message",
    "key_of",
    "ms",
    "pack",
    "pack_facts",
    "pack_steps",
    "packed_place",
    "plain",
    "read_missed",
    "read_steps",
    "read_taken",
    "reason_in",
    "route_of",
    "standing",
    "unpack",
    "with_earlier",
]

# A parked message looks after itself this often, should nobody have handed it the turn.
PARK_S = 60.0

# So many bytes of a story are kept, and its end: enough for some hundred steps.
STORY_LIMIT = 16_000

# What of an envelope leads to its conversation, and nothing else.
_OF_ROUTE = ("session_webhook", "sealed", "deadline", "webhook_expires_at", "clock_offset_s")

# What a message keeps that became part of a later one's turn.
_OF_EARLIER = (*Earlier.model_fields, "sealed")


# What waits for its next attempt has the turn, so it comes before what is parked.
_STANDING = {"running": 0, "waiting": 1}


def standing(message: Open) -> int:
    """Return a key to sort what is unfinished by, which leaves equal ones as they are."""
    return _STANDING.get(message.state, 2)


def ms(seconds: float) -> int:
    """Return whole milliseconds."""
    return round(seconds * 1000)


def packed_place(place: tuple[int, int]) -> tuple[int, str]:
    """Return a place as Redis compares it: ms as a number, us as digits of one length."""
    written_ms, received_us = place
    return max(0, written_ms), f"{max(0, received_us):017d}"


def pack(value: object) -> str:
    """Return ``value`` as ASCII JSON."""
    return json.dumps(value, separators=(",", ":"))


def unpack(text: str | None) -> Any:
    """Read what :func:`pack` wrote; None stays None."""
    return None if text is None else json.loads(text)


def plain(text: object) -> str:
    """Return ``text`` as every store can keep and compare it, for ids that came from outside."""
    return str(text).encode("utf-8", "replace").decode().replace("\0", "?")


def key_of(name: str) -> str:
    """Return a short key for a name that came from outside, the same in every process."""
    return hashlib.sha256(plain(name).encode()).hexdigest()[:32]


def conversation_key(bot: object, conversation_id: object) -> str:
    """Return the key that one conversation of one bot keeps its missed answers under."""
    return key_of(f"{bot}\n{conversation_id}") if conversation_id else ""


def with_earlier(envelope: str, merged: str | None) -> dict[str, Any]:
    """Return an envelope, and in it what was merged into its turn.

    Args:
        envelope: As packed.
        merged: The packed envelopes of the others, oldest first, comma separated; None without.
    """
    content: dict[str, Any] = unpack(envelope)
    if merged:
        others = json.loads(f"[{merged}]")
        earlier = [{k: e[k] for k in _OF_EARLIER if k in e} for e in others]
        content["earlier"] = [*content.get("earlier", ()), *earlier]
    return content


def pack_facts(*, reason: Reason, errcode: int | None, detail: str) -> str:
    """Return why a reply was missed, for :func:`read_missed`."""
    return pack({"reason": reason.value, "errcode": errcode, "detail": detail})


def reason_in(facts: str) -> Reason:
    """Return why a reply was missed."""
    return Reason(unpack(facts)["reason"])


def due_message(task_id: str, envelope: str, *, has_answer: bool, attempts: int = 0) -> DueMessage:
    """Build a due message from its stored parts."""
    content = unpack(envelope)
    return DueMessage(task_id, str(content.get("message_id", "")), has_answer, content, attempts)


def read_taken(was: str | None, facts: str | None, *, is_handled: bool) -> Taken | None:
    """Return what a missed reply was that was taken to be sent; None of what was not."""
    if was is None or facts is None:
        return None
    why = unpack(facts)
    return Taken(was, Reason(why["reason"]), why["errcode"], why["detail"], is_handled)


def pack_steps(steps: Sequence[Step]) -> str:
    """Return steps as they go on with a story; empty without any."""
    return pack([[ms(step.ago_s), step.name, step.facts] for step in steps]) if steps else ""


def read_steps(story: str | None) -> tuple[Step, ...]:
    """Read a story: pieces of the form ``[epoch ms, steps],``, one for each write."""
    return tuple(
        Step(name, facts, at=at_ms(now) - timedelta(milliseconds=ago))
        for now, steps in json.loads(f"[{(story or '').rstrip(',')}]")
        for ago, name, facts in steps
    )


def route_of(envelope: dict[str, Any]) -> tuple[str, int]:
    """Return the packed route of an envelope and until when it leads anywhere, in epoch ms.

    An empty one and 0 when it has none.
    """
    try:
        until = datetime.fromisoformat(envelope["deadline"])
        until -= timedelta(seconds=float(envelope.get("clock_offset_s") or 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        return "", 0
    if not envelope.get("session_webhook") and not envelope.get("sealed"):
        return "", 0
    route = {name: envelope[name] for name in _OF_ROUTE if envelope.get(name) is not None}
    route["message_id"] = plain(envelope.get("message_id", ""))
    return pack(route), int(until.timestamp() * 1000)


def at_ms(epoch_ms: float) -> datetime:
    """Return a time that is kept as epoch ms."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def read_missed(
    *,
    task_id: str,
    state: str,
    facts: str,
    missed_at: int,
    envelope: str,
    answer: str | None,
    merged: str | None,
    sent: int,
    in_doubt: bool,
    handled_at: int | None,
) -> MissedReply:
    """Build a missed reply from its stored parts; times are in epoch ms."""
    content, why = with_earlier(envelope, merged), unpack(facts)
    return MissedReply(
        task_id=task_id,
        bot=str(content.get("bot", "")),
        message_id=str(content.get("message_id", "")),
        conversation_id=str(content.get("conversation_id", "")),
        state=state,
        reason=Reason(why["reason"]),
        errcode=why["errcode"],
        detail=why["detail"],
        missed_at=at_ms(missed_at),
        envelope=content,
        answer=unpack(answer),
        sent=sent,
        in_doubt=in_doubt,
        handled_at=None if handled_at is None else at_ms(handled_at),
    )
