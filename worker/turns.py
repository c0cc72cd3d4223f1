"""Which turn a message waits for, by ``ORDER``, ``BURST`` and ``MAX_WAITING``.

Asked by ``worker/answering.py`` before it claims; the store does the waiting.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from contract.envelope import Envelope, EnvelopeError
from contract.routing import task_id
from contract.turn import Order, lane, place
from worker.store import Turn

__all__ = ["Burst", "Turns"]

# How long a message waits for the one before it to reach a worker at all. Longer than a broker
# takes to notice that a machine is gone with what it had read.
_PREDECESSOR_S = 60.0


class Burst(StrEnum):
    """What becomes of messages that arrive while the agent is busy with their conversation."""

    EACH = "each"
    MERGE = "merge"


@dataclass(frozen=True)
class Turns:
    """The rule by which messages wait for each other."""

    order: Order = Order.CONVERSATION
    burst: Burst = Burst.EACH
    max_waiting: int | None = None
    can_be_stopped: bool = True

    def of(self, data: dict[str, Any] | Envelope | None) -> Turn | None:
        """Return what a message waits for; None for nothing, or what the store has noted.

        Args:
            data: The envelope, read or as the task carried it; what is none waits for nothing.
        """
        envelope = _read(data)
        if envelope is None:
            return None
        name = lane(envelope, self.order)
        if name is None:
            return None
        before = envelope.previous_message_id
        return Turn(
            name,
            place(envelope),
            sender=envelope.sender_id or envelope.sender_staff_id or "",
            after=task_id(envelope.bot, before) if before else None,
            wait_s=_PREDECESSOR_S,
            max_waiting=self.max_waiting,
            merge=self.burst is Burst.MERGE,
        )

    def place_of(self, data: dict[str, Any] | Envelope | None) -> tuple[int, int] | None:
        """Return a message's place in its conversation, by which it can be stopped.

        Args:
            data: As in :meth:`of`; what is no envelope has none.
        """
        envelope = _read(data) if self.can_be_stopped else None
        return None if envelope is None else place(envelope)


def _read(data: dict[str, Any] | Envelope | None) -> Envelope | None:
    if isinstance(data, Envelope):
        return data
    try:
        return None if data is None else Envelope.from_wire(data)
    except EnvelopeError:
        return None
