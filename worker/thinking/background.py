"""Calls that nobody waits for: reactions, notices, a card's next text.

One thread keeps the times, a few make the calls. What is given to it is done once it is due, at
best; too much of it is left out, and none of it keeps a process from ending.
"""

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Background", "Job"]

logger = logging.getLogger(__name__)

_THREADS = 8
_MOST_WAITING = 500


@dataclass
class Job:
    """One call; ``is_last`` when it is to be made even by a process that ends."""

    call: Callable[[], object]
    is_last: bool = False
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Leave it out, unless it has begun."""
        self.is_cancelled = True


class Background:
    """Made once a process, after a fork; its threads start with the first :meth:`start`."""

    def __init__(self, *, threads: int = _THREADS, most_waiting: int = _MOST_WAITING) -> None:
        self._limit, self._most_waiting = threads, most_waiting
        # Both may be put to from anywhere, a signal's handler included, without a lock of ours.
        self._asked: queue.SimpleQueue[tuple[float, Job]] = queue.SimpleQueue()
        self._due: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._is_ending = False
        self._is_started = False
        self._lock = threading.Lock()
        self._idle = threading.Condition()
        self._open = 0  # due or being done

    def start(self) -> None:
        """Start the threads, once."""
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        for number in range(self._limit):
            threading.Thread(target=self._work, name=f"thinking-{number}", daemon=True).start()
        threading.Thread(target=self._keep_time, name="thinking", daemon=True).start()

    def do(self, call: Callable[[], object], *, in_s: float = 0.0, is_last: bool = False) -> Job:
        """Have something called in ``in_s`` seconds; never blocks, and may be left out.

        Args:
            call: Handles its own errors.
            in_s: When.
            is_last: Whether it is worth doing at once when the process ends.
        """
        job = Job(call, is_last)
        self._asked.put((time.monotonic() + in_s, job))
        return job

    def end(self, limit_s: float) -> bool:
        """Do the last jobs now, and no others; return whether all were done within ``limit_s``."""
        if not self._is_started:
            return True
        end_at = time.monotonic() + limit_s
        told = threading.Event()
        self._is_ending = True
        self._asked.put((0.0, Job(told.set, is_last=True)))
        with self._idle:
            while not (told.is_set() and self._open == 0):
                left_s = end_at - time.monotonic()
                if left_s <= 0:
                    return False
                self._idle.wait(min(left_s, 0.1))
        return True

    def _keep_time(self) -> None:
        numbers = itertools.count()
        waiting: list[tuple[float, int, Job]] = []
        while True:
            limit_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            try:
                at, job = self._asked.get(timeout=limit_s)
                heapq.heappush(waiting, (at, next(numbers), job))
            except queue.Empty:
                pass
            now = float("inf") if self._is_ending else time.monotonic()
            while waiting and waiting[0][0] <= now:
                self._pass_on(heapq.heappop(waiting)[2])

    def _pass_on(self, job: Job) -> None:
        is_too_much = self._is_ending or self._due.qsize() >= self._most_waiting
        if job.is_cancelled or (is_too_much and not job.is_last):
            return
        with self._idle:
            self._open += 1
        self._due.put(job)

    def _work(self) -> None:
        while True:
            job = self._due.get()
            try:
                if not job.is_cancelled:
                    job.call()
            except Exception as error:  # noqa: BLE001, one call must not end the others
                # Its text may quote what somebody wrote.
                logger.error("a call in the background failed: %s", type(error).__name__)  # noqa: TRY400
            finally:
                with self._idle:
                    self._open -= 1
                    self._idle.notify_all()
