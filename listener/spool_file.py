"""Messages kept on the disk while the broker is away: one SQLite file.

``listener/spool.py`` has one for this process, and more that it adopted. A commit is on the disk
when it returns (WAL, synchronous). What does not fit any more pushes the oldest out; of each of
those a small record stays until it has been reported.
"""

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from contract.report import LostMessage, Report
from listener.spool_table import SCHEMA, Row, Table
from listener.task_message import TaskMessage, report_task

__all__ = ["Batch", "Overflow", "SpoolError", "SpoolFile"]

VERSION = 1
PAGE_BYTES = 16 * 1024
BATCH_BYTES = 4 * 2**20
REPORTED_AT_ONCE = 100
LOST_SHARE = 8  # one part of so many is for the records of lost messages, at most
SHRINK_FROM_BYTES = 2**20


class SpoolError(Exception):
    """The disk did not take, or give back, what it should."""


@dataclass(frozen=True)
class Overflow:
    """What did not fit.

    ``dropped`` messages will be reported. Only the log tells of the ``unreported``: earlier ones
    whose records had to go, too, and presses of card buttons.
    """

    dropped: int = 0
    unreported: int = 0

    def __add__(self, other: "Overflow") -> "Overflow":
        return Overflow(self.dropped + other.dropped, self.unreported + other.unreported)

    def __bool__(self) -> bool:
        return bool(self.dropped or self.unreported)


@dataclass(frozen=True)
class Batch:
    """What to publish next, and the rows that can go once a task of it is confirmed."""

    file: "SpoolFile"
    tasks: list[TaskMessage]
    rows: dict[str, list[int]] = field(default_factory=dict)
    is_report: bool = False


class SpoolFile:
    """One file; for several threads. All but ``is_empty`` and ``backlog`` may wait for the disk."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Open or create it.

        Raises:
            SpoolError: It cannot be, or a later release wrote it.
        """
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        with _failing_as("cannot be opened"):
            # With its rights from its birth; the companions of the file get the same ones.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise SpoolError(f"the spool is of version {found}, this release knows {VERSION}")
        # Of the usual 4 KiB, one message of 2 KiB would take a page each.
        self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_autocheckpoint=256")
        self._db.executescript(SCHEMA)
        self._db.execute(f"PRAGMA user_version={VERSION}")
        self._messages, self._lost = Table(self._db, "message"), Table(self._db, "lost")

    @property
    def backlog(self) -> int:
        """How many messages and reports are to be published."""
        return self._messages.count + self._lost.count

    @property
    def size(self) -> int:
        """How many bytes of ``max_bytes`` that takes."""
        return self._messages.size + self._lost.size

    def append(self, tasks: Sequence[TaskMessage]) -> Overflow:
        """Return when all are on the disk, behind what is there; one that is there keeps its place.

        Raises:
            SpoolError: None of them is.
        """
        with self._lock, self._transaction():
            for task in tasks:
                self._messages.add(task.task_id, task.to_json())
            overflow = self._drop_oldest()
            return overflow + Overflow(unreported=self._forget_oldest_lost())

    def _drop_oldest(self) -> Overflow:
        dropped = unreported = 0
        # A record takes room as well, hence again.
        while rows := self._messages.oldest_over(self.size - self._max_bytes):
            for row in rows:
                task = TaskMessage.from_json(row.content)
                if not task.is_message:  # a card button, which nobody waits for an answer to
                    unreported += 1
                    continue
                lost = LostMessage.model_validate(task.envelope)
                self._lost.add(task.task_id, lost.model_dump_json())
                dropped += 1
            self._messages.let_go(row.seq for row in rows)
        self._messages.sweep()
        return Overflow(dropped, unreported)

    def _forget_oldest_lost(self) -> int:
        rows = self._lost.oldest_over(self._lost.size - self._max_bytes // LOST_SHARE)
        self._lost.let_go(row.seq for row in rows)
        self._lost.sweep()
        return len(rows)

    def head(self, limit: int) -> Batch | None:
        """Return what is to be published next: a report first, then messages in their order.

        Raises:
            SpoolError: It cannot be read.
        """
        with self._lock, _failing_as("cannot be read"):
            if self._lost.count:
                return self._report(self._lost.oldest(REPORTED_AT_ONCE))
            rows = self._messages.oldest(limit, max_bytes=BATCH_BYTES)
            tasks = [TaskMessage.from_json(row.content) for row in rows]
            seqs = {task.task_id: [row.seq] for task, row in zip(tasks, rows, strict=True)}
            return Batch(self, tasks, seqs) if tasks else None

    def _report(self, rows: list[Row]) -> Batch:
        lost = tuple(LostMessage.model_validate_json(row.content) for row in rows)
        task = report_task(Report(reason="spool_full", messages=lost))
        return Batch(self, [task], {task.task_id: [row.seq for row in rows]}, is_report=True)

    def remove(self, batch: Batch, confirmed: Collection[str]) -> None:
        """Forget what the broker confirmed, by task id.

        Raises:
            SpoolError: It is forgotten by this process, and will be published again by the next.
        """
        table = self._lost if batch.is_report else self._messages
        with self._lock:
            table.let_go(seq for task_id in confirmed for seq in batch.rows[task_id])
            self._sweep(table)

    def forget(self, task_ids: Collection[str]) -> None:
        """Forget messages that reached the broker by another way.

        Raises:
            SpoolError: As :meth:`remove`.
        """
        with self._lock:
            with _failing_as("cannot be read"):
                self._messages.let_go(self._messages.find(task_ids))
            self._sweep(self._messages)

    def _sweep(self, table: Table) -> None:
        with self._transaction():
            table.sweep()
        if not self.backlog:
            with suppress(sqlite3.Error):
                self._shrink()

    def _shrink(self) -> None:
        """Leave nothing of what people wrote in an empty file either, when that is worth it."""
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        if pages * PAGE_BYTES > SHRINK_FROM_BYTES:
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let go of the file; what is in it stays."""
        with self._lock, suppress(sqlite3.Error):
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        tables = (self._messages, self._lost)
        before = [table.state() for table in tables]
        try:
            with _failing_as("cannot be written"):
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            for table, state in zip(tables, before, strict=True):
                table.restore(state)
            raise
        for table in tables:
            table.committed()


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, ValueError) as error:
        # An error of SQLite's names what failed, never a value.
        text = str(error) if isinstance(error, OSError | sqlite3.Error) else type(error).__name__
        raise SpoolError(f"the spool {what}: {text}") from None
