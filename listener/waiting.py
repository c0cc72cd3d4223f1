"""Messages in memory, in order, until the broker or the disk has them.

Shared by the event loop and the two threads of ``listener/enqueue.py``. A message stays in its
place, also while it is being published or written, until one of the two has it: whatever fails,
the order is kept.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from listener.task_message import TaskMessage

__all__ = ["EnqueueError", "Kept", "Pending", "Told", "TooManyWaitingError", "Waiting"]


class Kept(StrEnum):
    """Where a message is, safe from our end."""

    BROKER = "broker"
    SPOOL = "spool"


class EnqueueError(Exception):
    """The message is neither on the broker nor on the disk, as far as we know."""


class TooManyWaitingError(EnqueueError):
    """Neither the broker nor the disk takes messages, and as many wait as may."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return f"{self.count} messages wait for the broker and the disk, as many as may"


Told = Callable[[Kept | EnqueueError], None]
"""Called in the event loop, once, with where a message got to, or why nowhere; raises nothing."""


@dataclass(eq=False, slots=True)
class Pending:
    """One message, and who is to be told where it got to."""

    task: TaskMessage
    size: int
    since: float
    told: tuple[Told, ...]

    def tell(self, kept: Kept | EnqueueError) -> None:
        """Tell all of them."""
        for told in self.told:
            told(kept)


class Waiting:
    """The messages; hold ``lock`` for everything."""

    def __init__(self, *, limit: int, limit_bytes: int) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._pending: OrderedDict[str, Pending] = OrderedDict()
        self.lock = threading.Lock()
        self.size = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, task: TaskMessage, told: Told) -> None:
        """Add a message at the end; one that is here keeps its place.

        Raises:
            TooManyWaitingError: There is no room.
        """
        if (here := self._pending.get(task.task_id)) is not None:
            here.told += (told,)
            return
        if len(self) >= self._limit or self.size >= self._limit_bytes:
            raise TooManyWaitingError(len(self))
        pending = Pending(task, task.size, time.monotonic(), (told,))
        self._pending[task.task_id] = pending
        self.size += pending.size

    def first(self, count: int) -> list[TaskMessage]:
        """Return the first messages; they stay."""
        return [pending.task for pending in islice(self._pending.values(), count)]

    def take(self, tasks: Iterable[TaskMessage]) -> list[Pending]:
        """Take messages out; those that somebody else took out before are left out."""
        found = [self._pending.pop(task.task_id, None) for task in tasks]
        taken = [pending for pending in found if pending is not None]
        self.size -= sum(pending.size for pending in taken)
        return taken

    def oldest_s(self) -> float:
        """Return how long the first message has waited; 0 without one."""
        if not self._pending:
            return 0.0
        return time.monotonic() - next(iter(self._pending.values())).since
