"""How a record's parts are written down; shared by ``redis.py`` and ``sql.py``.

JSON in ASCII: what a person or an agent wrote may hold characters that a database refuses (a NUL
in PostgreSQL, half a surrogate pair anywhere).
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from worker.store.base import DueMessage, MissedReply, Reason

__all__ = [
    "PARK_S",
    "conversation_key",
    "due_message",
    "key_of",
    "ms",
    "pack",
    "pack_facts",
    "plain",
    "read_missed",
    "unpack",
    "with_earlier",
]

# A parked message looks after itself this often, should nobody have handed it the turn.
PARK_S = 60.0


def ms(seconds: float) -> int:
    """Return whole milliseconds."""
    return round(seconds * 1000)


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
        earlier = [{"message_id": e["message_id"], "text": e.get("text", "")} for e in others]
        content["earlier"] = [*content.get("earlier", ()), *earlier]
    return content


def pack_facts(*, reason: Reason, errcode: int | None, detail: str) -> str:
    """Return why a reply was missed, for :func:`read_missed`."""
    return pack({"reason": reason.value, "errcode": errcode, "detail": detail})


def due_message(task_id: str, envelope: str, *, has_answer: bool) -> DueMessage:
    """Build a due message from its stored parts."""
    content = unpack(envelope)
    return DueMessage(task_id, str(content.get("message_id", "")), has_answer, content)


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
) -> MissedReply:
    """Build a missed reply from its stored parts; ``missed_at`` is in epoch ms."""
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
        missed_at=datetime.fromtimestamp(missed_at / 1000, UTC),
        envelope=content,
        answer=unpack(answer),
        sent=sent,
    )
