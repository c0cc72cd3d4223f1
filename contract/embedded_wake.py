"""Wakes those that wait for messages of the embedded broker; used by ``contract/embedded.py``.

Whoever consumes a queue has a named pipe for it in the folder of its process, and whoever puts a
message into the queue writes a byte to each of them. A byte that gets lost costs a second, as
everybody looks that often anyway; where the file system knows no pipes, all look often instead.
"""

import itertools
import os
import select
import threading
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["LOOK_EVERY_S", "Waiter", "wake"]

LOOK_EVERY_S = 1.0
WITHOUT_PIPES_S = 0.05
FOLDER = ".wake"  # of an owner; no queue is called so

_numbers = itertools.count(1)


class Waiter:
    """What one connection waits with; for one thread, save :meth:`look_again`."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._again: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._pipes: dict[str, tuple[int, Path]] = {}
        self._has_all = True

    def __del__(self) -> None:
        self.close()  # not all connections are closed

    def listen(self, queue: str, owner: Path) -> None:
        """Be woken by what is put into ``queue``.

        Args:
            queue: Its name.
            owner: Folder of this process.
        """
        if queue in self._pipes:
            return
        path = owner / FOLDER / f"{next(_numbers)}.{queue}"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.mkfifo(path, 0o600)
            # For both ways, so that it is not at its end when the last that wrote has closed it.
            self._pipes[queue] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), path
        except OSError:
            self._has_all = False

    def leave(self, queue: str) -> None:
        """Be woken by it no more."""
        end, path = self._pipes.pop(queue, (-1, None))
        if path is None:
            return
        os.close(end)
        if self._pid == os.getpid():  # else it is the parent's
            path.unlink(missing_ok=True)

    def look_again(self) -> None:
        """Wake it; from any thread."""
        with self._lock:
            if self._again is not None:
                _write(self._again[1])

    def forget(self) -> None:
        """Be woken by what comes from now on only; for one who looks next."""
        for end in self._ends():
            with suppress(BlockingIOError):
                os.read(end, 65536)

    def wait(self, limit_s: float) -> None:
        """Wait until there may be something to see, at most ``limit_s``."""
        if self._has_all:
            select.select(self._ends(), (), (), min(limit_s, LOOK_EVERY_S))
        else:
            time.sleep(min(limit_s, WITHOUT_PIPES_S))

    def close(self) -> None:
        """Leave everything."""
        for queue in list(self._pipes):
            self.leave(queue)
        with self._lock:
            for end in self._again or ():
                os.close(end)
            self._again = None

    def _ends(self) -> list[int]:
        with self._lock:
            if self._again is None:
                self._again = os.pipe()
                for end in self._again:
                    os.set_blocking(end, False)
            return [self._again[0], *(end for end, _ in self._pipes.values())]


def wake(owners: Path, queue: str) -> None:
    """Wake whoever waits for messages of ``queue``.

    Args:
        owners: The folder in which each process has its own.
        queue: Its name.
    """
    for pipe in owners.glob(f"*/{FOLDER}/*"):
        if pipe.name.partition(".")[2] == queue:
            _write_to(pipe)


def _write_to(pipe: Path) -> None:
    with suppress(OSError):  # nobody reads it, or it is gone
        end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        _write(end)
        os.close(end)


def _write(end: int) -> None:
    with suppress(OSError):  # full, which wakes as well
        os.write(end, b"!")
