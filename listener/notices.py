"""Has workers tell people who are denied how to ask for access; used by ``intake.py``.

A courtesy: it never waits for a broker that is away, and a person is told once an hour.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from contract.envelope import Envelope
from contract.report import Denied
from contract.sealing import Sealer
from contract.written import written_in
from listener.admission import Denial
from listener.task_message import TaskMessage, denied_task

__all__ = ["Notices"]

EVERY_S = 3600.0
LIMIT = 10_000

# Whom to tell and by what; of what was written, nothing.
_NEEDED = (
    *("bot", "client_id", "message_id", "conversation_id", "conversation", "sender_staff_id"),
    *("session_webhook", "webhook_expires_at", "deadline", "received_at", "clock_offset_s"),
)


class Notices:
    """Remembers who was told; used in one event loop."""

    def __init__(
        self,
        offer: Callable[[TaskMessage], "asyncio.Future[bool]"],
        *,
        monotonic: Callable[[], float],
        sealer: Sealer,
        limit: int = LIMIT,
    ) -> None:
        """Prepare.

        Args:
            offer: Publishes a task, if the broker takes it now.
            monotonic: Seconds.
            sealer: For the webhook.
            limit: How many people are remembered.
        """
        self._offer, self._monotonic, self._sealer = offer, monotonic, sealer
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._limit = limit

    def tell(self, envelope: Envelope, denial: Denial) -> None:
        """Have somebody told, unless that was done within the hour; returns at once."""
        if not envelope.sender_staff_id or envelope.session_webhook is None:
            return
        self._forget_old()
        person = (envelope.bot, envelope.sender_staff_id)
        if person in self._told:
            return
        self._told[person] = self._monotonic()
        needed = Envelope(**{name: getattr(envelope, name) for name in _NEEDED})
        sealed = self._sealer.seal(needed.to_wire())
        denied = Denied(reason=denial.value, envelope=sealed, written_in=written_in(envelope) or "")
        taken = self._offer(denied_task(denied))

        def note(taken: "asyncio.Future[bool]") -> None:
            if taken.cancelled() or not taken.result():
                self._told.pop(person, None)

        taken.add_done_callback(note)

    def _forget_old(self) -> None:
        oldest = self._monotonic() - EVERY_S
        while self._told:
            person, since = next(iter(self._told.items()))
            if since > oldest and len(self._told) < self._limit:
                return
            del self._told[person]
