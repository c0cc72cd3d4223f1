"""How long to wait before the next attempt; for the socket and for the broker."""

import random
from collections.abc import Callable, Sequence

__all__ = ["Backoff"]


class Backoff:
    """Delays that double up to a cap, with jitter, for ever.

    Jitter, so that many listeners do not come back in one wave after an outage they shared.
    """

    def __init__(
        self,
        *,
        first_s: float,
        cap_s: float,
        delays: Sequence[float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Start over.

        Args:
            first_s: Longest first delay.
            cap_s: Longest delay of all.
            delays: Used as they are instead, the last one for ever.
            jitter: Returns a number from 0 to 1.
        """
        self._first_s, self._cap_s = first_s, cap_s
        self._delays, self._jitter = delays, jitter
        self.attempts = 0

    def next_s(self) -> float:
        """Count one failed attempt and return the seconds to wait: half to all of the delay."""
        attempt = self.attempts
        self.attempts += 1
        if self._delays:
            return self._delays[min(attempt, len(self._delays) - 1)]
        # The exponent is bounded, as 2.0 ** 2000 overflows after a long weekend.
        whole = min(self._cap_s, self._first_s * 2.0 ** min(attempt, 32))
        return whole * (0.5 + 0.5 * self._jitter())

    def reset(self) -> None:
        """Start over: the other side proved healthy."""
        self.attempts = 0
