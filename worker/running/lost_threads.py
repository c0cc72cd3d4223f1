"""Counts the threads that agents keep, and tells when they are too many for this process.

Fed by the runners of ``worker/wiring.py``; ``worker/running/process.py`` sets the limit.
"""

import threading
from collections.abc import Callable

from worker.telling import metrics

__all__ = ["LostThreads"]


class LostThreads:
    """Counts the threads that agents of all bots keep, and tells when they are too many.

    One that comes to its end after all, as most do whose message was stopped, is lost no more.
    """

    def __init__(self) -> None:
        """Count; too many are none, until :meth:`tell_at` says otherwise."""
        self._lock = threading.Lock()
        self._count = self._limit = 0
        self._tell: Callable[[], object] = lambda: None

    def tell_at(self, limit: int, tell: Callable[[], object]) -> None:
        """Have ``tell`` called, once, when ``limit`` of them are lost at a time."""
        self._limit, self._tell = limit, tell

    def add(self) -> None:
        """One was lost."""
        metrics.thread_lost()
        with self._lock:
            self._count += 1
            is_too_many = self._count == self._limit
            if is_too_many:
                self._limit = 0
        if is_too_many:
            self._tell()

    def remove(self) -> None:
        """One has come to its end."""
        with self._lock:
            self._count -= 1
