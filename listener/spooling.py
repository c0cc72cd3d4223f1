"""The thread that moves messages from memory to the disk; part of ``listener/enqueue.py``.

Many at a time, so that one wait for the disk serves them all. When: at once while the broker is
known to be away, and when a message has waited too long or too many do.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from listener.backoff import Backoff
from listener.spool import Overflow, Spool, SpoolError
from listener.task_message import TaskMessage
from listener.waiting import Pending, Waiting

__all__ = ["Spooling", "spool_errors_said"]

logger = logging.getLogger(__name__)

PATIENCE_S = 1.0  # a hiccup of the broker's does not spool
STOPPING_PATIENCE_S = 0.2
IN_MEMORY, IN_MEMORY_BYTES = 1000, 16 * 2**20
COMMIT = 2000
LOOK_EVERY_S = 0.25
ADOPT_EVERY_S = 10.0
SAY_FULL_EVERY_S = 5.0


class Spooling:
    """Decides and does; ``is_away`` is told by the publishing thread."""

    def __init__(
        self,
        waiting: Waiting,
        spool: Spool,
        *,
        clock: Callable[[], datetime],
        spooled: Callable[[list[Pending]], None],
        changed: threading.Condition,
        batch: int,
    ) -> None:
        """Prepare.

        Args:
            waiting: Where messages come from.
            spool: Where they go; opened and closed by :meth:`run`.
            clock: Aware UTC.
            spooled: Called with those that are on the disk.
            changed: Notified when there may be something to publish.
            batch: So many on the disk are published before long, and not worth joining.
        """
        self._waiting, self._spool, self._batch = waiting, spool, batch
        self._clock, self._spooled, self._changed = clock, spooled, changed
        self._wanted = threading.Condition(waiting.lock)
        self._working_since: float | None = None
        self._backoff = Backoff(first_s=0.5, cap_s=10)
        self._try_again_at = 0.0
        self._adopt_at = 0.0
        self._unsaid, self._say_at = Overflow(), 0.0
        self.opened = threading.Event()
        self.is_away = self.is_writing = self.is_stopping = self.is_given_up = False

    @property
    def is_failing(self) -> bool:
        """Whether the disk did not take the last that should have gone there."""
        return self._backoff.attempts > 0

    @property
    def works_s(self) -> float:
        """How long the broker has been at what it was asked last; 0 when it is done."""
        since = self._working_since
        return 0.0 if since is None else time.monotonic() - since

    def nudge(self) -> None:
        """Look whether there is something to do; hold the lock."""
        if self._is_due() or self.is_given_up:
            self._wanted.notify()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Say how long the broker takes for what it is asked."""
        self._working_since = time.monotonic()
        try:
            yield
        finally:
            self._working_since = None

    def _is_due(self) -> bool:
        waiting = self._waiting
        if not len(waiting) or time.monotonic() < self._try_again_at:
            return False
        return (
            self.is_away
            or self._spool.backlog > self._batch
            or len(waiting) > IN_MEMORY
            or waiting.size > IN_MEMORY_BYTES
            or self._is_broker_slow()
        )

    def _is_broker_slow(self) -> bool:
        patience_s = STOPPING_PATIENCE_S if self.is_stopping else PATIENCE_S
        return max(self.works_s, self._waiting.oldest_s()) > patience_s

    # In the thread.

    def run(self) -> None:
        """Spool until given up, then close."""
        try:
            self._spool.open()
        except SpoolError as error:
            self._say_failed(error)
        self.opened.set()
        while not self.is_given_up:
            with self._waiting.lock:
                self._wanted.wait_for(
                    lambda: self._is_due() or self.is_given_up, timeout=LOOK_EVERY_S
                )
                self.is_writing = self._is_due()
            if self.is_writing:
                self._write()
            self._say_overflow()
            self._adopt_now_and_then()
        self._write_the_rest()
        self._say_at = 0.0
        self._say_overflow()
        self._spool.close()

    def _write(self) -> bool:
        """Move what waits to the disk; False when it takes nothing."""
        with self._waiting.lock:
            tasks = self._waiting.first(COMMIT)
        _stamp(tasks, self._clock())
        try:
            overflow = self._spool.append(tasks)
        except Exception as error:  # noqa: BLE001, this thread must not end by one message
            _stamp(tasks, None)
            self._say_failed(error)
        else:
            self._backoff.reset()
            self._unsaid += overflow
            self._settle(tasks)
        with self._changed:
            self.is_writing = False
            self._changed.notify()
        return not self.is_failing

    def _settle(self, tasks: list[TaskMessage]) -> None:
        with self._waiting.lock:
            taken = self._waiting.take(tasks)
        self._spooled(taken)
        # The broker confirmed the others while they were being written.
        enqueued = {task.task_id for task in tasks} - {p.task.task_id for p in taken}
        if enqueued:
            with spool_errors_said():
                self._spool.forget(enqueued)

    def _write_the_rest(self) -> None:
        while len(self._waiting) and self._write():
            continue

    def _adopt_now_and_then(self) -> None:
        now = time.monotonic()
        if now < self._adopt_at or self.is_stopping:
            return
        self._adopt_at = now + ADOPT_EVERY_S
        if self._spool.adopt():
            with self._changed:
                self._changed.notify()

    def _say_failed(self, error: Exception) -> None:
        delay_s = self._backoff.next_s()
        self._try_again_at = time.monotonic() + delay_s
        with self._waiting.lock:
            waiting = len(self._waiting)
        logger.error(
            "messages cannot be written to the disk; those that wait for the broker are not "
            "acknowledged",
            extra={
                "action": "spool_failed",
                # Of another kind it may show what was written.
                "reason": str(error) if isinstance(error, SpoolError) else type(error).__name__,
                "waiting": waiting,
                "delay_s": round(delay_s, 2),
            },
        )

    def _say_overflow(self) -> None:
        now = time.monotonic()
        if not self._unsaid or now < self._say_at:
            return
        self._say_at = now + SAY_FULL_EVERY_S
        logger.error(
            "the spool is full, its oldest messages are dropped and nobody will answer them",
            extra={
                "action": "spool_full",
                "dropped": self._unsaid.dropped,
                "unreported": self._unsaid.unreported,
            },
        )
        self._unsaid = Overflow()


def _stamp(tasks: list[TaskMessage], at: datetime | None) -> None:
    for task in tasks:
        task.stamp("spooled_at", at)


@contextmanager
def spool_errors_said() -> Iterator[None]:
    """Say that the spool cannot be read or changed, and go on."""
    try:
        yield
    except SpoolError as error:
        logger.error(  # noqa: TRY400, its text says it all
            "the spool cannot be used", extra={"action": "spool_failed", "reason": str(error)}
        )
