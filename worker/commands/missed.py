"""How ``celery -A worker late`` shows missed replies: facts, never what the person wrote.

The kept answer is shown by ``late show`` alone.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from contract.sealing import Sealer, SealError
from dingwire.replies import words_of
from worker.commands.handling import kept_answer
from worker.commands.words import short_age, table
from worker.store import MissedReply, Story

__all__ = ["answer_text", "facts_of", "listed", "sends_of"]

_HEAD = ("AGE", "STATE", "REASON", "ANSWER", "SENDER", "CHAT", "CONVERSATION", "MESSAGE")
_BOT = ("BOT",)
_SENDS = frozenset({"sent", "send_failed", "handed_over"})


def listed(missed: Sequence[MissedReply], *, now: datetime) -> list[str]:
    """Return the lines of a table; with the bots, when they are of several."""
    if len({reply.bot for reply in missed}) < 2:
        return table(_HEAD, [_row(reply, now) for reply in missed])
    return table(_BOT + _HEAD, [(reply.bot or "-", *_row(reply, now)) for reply in missed])


def _row(reply: MissedReply, now: datetime) -> tuple[str, ...]:
    return (
        short_age(now - reply.missed_at),
        reply.state,
        reply.reason.value,
        _answer(reply),
        str(reply.envelope.get("sender_staff_id") or "-"),
        str(reply.envelope.get("conversation") or "-"),
        reply.conversation_id or "-",
        reply.message_id,
    )


def _answer(reply: MissedReply) -> str:
    if reply.answer is None:
        return "none"
    return "in_doubt" if reply.in_doubt else "kept"


def facts_of(reply: MissedReply) -> dict[str, Any]:
    """Return everything but what the person wrote, the webhook and the answer."""
    return {
        "task_id": reply.task_id,
        "message_id": reply.message_id,
        "bot": reply.bot,
        "state": reply.state,
        "reason": reply.reason.value,
        "errcode": reply.errcode,
        "detail": reply.detail,
        "missed_at": reply.missed_at.isoformat(timespec="seconds"),
        "handled_at": reply.handled_at and reply.handled_at.isoformat(timespec="seconds"),
        "conversation": reply.envelope.get("conversation"),
        "conversation_id": reply.conversation_id,
        "sender_staff_id": reply.envelope.get("sender_staff_id"),
        "has_answer": reply.answer is not None,
        "in_doubt": reply.in_doubt,
        "parts_sent": reply.sent,
    }


def sends_of(story: Story | None) -> list[dict[str, Any]]:
    """Return each time it was tried to send the reply after all."""
    return [
        {
            "step": step.name,
            "at": step.at and step.at.isoformat(timespec="seconds"),
            **step.facts,
        }
        for step in (story.steps if story else ())
        if step.name in _SENDS
    ]


def answer_text(reply: MissedReply, sealer: Sealer) -> str | None:
    """Return the kept answer; None when there is none, or it is of a later release.

    Raises:
        SealError: There is no key for it here.
    """
    if reply.answer is None:
        return None
    try:
        kept = kept_answer(reply, sealer)
    except SealError:
        raise
    except ValueError:
        return None
    return "\n\n".join(map(words_of, kept))
