"""Where messages go while the broker is away: a file of this process, and those it adopted.

Used by the two threads of ``listener/enqueue.py``. Each process has a folder of its own in
``DATA_DIR/spool``, with a lock that its death frees; whoever finds a lock free adopts what the
dead one left behind::

    spool/<name>/lock        held as long as the process lives
    spool/<name>/spool.db    listener/spool_file.py
"""

import fcntl
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from listener.spool_file import Batch, Overflow, SpoolError, SpoolFile
from listener.task_message import TaskMessage

__all__ = ["Batch", "Overflow", "Spool", "SpoolError"]

logger = logging.getLogger(__name__)

LOCK, DATABASE = "lock", "spool.db"


class _Place:
    """A folder that this process has the lock of, and the file in it."""

    def __init__(self, folder: Path, lock: int, max_bytes: int) -> None:
        self.folder, self._lock = folder, lock
        self.file = SpoolFile(folder / DATABASE, max_bytes=max_bytes)

    def close(self) -> None:
        """Leave it to others; nothing is left of it when it is empty."""
        self.file.close()
        if not self.file.backlog:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


class Spool:
    """All that this process has on the disk; for several threads."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Prepare; nothing is opened yet.

        Args:
            folder: Where all processes of this ``DATA_DIR`` have theirs.
            max_bytes: Of one file.
        """
        self._folder, self.max_bytes = folder, max_bytes
        self._own: _Place | None = None
        self._adopted: list[_Place] = []
        self._left_alone = set[Path]()
        self._changing = threading.Lock()
        self.dropped = 0  # messages that did not fit, in the life of this process

    @property
    def backlog(self) -> int:
        """How many messages and reports are to be published; never waits."""
        return sum(place.file.backlog for place in self._places())

    @property
    def size(self) -> int:
        """How many bytes those take."""
        return sum(place.file.size for place in self._places())

    @property
    def filled(self) -> float:
        """How much of ``max_bytes`` our own file takes, from 0 to 1."""
        own = self._own
        return own.file.size / self.max_bytes if own else 0.0

    def _places(self) -> list[_Place]:
        """In the order they are emptied: what others left behind is older."""
        own = self._own
        return [*self._adopted, own] if own else list(self._adopted)

    def open(self) -> None:
        """Adopt what is left behind and make a place for our own.

        Raises:
            SpoolError: There is no place on this disk; :meth:`append` tries again.
        """
        self.adopt()
        with self._changing:
            self._own = self._own or self._create()

    def _create(self) -> _Place:
        name = uuid.uuid4().hex[:12]
        # Complete before others see it, who would take it for one whose process is gone.
        draft, folder = self._folder / f".{name}", self._folder / name
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.mkdir(mode=0o700)
            lock = os.open(draft / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft.rename(folder)
            place = _Place(folder, lock, self.max_bytes)
            for part in (folder, self._folder, self._folder.parent):
                _sync(part)
        except (OSError, SpoolError) as error:
            for left in (draft, folder):
                shutil.rmtree(left, ignore_errors=True)
            raise SpoolError(f"the spool cannot be created: {error}") from None
        return place

    def adopt(self) -> int:
        """Take over what processes that are gone left behind; return how many messages."""
        known = {place.folder for place in self._places()} | self._left_alone
        with suppress(OSError):  # no folder, so nothing in it
            return sum(
                self._adopt(folder)
                for folder in sorted(self._folder.iterdir())
                if folder not in known and not folder.name.startswith(".")
            )
        return 0

    def _adopt(self, folder: Path) -> int:
        lock = _try_lock(folder / LOCK)
        if lock is None:
            return 0
        try:
            place = _Place(folder, lock, self.max_bytes)
        except SpoolError as error:
            self._left_alone.add(folder)
            os.close(lock)
            logger.error(  # noqa: TRY400, its text says it all
                "a spool that was left behind cannot be read",
                extra={"action": "spool_failed", "folder": str(folder), "reason": str(error)},
            )
            return 0
        found = place.file.backlog
        if not found:
            place.close()
            return 0
        logger.warning(
            "messages that another listener spooled are taken over",
            extra={"action": "spool_adopted", "folder": str(folder), "messages": found},
        )
        with self._changing:
            self._adopted.append(place)
        return found

    def append(self, tasks: Sequence[TaskMessage]) -> Overflow:
        """Return when all are on the disk, in their order and behind what is there.

        Raises:
            SpoolError: None of them is.
        """
        with self._changing:
            own = self._own = self._own or self._create()
        overflow = own.file.append(tasks)
        self.dropped += overflow.dropped
        return overflow

    def head(self, limit: int) -> Batch | None:
        """Return what is to be published next.

        Raises:
            SpoolError: A file cannot be read; it is left alone from now on.
        """
        for place in self._places():
            if place.file.backlog:
                try:
                    return place.file.head(limit)
                except SpoolError:
                    self._set_aside(place)
                    raise
        return None

    def _set_aside(self, place: _Place) -> None:
        """Its folder and its lock stay: others could not read it either."""
        with self._changing:
            if place is self._own:
                self._own = None
            else:
                self._adopted.remove(place)
            self._left_alone.add(place.folder)

    def remove(self, batch: Batch, confirmed: Collection[str]) -> None:
        """Forget what the broker confirmed, by task id.

        Raises:
            SpoolError: It is forgotten by this process, and will be published again by the next.
        """
        batch.file.remove(batch, confirmed)
        for place in list(self._adopted):
            if not place.file.backlog:
                with self._changing:
                    self._adopted.remove(place)
                place.close()

    def forget(self, task_ids: Collection[str]) -> None:
        """Forget messages of our own that reached the broker by another way.

        Raises:
            SpoolError: As :meth:`remove`.
        """
        if self._own is not None:
            self._own.file.forget(task_ids)

    def close(self) -> None:
        """Leave what is on the disk to the next process."""
        with self._changing:
            places, self._own, self._adopted = self._places(), None, []
        for place in places:
            place.close()


def _try_lock(path: Path) -> int | None:
    """Return the lock when nobody has it; its file may be gone before or after we look."""
    try:
        lock = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == path.stat().st_ino:
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _sync(folder: Path) -> None:
    """Have the names in a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
