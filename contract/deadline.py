"""When is a reply still worth sending?

The listener sets the two times of a message, the worker asks before it starts the agent and
again before it posts. Pure: pass ``now`` in, on the clock the times are on.
"""

from datetime import datetime, timedelta
from enum import StrEnum

__all__ = [
    "POST_MARGIN",
    "SHORTEST_WEBHOOK_LIFE",
    "Timeliness",
    "judge",
    "promise",
    "reply_deadline",
]

POST_MARGIN = timedelta(seconds=2)  # kept back from the webhook's life for the post itself

# For a webhook that names no expiry: the shortest life ever seen; docs/protocol.md.
SHORTEST_WEBHOOK_LIFE = timedelta(minutes=20)


class Timeliness(StrEnum):
    """Verdict on a reply at one moment."""

    ON_TIME = "on_time"  # promise kept: post
    LATE = "late"  # promise broken, webhook alive: post with a note
    EXPIRED = "expired"  # webhook dead: LATE_POLICY decides (drop, flag, rescue)


def reply_deadline(webhook_expires_at: datetime, *, margin: timedelta = POST_MARGIN) -> datetime:
    """Last moment, on DingTalk's clock, at which a post can still arrive in time.

    Args:
        webhook_expires_at: ``sessionWebhookExpiredTime``; epoch ms on the wire, aware UTC here.
        margin: Kept back for the post itself; zero or more.

    Raises:
        ValueError: If ``margin`` is negative.
    """
    if margin < timedelta(0):
        raise ValueError(f"margin must not be negative, not {margin.total_seconds()} s")
    return webhook_expires_at - margin


def promise(received_at: datetime, reply_within_s: float | None) -> datetime | None:
    """Return the soft time of a message, on the listener's clock; None without a promise."""
    return None if reply_within_s is None else received_at + timedelta(seconds=reply_within_s)


def judge(
    now: datetime,
    *,
    deadline: datetime | None,
    promise_at: datetime | None = None,
    clock_offset: timedelta = timedelta(0),
) -> Timeliness:
    """Judge a reply that would be posted at ``now``.

    Args:
        now: Our clock.
        deadline: On DingTalk's clock; None when there is no webhook that could expire.
        promise_at: On our clock.
        clock_offset: DingTalk's clock minus ours.
    """
    if deadline is not None and now + clock_offset >= deadline:
        return Timeliness.EXPIRED
    if promise_at is not None and now > promise_at:
        return Timeliness.LATE
    return Timeliness.ON_TIME
