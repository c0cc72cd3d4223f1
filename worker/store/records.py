"""How a record's parts are written down; shared by ``redis.py`` and ``sql.py``.

JSON in ASCII: what a person or an agent wrote may hold characters that a database refuses (a NUL
in PostgreSQL, half a surrogate pair anywhere).
"""

import json
from datetime import UTC, datetime
from typing import Any

from worker.store.base import DueMessage, MissedReply, Reason

__all__ = ["due_message", "ms", "pack", "pack_facts", "plain", "read_missed", "unpack"]


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


def pack_facts(*, reason: Reason, errcode: int | None, detail: str) -> str:
    """Return why a reply was missed, for :func:`read_missed`."""
    return pack({"reason": reason.value, "errcode": errcode, "detail": detail})


def due_message(task_id: str, envelope: str, *, has_answer: bool) -> DueMessage:
    """Build a due message from its stored parts."""
    content = unpack(envelope)
    return DueMessage(task_id, str(content.get("message_id", "")), has_answer, content)


def read_missed(
    *, task_id: str, state: str, facts: str, missed_at: int, envelope: str, answer: str | None
) -> MissedReply:
    """Build a missed reply from its stored parts; ``missed_at`` is in epoch ms."""
    content, why = unpack(envelope), unpack(facts)
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
    )
