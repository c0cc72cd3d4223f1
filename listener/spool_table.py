"""Rows of the spool in the order they came; used by ``listener/spool_file.py``.

A row that was published is gone at once for this process, and from the file as soon as the disk
lets it be changed: a full one must not have a message published for ever.
"""

import sqlite3
from collections.abc import Collection, Generator, Iterable
from contextlib import closing
from typing import NamedTuple

__all__ = ["SCHEMA", "Row", "Table"]

ROW_BYTES = 120  # of a row beside its content, its index entry included

_COLUMNS = """(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
    content TEXT NOT NULL);"""
SCHEMA = "\n".join(f"CREATE TABLE IF NOT EXISTS {name} {_COLUMNS}" for name in ("message", "lost"))


class Row(NamedTuple):
    """One row."""

    seq: int
    size: int
    content: str


class _State(NamedTuple):
    rows: int
    size: int
    passed: int
    gone: frozenset[int]


class Table:
    """One of the tables; whoever calls holds the file's lock, and a transaction to write."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db, self._name = db, name
        total = f"SELECT count(*), coalesce(sum(size), 0) FROM {name}"  # noqa: S608, our own names
        self.count: int
        self.size: int
        self.count, self.size = db.execute(total).fetchone()
        # Gone, and maybe still in the file: ``_gone``; all up to ``_passed`` are.
        self._passed, self._gone = 0, set[int]()
        self._is_swept = False

    def add(self, task_id: str, content: str) -> None:
        """Add a row at the end, unless there is one of this task."""
        size = len(content) + ROW_BYTES
        insert = f"INSERT OR IGNORE INTO {self._name} (task_id, size, content) VALUES (?, ?, ?)"  # noqa: S608
        added = self._db.execute(insert, (task_id, size, content)).rowcount
        self.count, self.size = self.count + added, self.size + added * size

    def oldest(self, limit: int, *, max_bytes: float = float("inf")) -> list[Row]:
        """Return the first rows: so many, or until they have so many bytes."""
        rows, size = list[Row](), 0
        with closing(self._rows()) as found:
            for row in found:
                rows.append(row)
                size += row.size
                if len(rows) >= limit or size >= max_bytes:
                    break
        return rows

    def oldest_over(self, size: int) -> list[Row]:
        """Return the first rows that have so many bytes together; none for none."""
        return self.oldest(self.count, max_bytes=size) if size > 0 and self.count else []

    def _rows(self) -> Generator[Row, None, None]:
        select = f"SELECT seq, size, content FROM {self._name} WHERE seq > ? ORDER BY seq"  # noqa: S608
        is_first = True
        with closing(self._db.execute(select, (self._passed,))) as cursor:
            for row in map(Row._make, cursor):
                if row.seq not in self._gone:
                    is_first = False
                    yield row
                elif is_first:
                    self._passed = row.seq

    def find(self, task_ids: Iterable[str]) -> Collection[int]:
        """Return the rows of these tasks."""
        select = f"SELECT seq FROM {self._name} WHERE task_id = ?"  # noqa: S608
        found = (self._db.execute(select, (task_id,)).fetchone() for task_id in task_ids)
        return [row[0] for row in found if row is not None]

    def let_go(self, seqs: Iterable[int]) -> None:
        """Take rows out of sight; those that are gone already are passed over."""
        select = f"SELECT size FROM {self._name} WHERE seq = ?"  # noqa: S608
        for seq in set(seqs) - self._gone:
            row = self._db.execute(select, (seq,)).fetchone()
            if row is not None:
                self.count, self.size = self.count - 1, self.size - row[0]
                self._gone.add(seq)

    def sweep(self) -> None:
        """Delete what is gone."""
        delete = f"DELETE FROM {self._name} WHERE seq = ?"  # noqa: S608
        self._db.executemany(delete, [(seq,) for seq in self._gone])
        self._is_swept = True

    # Around a transaction.

    def state(self) -> _State:
        """Return what :meth:`restore` takes."""
        self._is_swept = False
        return _State(self.count, self.size, self._passed, frozenset(self._gone))

    def restore(self, state: _State) -> None:
        """Go back, as the file did."""
        self.count, self.size, self._passed = state[:3]
        self._gone = set(state.gone)

    def committed(self) -> None:
        """Say that the file has it, too."""
        if self._is_swept:
            self._gone.clear()
