"""Ends what has the main thread of a process, by a signal: a plain agent in a prefork child.

Used by ``worker/agents/runner.py``.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from worker.agents.cancelling import Cancellation

__all__ = ["InterruptedByUsError", "interrupted_after"]

_INTERRUPT_AGAIN_S = 1.0
_SHORTEST_S = 0.001  # a timer of nothing would never go off


class InterruptedByUsError(BaseException):
    """Raised in an agent's own frame by the timer; a BaseException, so agents let it pass."""


def interrupted_after(limit_s: float, call: Callable[[], Any], cancellation: Cancellation) -> Any:
    """Return what ``call`` returns, or raise in it when ``limit_s`` is over or it is cancelled.

    Only in the main thread. The signal may come at any moment, the ones at which ``call`` has just
    ended included; it must never strike outside of this function.
    """
    is_armed = True
    lock = threading.Lock()  # of the timer, which any thread may set

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if is_armed:
            raise InterruptedByUsError

    def interrupt_now() -> None:
        with lock:
            if is_armed:
                signal.setitimer(signal.ITIMER_REAL, _SHORTEST_S, _INTERRUPT_AGAIN_S)

    before = signal.signal(signal.SIGALRM, interrupt)
    forget = cancellation.on_cancel(lambda: None)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(limit_s, _SHORTEST_S), _INTERRUPT_AGAIN_S)
            forget = cancellation.on_cancel(interrupt_now)
            return call()
        finally:
            is_armed = False
    finally:
        forget()
        # Reached within the second before the signal comes again.
        with lock:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
