"""Is the listener well? Asked by ``listener/health_server.py``, in a thread of its own.

It is not when DingTalk is not heard, when it cannot keep what it hears, or when it hangs. A broker
that is away is no illness by itself: the disk stands in for it.
"""

from collections.abc import Sequence
from typing import Any

from listener.vitals import Vitals

__all__ = [
    "HANG_LIMIT_S",
    "SPOOL_LIMIT",
    "HealthPortError",
    "is_hanging",
    "problems",
    "problems_of_all",
    "summary",
]

HANG_LIMIT_S = 10.0
# Of SPOOL_MAX_MB: at the limit itself the oldest messages are dropped to make room, so that what
# is there stays just below it.
SPOOL_LIMIT = 0.9


class HealthPortError(Exception):
    """``HEALTH_PORT`` cannot be opened."""

    def __init__(self, port: int, reason: str) -> None:
        super().__init__(port, reason)
        self.port, self.reason = port, reason

    def __str__(self) -> str:
        return f"cannot open HEALTH_PORT {self.port}: {self.reason}; name a port that is free"


def problems_of_all(bots: Sequence[Vitals]) -> dict[str, str]:
    """Return what is wrong with any bot, by a word for machines; nothing when all are well."""
    each = [(vitals.bot, problems(vitals)) for vitals in bots]
    found = {}
    for word in dict.fromkeys(word for _, its in each for word in its):
        whose = [bot for bot, its in each if word in its]
        text = next(its[word] for _, its in each if word in its)
        found[word] = text if len(whose) == len(each) else f"{text}: {', '.join(whose)}"
    return found


def problems(vitals: Vitals) -> dict[str, str]:
    """Return what is wrong with one bot, by a word for machines; nothing when all is well."""
    found = {}
    if is_hanging(vitals):
        found["event_loop_hangs"] = f"the event loop stands still for over {HANG_LIMIT_S:g} s"
    if not vitals.connections_up:
        if vitals.is_silent:
            found["silent"] = "connected to DingTalk, and nothing comes, not even a pong"
        else:
            found["not_connected"] = "no connection to DingTalk is up"
    if vitals.spool.filled >= SPOOL_LIMIT:
        found["spool_full"] = "SPOOL_MAX_MB is used up: the broker is away, or takes too little"
    elif vitals.enqueuer.is_disk_failing and not vitals.enqueuer.is_broker_up:
        found["spool_failed"] = "the broker takes nothing, and the disk takes nothing"
    return found


def is_hanging(vitals: Vitals) -> bool:
    """Whether only a restart helps: the event loop stands still."""
    return vitals.loop_standstill_s > HANG_LIMIT_S


def summary(bots: Sequence[Vitals], found: dict[str, str]) -> dict[str, Any]:
    """Return what ``/healthz`` shows; where there are several bots, each by itself as well."""
    first = bots[0]  # for what they share
    ages = [age for vitals in bots if (age := vitals.last_frame_age_s) is not None]
    shown = {
        "status": "unavailable" if found else "ok",
        "reasons": found,
        "listener": first.listener,
        "release": first.release,
        "connections_up": sum(vitals.connections_up for vitals in bots),
        "connections_wanted": sum(vitals.connections_wanted for vitals in bots),
        "last_frame_age_s": min(ages, default=None),
        "broker_up": first.enqueuer.is_broker_up,
        "spooled_messages": first.spool.backlog,
    }
    return shown if len(bots) == 1 else shown | {"bots": [_own(vitals) for vitals in bots]}


def _own(vitals: Vitals) -> dict[str, Any]:
    return {
        "bot": vitals.bot,
        "connections_up": vitals.connections_up,
        "connections_wanted": vitals.connections_wanted,
        "last_frame_age_s": vitals.last_frame_age_s,
    }
