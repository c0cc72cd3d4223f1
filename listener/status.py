"""The listener reports itself to the workers, who tell the operator; run by ``service.py``.

Every 15 s, and soon after connections came or went, the broker's as well. A report is of use for a
moment only: it is never written to the disk, waits for no one, and is dropped while the broker is
away.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from listener.task_message import TaskMessage, status_task
from listener.vitals import Vitals

__all__ = ["Reporter"]

logger = logging.getLogger(__name__)

EVERY_S = 15.0
# Also the least between two, however connections come and go.
LOOK_EVERY_S = 1.0


class Reporter:
    """Reports; :meth:`run` it in a task."""

    def __init__(
        self,
        vitals: Vitals,
        tell: Callable[[TaskMessage], None],
        *,
        every_s: float = EVERY_S,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare.

        Args:
            vitals: What to report.
            tell: Publishes, or drops, at once.
            every_s: Between two, give or take a tenth, so that listeners started together part.
            jitter: Returns a number from 0 to 1.
            monotonic: Seconds.
            sleep: As ``asyncio.sleep``.
        """
        self._vitals, self._tell = vitals, tell
        self._every_s, self._jitter = every_s, jitter
        self._monotonic, self._sleep = monotonic, sleep

    async def run(self) -> None:
        """Report until cancelled."""
        reported, due_at = None, self._monotonic()
        while True:
            now, seen = self._monotonic(), self._connections()
            if now >= due_at or seen != reported:
                reported, due_at = seen, now + self._every_s * (0.9 + 0.2 * self._jitter())
                self._report()
            await self._sleep(LOOK_EVERY_S)

    def _connections(self) -> tuple[int, int, bool]:
        # Of a connection that went and came within a look, the second number tells.
        vitals = self._vitals
        reconnects = sum(vitals.tally.reconnects.values())
        return vitals.connections_up, reconnects, vitals.enqueuer.is_broker_up

    def _report(self, *, stopped: bool = False) -> None:
        try:
            self._tell(status_task(self._vitals.status(stopped=stopped)))
        except Exception as error:  # noqa: BLE001, a report must not end the listener
            logger.error(  # noqa: TRY400, by its kind alone
                "cannot report the status",
                extra={"action": "status_failed", "reason": type(error).__name__},
            )

    def last(self) -> None:
        """Report that the listener stops."""
        self._report(stopped=True)
