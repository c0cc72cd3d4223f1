"""The embedded broker: kombu's filesystem transport, made safe against a ``kill -9``.

For a laptop and for tests; one machine only. kombu's own forgets a message as it reads it, reads
through the system's temporary folder, and may read a file that is still being written. Here a
message is one file that moves::

    queues/<queue>/<time>_<tag>.msg      waiting; written beside it first, then renamed
    taken/<owner>/<queue>/<…>.msg        read by a process, not acknowledged yet
    taken/<owner>/.wake/<n>.<queue>      a pipe that wakes a process (``contract/embedded_wake.py``)
    control/<exchange>.exchange          which queues an exchange feeds (kombu's)

An owner is a process that holds a lock on ``taken/<owner>/lock``. Whoever finds the lock free
knows that the process is gone and moves its messages back, so nothing that was read is lost.
Queues that are not ours (Flower's events, remote control) belong to one owner and go with it.

A confirmed message survives the death of every process here, at any moment. It is likely, but not
promised, to survive a loss of power: the file is flushed to the disk, its folder is not.
"""

import fcntl
import math
import os
import re
import shutil
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.transport.virtual import BrokerState
from kombu.utils.json import dumps, loads

from contract.embedded_wake import Waiter, wake
from contract.routing import QUEUES

__all__ = ["Channel", "Transport"]

RECOVER_EVERY_S = 2.0
STALE_DRAFT_S = 60.0
OWNER_FILE = ".owner"
QUEUE_NAME = re.compile(r"[\w@-][\w@.-]*")


class _Owner:
    """This process, as others see it in the folder."""

    def __init__(self, root: Path) -> None:
        self.pid = os.getpid()
        self.name = uuid.uuid4().hex
        self.folder = root / "taken" / self.name
        self.folder.mkdir(parents=True)
        # Open for the life of the process, whose death frees the lock; a POSIX lock, because a
        # forked child does not inherit it.
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


_owners: dict[Path, _Owner] = {}
_owning = threading.Lock()  # a process has one, however many threads come for it at once
os.register_at_fork(after_in_child=lambda: globals().update(_owning=threading.Lock()))
_states: dict[str, BrokerState] = {}


def _owner(root: Path) -> _Owner:
    with _owning:
        owner = _owners.get(root)
        if owner is None or owner.pid != os.getpid() or not owner.folder.exists():
            owner = _owners[root] = _Owner(root)
        return owner


