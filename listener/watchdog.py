"""Did this process stand still, or the clock jump? One pulse, run by ``listener/service.py``.

Silence on one connection is watched by ``listener/link.py``; this is about all of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

__all__ = ["Pulse"]

logger = logging.getLogger(__name__)

BEAT_S = 0.5
LAG_S = 1.0
JUMP_S = 10.0


class Pulse:
    """Sleeps for a moment, again and again, and compares with the clocks how long that took."""

    def __init__(
        self,
        on_jump: Callable[[str], None],
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare.

        Args:
            on_jump: Told the reason when the connections cannot be trusted any more.
            clock: Aware UTC; may be set, and goes on while the machine sleeps.
            monotonic: Seconds; cannot be set, and stands still while the machine sleeps.
            sleep: As ``asyncio.sleep``.
        """
        self._on_jump, self._sleep = on_jump, sleep
        self._clock, self._monotonic = clock, monotonic

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            wall, monotonic = self._clock(), self._monotonic()
            await self._sleep(BEAT_S)
            lag_s = self._monotonic() - monotonic - BEAT_S
            self._judge(lag_s, (self._clock() - wall).total_seconds() - BEAT_S - lag_s)

    def _judge(self, lag_s: float, shift_s: float) -> None:
        """Act on one beat.

        Args:
            lag_s: How much longer it took than it should: the event loop was busy, or the
                process was stopped.
            shift_s: How much further the wall clock went: the machine slept, or it was set.
        """
        if lag_s > LAG_S:
            logger.warning(
                "the event loop was blocked",
                extra={"action": "loop_lag", "lag_s": round(lag_s, 2)},
            )
        # A clock set backwards counts as well: its offset from DingTalk's has to be measured anew.
        jump_s = max(lag_s, shift_s, -shift_s)
        if jump_s > JUMP_S:
            self._on_jump(f"the clock jumped by {jump_s:.0f} s")
