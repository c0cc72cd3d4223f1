"""Events for Flower, from tasks that run in the process that takes messages.

They go along with those that Celery sends of the same tasks: in their order, many at once. In a
pool's child there is no such dispatcher, nor at the end of a worker, when its connection is closed
and tasks get their grace; ``worker/tasks.py`` then sends by a connection of the publishers.
"""

import os
from collections.abc import Callable
from typing import Any

__all__ = ["begin", "send"]

_pid = 0
_dispatcher: Callable[[], Any] | None = None


def begin(dispatcher: Callable[[], Any]) -> None:
    """Send by what ``dispatcher`` returns, in this process, from now on."""
    global _pid, _dispatcher
    _pid, _dispatcher = os.getpid(), dispatcher


def send(kind: str, *, uuid: str, **fields: Any) -> bool:
    """Have one sent in a moment; from any thread.

    Args:
        kind: Such as ``task-flagged``.
        uuid: Task id.
        fields: What it tells.

    Returns:
        Whether it will be; False where nothing sends for this process.
    """
    dispatcher = _dispatcher() if _dispatcher is not None and _pid == os.getpid() else None
    if dispatcher is None or not dispatcher.enabled:
        return False
    dispatcher.send(kind, uuid=uuid, **fields)
    return True
