"""Tasks that only the broker may take: who offers one asks again, or does without.

Shared by the event loop and the publishing thread of ``listener/enqueue.py``. None is ever on the
disk, or waits for a broker that is away.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from listener.publisher import Confirmed, NotConfirmedError
from listener.task_message import TaskMessage

__all__ = ["Offers"]

LIMIT = 2000


class Offers:
    """What is offered at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offered: list[tuple[TaskMessage, asyncio.Future[bool]]] = []
        self._is_closed = False

    def __len__(self) -> int:
        """Return how many wait for the publishing thread."""
        return len(self._offered)

    def add(self, task: TaskMessage) -> asyncio.Future[bool]:
        """Offer a task; the future says whether the broker has it. Cancel it to take it back."""
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._is_closed or len(self._offered) >= LIMIT:
                taken.set_result(False)
            else:
                self._offered.append((task, taken))
        return taken

    # In the publishing thread.

    def publish(self, publish: Callable[[list[TaskMessage], Confirmed], None]) -> None:
        """Hand all to ``publish``, which calls back for each that the broker has.

        Raises:
            Exception: What ``publish`` raises, save that the broker refused some: its queue of
                messages may do better.
        """
        offered, confirmed = self._take(), set[str]()
        wanted = [task for task, taken in offered if not taken.done()]
        try:
            if wanted:
                with suppress(NotConfirmedError):
                    publish(wanted, lambda tasks: confirmed.update(t.task_id for t in tasks))
        finally:
            for task, taken in offered:
                _settle(taken, is_taken=task.task_id in confirmed)

    def refuse(self) -> None:
        """Tell all that the broker is away."""
        for _, taken in self._take():
            _settle(taken, is_taken=False)

    def close(self) -> None:
        """Refuse all from now on."""
        self._is_closed = True
        self.refuse()

    def _take(self) -> list[tuple[TaskMessage, asyncio.Future[bool]]]:
        with self._lock:
            offered, self._offered = self._offered, []
        return offered


def _settle(taken: asyncio.Future[bool], *, is_taken: bool) -> None:
    def settle() -> None:
        if not taken.done():
            taken.set_result(is_taken)

    with suppress(RuntimeError):  # the loop has ended, when stopping took longer than its limit
        taken.get_loop().call_soon_threadsafe(settle)
