"""The steps of a message's story that a worker tells; see :class:`worker.store.Step`.

Used by ``worker/answering.py`` and ``worker/asking.py``; read by ``celery -A worker trace``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from contract.envelope import Envelope, EnvelopeError
from worker.store import Step

__all__ = ["agent_steps", "beginning"]


def beginning(data: dict[str, Any] | Envelope | None, now: datetime) -> tuple[Step, ...]:
    """Return what happened to a message before a worker heard of it; nothing of what is none.

    Args:
        data: The envelope, read or as the task carried it.
        now: Our clock; the listener's may differ by a little.
    """
    try:
        envelope = data if isinstance(data, Envelope) else Envelope.from_wire(data)
    except EnvelopeError:
        return ()
    facts = {
        "bot": envelope.bot,
        "message_id": envelope.message_id,
        "conversation_id": envelope.conversation_id,
        "conversation": envelope.conversation.value,
        "sender_staff_id": envelope.sender_staff_id,
        "kind": envelope.kind,
        "deadline": envelope.deadline and envelope.deadline.isoformat(),
        "clock_offset_s": envelope.clock_offset_s,
    }
    steps = [Step("received", facts, ago_s=_ago_s(envelope.received_at, now))]
    if envelope.spooled_at is not None:
        steps.append(Step("spooled", ago_s=_ago_s(envelope.spooled_at, now)))
    if envelope.enqueued_at is not None:
        steps.append(Step("enqueued", ago_s=_ago_s(envelope.enqueued_at, now)))
    return tuple(steps)


def agent_steps(
    agent_s: float, outcome: str, usage: Sequence[dict[str, Any]] = ()
) -> tuple[Step, ...]:
    """Return that the agent ran for ``agent_s`` until now, how it ended, and what it used.

    Args:
        agent_s: How long it ran.
        outcome: In a word.
        usage: From :func:`worker.agents.usage.summed`.
    """
    facts = {"agent_s": agent_s, "outcome": outcome, **({"usage": list(usage)} if usage else {})}
    return Step("agent_started", ago_s=agent_s), Step("agent_ended", facts)


def _ago_s(then: datetime, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds())
