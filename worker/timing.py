"""How a message stands against its deadline, which is on DingTalk's clock.

Asked before the agent runs, and before anything is sent. Pure: pass ``now`` in, on our clock.
"""

from datetime import datetime, timedelta

from contract.deadline import Timeliness, judge
from contract.envelope import Envelope

__all__ = ["is_over", "judged", "spare_s"]


def judged(envelope: Envelope, now: datetime) -> Timeliness:
    """Judge a reply to ``envelope`` that would be sent at ``now``."""
    return judge(
        now,
        deadline=envelope.deadline,
        promise_at=envelope.promise_at,
        clock_offset=timedelta(seconds=envelope.clock_offset_s),
    )


def is_over(envelope: Envelope, now: datetime) -> bool:
    """Whether its webhook takes nothing more."""
    return judged(envelope, now) is Timeliness.EXPIRED


def spare_s(envelope: Envelope, now: datetime) -> float | None:
    """Return the seconds left until the deadline; negative after it, None without one."""
    if envelope.deadline is None:
        return None
    now += timedelta(seconds=envelope.clock_offset_s)
    return round((envelope.deadline - now).total_seconds(), 3)