def _is_gone(owner: Path) -> bool:
    try:
        with (owner / "lock").open("r+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        # Between its folder and its lock a starting owner is younger than this.
        try:
            return time.time() - owner.stat().st_mtime > RECOVER_EVERY_S
        except FileNotFoundError:
            return False
    except OSError:
        return False


def _inside(folder: Path, suffix: str = "") -> list[Path]:
    """Return what is in a folder, which other processes may remove at any time."""
    try:
        return [path for path in folder.iterdir() if path.name.endswith(suffix)]
    except (FileNotFoundError, NotADirectoryError):
        return []


class Channel(filesystem.Channel):
    """A channel whose messages are files that move; used by one thread at a time, as kombu's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._root = Path(self.transport_options["folder"])
        for part in ("", "queues", "taken", "control"):
            (self._root / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listed: dict[str, deque[str]] = {}
        self._taken: dict[str, tuple[Path, str]] = {}
        self._unacknowledged: set[str] = set()
        self._recover_at = 0.0
        self._waiter: Waiter = self.connection.waiter  # type: ignore[attr-defined]

    @property
    def control_folder(self) -> Path:
        """Where exchanges are."""
        return self._root / "control"

    def _folder(self, queue: str) -> Path:
        if not QUEUE_NAME.fullmatch(queue):
            raise ChannelError(f"invalid queue name: {queue!r}")
        return self._root / "queues" / queue

    # Queues.

    def _new_queue(self, queue: str, **_: Any) -> None:
        folder = self._folder(queue)
        folder.mkdir(mode=0o700, exist_ok=True)
        if queue not in QUEUES:
            (folder / OWNER_FILE).write_text(_owner(self._root).name)

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return self._folder(queue).is_dir()

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        folder = self._folder(queue)
        if queue in QUEUES:
            folder.mkdir(mode=0o700, exist_ok=True)
        # Fixed width, so that names sort by time.
        name = f"{time.time_ns():020d}_{payload['properties']['delivery_tag']}"
        draft = folder / f"{name}.tmp"
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(dumps(payload))
                if queue in QUEUES:
                    file.flush()
                    os.fsync(file.fileno())
            draft.rename(folder / f"{name}.msg")
            wake(self._root / "taken", queue)
        except FileNotFoundError:
            # The subscriber of an event queue went away with it; its events go nowhere, as on
            # any broker.
            if queue in QUEUES:
                raise

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        self._recover_now_and_then()
        listed = self._listed.setdefault(queue, deque())
        if not listed:
            listed.extend(self._waiting(queue))
        while listed:
            name = listed.popleft()
            taken = _owner(self._root).folder / queue
            taken.mkdir(exist_ok=True)
            try:
                (self._folder(queue) / name).rename(taken / name)
            except FileNotFoundError:
                continue  # another process was quicker
            payload = loads((taken / name).read_text(encoding="utf-8"))
            if queue in self._unacknowledged:
                (taken / name).unlink()
            else:
                self._taken[payload["properties"]["delivery_tag"]] = (taken / name, queue)
            return payload
        raise Empty

    def _waiting(self, queue: str) -> list[str]:
        try:
            return sorted(p.name for p in self._folder(queue).iterdir() if p.suffix == ".msg")
        except FileNotFoundError:
            return []

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _purge(self, queue: str) -> int:
        names = self._waiting(queue)
        for name in names:
            (self._folder(queue) / name).unlink(missing_ok=True)
        return len(names)

    def _delete(self, queue: str, exchange: str, *meta: Any, **options: Any) -> None:
        super()._delete(queue, exchange, *meta, **options)
        shutil.rmtree(self._folder(queue), ignore_errors=True)

    # Acknowledgement: the file in ``taken`` lives as long as the message is in hand.

    def basic_consume(self, queue: str, no_ack: bool, *arguments: Any, **options: Any) -> Any:
        """Consume; messages of a queue that needs no acknowledgement are not kept."""
        if no_ack:
            self._unacknowledged.add(queue)
        self._waiter.listen(queue, _owner(self._root).folder)
        return super().basic_consume(queue, no_ack, *arguments, **options)

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Consume no more."""
        if consumer_tag in self._consumers:
            self._waiter.leave(self._tag_to_queue[consumer_tag])
        return super().basic_cancel(consumer_tag)

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        """Get one message."""
        message = super().basic_get(queue, no_ack, **options)
        if message is not None and no_ack:
            self._forget(str(message.delivery_tag))
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge: the message is finished."""
        super().basic_ack(delivery_tag, multiple)
        self._forget(delivery_tag)
        self._waiter.look_again()  # there is room for another one

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject; requeued, it is first in line again."""
        super().basic_reject(delivery_tag, requeue)
        self._forget(delivery_tag)
        self._waiter.look_again()

    def _forget(self, delivery_tag: str) -> None:
        path, _ = self._taken.pop(delivery_tag, (None, ""))
        if path is not None:
            path.unlink(missing_ok=True)

    def _restore(self, message: Any) -> None:
        path, queue = self._taken.pop(message.delivery_tag, (None, ""))
        if path is not None:
            self._put_back(path, queue)

    def _put_back(self, path: Path, queue: str) -> None:
        """Under its old name, so that it is first in line again."""
        folder = self._folder(queue)
        folder.mkdir(mode=0o700, exist_ok=True)
        path.rename(folder / path.name)
        wake(self._root / "taken", queue)

    # Processes that are gone.

    def _recover_now_and_then(self) -> None:
        now = time.monotonic()
        if now < self._recover_at:
            return
        self._recover_at = now + RECOVER_EVERY_S
        own = _owner(self._root).name
        owners = [p for p in (self._root / "taken").iterdir() if p.name != own]
        for owner in owners:
            if _is_gone(owner):
                self._inherit(owner)
        self._drop_orphaned_queues()
        self._drop_stale_drafts()

    def _drop_stale_drafts(self) -> None:
        """Those of processes that died while they wrote; their messages were not confirmed."""
        oldest = time.time() - STALE_DRAFT_S
        for queue in _inside(self._root / "queues"):
            for draft in _inside(queue, ".tmp"):
                with suppress(FileNotFoundError):
                    if draft.stat().st_mtime < oldest:
                        draft.unlink()

    def _inherit(self, owner: Path) -> None:
        """Several may do this at once: a rename succeeds for one of them."""
        for queue in QUEUES:
            for path in sorted(_inside(owner / queue, ".msg")):
                with suppress(FileNotFoundError):
                    self._put_back(path, queue)
        shutil.rmtree(owner, ignore_errors=True)

    def _drop_orphaned_queues(self) -> None:
        for queue in _inside(self._root / "queues"):
            marker = queue / OWNER_FILE
            try:
                owner = marker.read_text()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if owner and not (self._root / "taken" / owner).exists():
                self._unbind_everywhere(marker.parent.name)
                shutil.rmtree(marker.parent, ignore_errors=True)

    def _unbind_everywhere(self, queue: str) -> None:
        for file in self.control_folder.glob("*.exchange"):
            exchange = file.name.removesuffix(".exchange")
            for binding in self.get_table(exchange):
                if binding.queue == queue:
                    filesystem.Channel._delete(
                        self, queue, exchange, binding.routing_key, binding.pattern
                    )


class Transport(filesystem.Transport):
    """Registered for ``embedded://`` by :mod:`contract.broker`."""

    Channel = Channel
    driver_type = "embedded"
    driver_name = "embedded"
    # No host and no port to warn about when the address names none.
    default_connection_params: ClassVar[dict[str, Any]] = {}
    cycle: Any

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.waiter = Waiter()
        self._longest_wait_s: float | None = client.transport_options.get("longest_wait_s")
        # What this process has declared, folder by folder; Celery asks for a transport without
        # options when it only wants to print the address.
        folder = client.transport_options.get("folder", "")
        self.state = _states.setdefault(folder, BrokerState())

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Wait for a message, no longer than the option ``longest_wait_s``.

        Celery waits 2 s at a time here, twice when it is told to stop, and looks at nothing else
        meanwhile.
        """
        if self._longest_wait_s is not None:
            timeout = min(timeout or self._longest_wait_s, self._longest_wait_s)
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self.waiter.forget()
            with suppress(Empty):
                self.cycle.get(self._deliver, timeout=timeout)
                return
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self.waiter.wait(left_s)

    def close_connection(self, connection: Any) -> None:
        """Close it, and wait for nothing any more."""
        super().close_connection(connection)
        self.waiter.close()
