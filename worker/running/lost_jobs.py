"""Gives back what a killed pool process took with it without a word.

Celery's prefork pool feeds its processes through one pipe when the broker has no event loop, as the
embedded one has none. A process that is killed between reading a job and saying so leaves nobody
who knows of it: the message would stay with this worker until it ends.
"""

import logging
import threading
import time
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from celery import bootsteps
from celery.worker import state

from worker.running.pool import ProcessPool

__all__ = ["LostJobs", "LostJobsStep"]

logger = logging.getLogger(__name__)

_EVERY_S = 0.5


class LostJobs:
    """Looks at the jobs that no process has begun although one is free."""

    def __init__(self, pool: Any, *, after_s: float) -> None:
        """Prepare; a job is lost when it lay around for ``after_s`` beside a free process."""
        self._pool = pool
        self._after_s = after_s
        self._since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lost-jobs", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            active = set(state.active_requests)
            if len(active) >= self._pool.num_processes:
                self._since.clear()
                continue
            for request in set(state.reserved_requests) - active:
                since = self._since.setdefault(request, time.monotonic())
                if time.monotonic() - since >= self._after_s:
                    self._give_back(request)

    def _give_back(self, request: Any) -> None:
        logger.warning(
            "a pool process took a message with it, it goes back",
            extra={"action": "message_requeued", "task_id": request.id},
        )
        with suppress(AttributeError):  # its result may be gone
            request._apply_result().discard()
        request.reject(requeue=True)
        state.task_ready(request)


class LostJobsStep(bootsteps.StartStopStep):
    """Runs beside a prefork pool without an event loop; with one, Celery's own looks after them."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, w: Any) -> bool:
        """Whether there is anything to look after."""
        return not w.use_eventloop and issubclass(w.pool_cls, ProcessPool)

    def create(self, w: Any) -> LostJobs:  # type: ignore[override]
        """Build it."""
        return LostJobs(w.pool, after_s=w.settings.lease_s)
