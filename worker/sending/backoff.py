"""How long to wait before a reply is tried again."""

import random

__all__ = ["delay_s"]

_FIRST_S = 1.0
_LONGEST_S = 60.0


def delay_s(attempts: int, *, spread: float | None = None) -> float:
    """Return 1, 2, 4 … 60 s for attempt 0, 1, 2 …, each with up to half of it on top.

    The jitter keeps replies that failed together from coming back together.

    Args:
        attempts: Attempts that failed before this one.
        spread: 0 to 1, for tests; random otherwise.
    """
    jitter = random.random() if spread is None else spread  # noqa: S311, no secret
    whole = min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempts, 10))
    return float(whole * (1 + jitter / 2))
