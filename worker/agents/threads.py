"""Threads in which plain agents run, beside those of the pool, which wait for them.

Used by ``worker/agents/runner.py``. An agent has a thread to itself, as it may keep it for ever.
One that has returned leaves it to the next: to start a thread costs more than a short agent does.
"""

import itertools
import queue
import threading
from collections.abc import Callable
from contextvars import Context

__all__ = ["AgentThreads"]

# So long a thread waits for another agent.
_IDLE_S = 10.0

Job = Callable[[], object]


class AgentThreads:
    """Any number of daemon threads; safe to share between threads."""

    def __init__(self, *, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._idle: list[
            queue.SimpleQueue[Job]
        ] = []  # what each of them waits at; last in first out
        self._numbers = itertools.count(1)

    def run(self, job: Job) -> None:
        """Run ``job``, which must not raise, in a thread where nothing else runs meanwhile.

        It finds no context variables that another one has set, as in a new thread.
        """
        with self._lock:
            jobs = self._idle.pop() if self._idle else None
        if jobs is not None:
            jobs.put(job)
            return
        name = f"agent-{next(self._numbers)}"
        threading.Thread(target=self._work, args=(job,), name=name, daemon=True).start()

    def _work(self, job: Job) -> None:
        jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        while True:
            Context().run(job)
            del job  # keeps a message alive
            with self._lock:
                self._idle.append(jobs)
            try:
                job = jobs.get(timeout=self._idle_s)
            except queue.Empty:
                with self._lock:
                    if jobs in self._idle:
                        self._idle.remove(jobs)
                        return
                job = jobs.get()  # is just being put there
