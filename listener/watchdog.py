"""Did this process stand still, or the clock jump? One pulse, run by ``listener/service.py``.

Silence on one connection is watched by ``listener/link.py``; this is about all of them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

__all__ = ["BEAT_S", "Pulse"]

logger = logging.getLogger(__name__)

BEAT_S = 0.5
LAG_S = 1.0
JUMP_S = 10.0
LAGS = 120  # a minute of beats


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
        self._lags: deque[float] = deque(maxlen=LAGS)
        # For other threads, which see by it that this loop hangs.
        self.beat_at, self.longest_lag_s = monotonic(), 0.0

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            wall, monotonic = self._clock(), self._monotonic()
            self.beat_at = monotonic
            await self._sleep(BEAT_S)
            lag_s = self._monotonic() - monotonic - BEAT_S
            self._remember(lag_s)
            self._judge(lag_s, (self._clock() - wall).total_seconds() - BEAT_S - lag_s)

    def _remember(self, lag_s: float) -> None:
        self._lags.append(lag_s)
        self.longest_lag_s = max(0.0, *self._lags)

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
