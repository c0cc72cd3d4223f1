"""What the listener counts; written in its event loop by those who do, read from any thread.

``listener/vitals.py`` reads it for the health check, the metrics and the status report. Plain
numbers, as every frame comes by here. Every name is there from the start: a dict that does not
grow can be read beside, and a rate sees the first of a kind.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

__all__ = [
    "ACK_BUCKETS_S",
    "DENIALS",
    "MESSAGE_ACTIONS",
    "PUSH_ACTIONS",
    "Cause",
    "FrameType",
    "Histogram",
    "Tally",
]

ACK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MOST_DENIED_SENDERS = 1000

MESSAGE_ACTIONS = {
    "message_enqueued": "enqueued",
    "message_spooled": "spooled",
    "message_denied": "denied",
    "duplicate_dropped": "duplicate",
    "message_refused": "refused",
    "message_failed": "failed",
}
"""What happens to a message: the log's action, and our word in the metrics; one for each."""


PUSH_ACTIONS = {
    ("card", "card_action_enqueued"): "enqueued",
    ("card", "card_action_spooled"): "spooled",
    ("card", "card_action_denied"): "denied",
    ("card", "card_action_lost"): "lost",
    ("card", "duplicate_dropped"): "duplicate",
    ("card", "message_failed"): "failed",
    ("event", "event_enqueued"): "enqueued",
    ("event", "event_deferred"): "deferred",
    ("event", "duplicate_dropped"): "duplicate",
    ("event", "message_failed"): "failed",
}
"""The same for card buttons and events, by kind and the log's action."""

DENIALS = ("group", "sender")


class FrameType(StrEnum):
    """What came in."""

    BOT = "bot"
    EVENT = "event"
    CARD = "card"
    PING = "ping"
    DISCONNECT = "disconnect"
    MALFORMED = "malformed"
    UNHANDLED = "unhandled"


class Cause(StrEnum):
    """Why a connection is being opened anew."""

    DISCONNECT_FRAME = "disconnect_frame"  # DingTalk recycles it
    TTL = "ttl"  # we do
    SILENCE = "silence"
    CLOCK_JUMP = "clock_jump"
    CLOSED = "closed"  # it broke
    REFUSED = "refused"  # DingTalk does not want this bot: credentials, Stream mode
    UNREACHABLE = "unreachable"  # none could be opened


class Histogram:
    """How many values lie up to each bound, and beyond."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """The counts since the start of the process."""

    def __init__(self) -> None:
        self.frames = dict.fromkeys(FrameType, 0)
        self.messages = Counter(dict.fromkeys((*MESSAGE_ACTIONS, "quota_used_up"), 0))
        self.pushes = Counter(dict.fromkeys(PUSH_ACTIONS, 0))
        self.denials = Counter(dict.fromkeys(DENIALS, 0))
        self.group_messages = 0
        self.denied_in_groups = 0  # by the list of groups
        self.reconnects = dict.fromkeys(Cause, 0)
        self.acks = Histogram(ACK_BUCKETS_S)
        self.clock_offset_s: float | None = None
        self.trouble: Cause | None = None  # what the last reconnect was for
        # On the event loop's clock.
        self.last_frame_at: float | None = None
        self.last_message_at: float | None = None
        self.last_denied_at: float | None = None
        self._denied_senders = set[str]()

    @property
    def denied_senders(self) -> int:
        """How many people were denied; no more than can be remembered."""
        return len(self._denied_senders)

    def denied(self, sender: str, at: float, *, reason: str = "sender") -> None:
        """Count a message of somebody who is not let in; ``reason`` is one of ``DENIALS``."""
        self.messages["message_denied"] += 1
        self.denials[reason] += 1
        self.denied_in_groups += reason == "group"
        self.last_denied_at = at
        if len(self._denied_senders) < MOST_DENIED_SENDERS:
            self._denied_senders.add(sender)

    def failed(self, kind: FrameType) -> None:
        """Count what was lost to an error of ours."""
        if kind is FrameType.BOT:
            self.messages["message_failed"] += 1
        else:
            self.pushes[kind.value, "message_failed"] += 1

    def reconnecting(self, cause: Cause) -> None:
        """Count a move to another connection, or an attempt to open one that failed."""
        self.reconnects[cause] += 1
        self.trouble = cause
