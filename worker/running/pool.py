"""The two pools, made to stop in time.

Celery's own wait for running tasks as long as they last, and its threads pool cannot do otherwise:
an agent that takes five minutes would keep a dyno until it is killed. Here stopping has a limit;
what still runs then is handed back (``worker/running/process.py`` releases the leases) and answered
by another worker.
"""

import _thread
import logging
import mmap
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from billiard.process import current_process
from celery.concurrency.base import BasePool, apply_target
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.signals import worker_shutting_down

__all__ = ["ProcessPool", "ThreadPool", "hand_back_when_ended"]

logger = logging.getLogger(__name__)

# For tasks whose agent could be cancelled to end properly.
_LAST_MOMENT_S = 1.0
# Between the first and the last process of a group to get a signal.
_SIGNALS_ARRIVE_S = 0.2


class ThreadPool(BasePool):
    """Threads that die with the process.

    ``concurrent.futures`` joins its threads when the interpreter ends, so one agent that never
    returns would keep the process for ever; daemon threads do not.
    """

    body_can_be_buffer = True
    signal_safe = False
    #: Set by ``worker/running/process.py``: how long stopping waits, and what it does then.
    grace_s = 0.0
    hand_back: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = (
            queue.SimpleQueue()
        )
        self._threads = 0
        self._running = 0
        self._changed = threading.Condition()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> None:
        """Run a task in a thread; Celery sends no more of them at once than ``limit``."""
        with self._changed:
            self._running += 1
            if self._running > self._threads and self._threads < self.limit:
                self._threads += 1
                # Not by ``Thread.start``, which waits until the thread has begun: among hundreds
                # that want to run, that keeps the event loop from taking messages.
                _thread.start_new_thread(self._work, (f"task-{self._threads}",))
        self._jobs.put((apply_target, (target, args, kwargs, callback, accept_callback)))

    def _work(self, name: str) -> None:
        threading.current_thread().name = name
        while True:
            run, arguments = self._jobs.get()
            try:
                run(*arguments)
            except Exception:
                logger.exception("a task's bookkeeping failed")
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    def on_stop(self) -> None:
        """Wait for running tasks, up to ``grace_s``; then hand back what is unfinished."""
        if self.wait_idle(self.grace_s):
            return
        logger.warning(
            "stopping with %s messages unfinished; they go back",
            self._running,
            extra={"action": "drained", "unfinished": self._running},
        )
        self.hand_back()
        self.wait_idle(_LAST_MOMENT_S)

    def on_terminate(self) -> None:
        """Wait for nothing: threads cannot be killed, and die with the process."""

    def wait_idle(self, limit_s: float) -> bool:
        """Wait until nothing runs; False when ``limit_s`` was over first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout=limit_s)

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]
        return info | {"threads": self._threads, "running": self._running}


# One byte that a main process shares with the children it forks.
_stopping = mmap.mmap(-1, 1)
_IN_GRACE, _OVERDUE = b"\1", b"\2"


@worker_shutting_down.connect
def _note_stop(**_: Any) -> None:
    _stopping[:] = _IN_GRACE


class ProcessPool(PreforkPool):
    """Celery's prefork pool, whose children are ended after ``grace_s``."""

    grace_s = 0.0

    def on_stop(self) -> None:
        """Wait for running tasks, up to ``grace_s``, then end the children."""
        overdue = threading.Timer(self.grace_s, self._end_children)
        overdue.daemon = True
        overdue.start()
        try:
            super().on_stop()
        finally:
            overdue.cancel()

    def _end_children(self) -> None:
        logger.warning(
            "ending pool processes that are still at work; their messages go back",
            extra={"action": "drained"},
        )
        _stopping[:] = _OVERDUE
        for process in list(self._pool._pool):  # type: ignore[attr-defined]
            process.terminate()


def hand_back_when_ended(hand_back: Callable[[], object]) -> None:
    """In a pool child: have SIGTERM call ``hand_back`` before the process dies.

    Platforms send SIGTERM to the whole process group. A child that gets it while its main process
    stops too goes on working: the main process ends it when the grace is over.

    Called by the child's first task, because billiard sets its own handler after everything that
    runs at a child's start. That one raises ``SystemExit`` in the agent, which would look like the
    agent's own doing.
    """
    if current_process().name == "MainProcess":
        return

    def end() -> None:
        time.sleep(_SIGNALS_ARRIVE_S)
        if _stopping[:] == _IN_GRACE:
            return
        hand_back()
        os.kill(os.getpid(), signal.SIGKILL)

    def on_sigterm(_signal: int, _frame: Any) -> None:
        # In a thread of its own: this one belongs to the agent, and may hold a lock we need.
        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGTERM, on_sigterm)
