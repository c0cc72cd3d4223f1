"""What is past its time, and its end, in SQL.

In small transactions, each found by an index, so that workers go on meanwhile; and so many at once
that a sweep is not kept from what is due.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Row,
    Table,
    Update,
    delete,
    select,
    tuple_,
    update,
)

from worker.store.database import Database
from worker.store.schema import exchanges, messages, notes

__all__ = ["BATCH", "BATCHES", "prune"]

BATCH, BATCHES = 500, 10


def prune(database: Database) -> int:
    """Forget up to ``BATCH * BATCHES`` records of each kind; return how many went, or changed."""
    return sum(
        sum(_in_batches(database, table, past, change))
        for table, past, change in (
            (notes, notes.c.expires_at, delete(notes)),
            (exchanges, exchanges.c.expires_at, delete(exchanges)),
            # A webhook that is over leads nowhere, and is nobody's business any more.
            (messages, messages.c.route_until, update(messages).values(route=None)),
            (messages, messages.c.expires_at, delete(messages)),
        )
    )


def _are(keys: Sequence[Column[Any]], found: Sequence[Row[Any]]) -> list[ColumnElement[bool]]:
    """Say of records that they are those with these keys; each key alone, too, for an index."""
    each: list[ColumnElement[bool]] = [
        key.in_({row[n] for row in found}) for n, key in enumerate(keys)
    ]
    return each if len(keys) == 1 else [*each, tuple_(*keys).in_([tuple(row) for row in found])]


def _in_batches(
    database: Database, table: Table, past: Column[Any], change: Update | Delete
) -> Iterator[int]:
    keys = list(table.primary_key)
    these = select(*keys).where(past <= database.now()).order_by(past).limit(BATCH)
    if past is messages.c.route_until:
        these = these.where(messages.c.route.is_not(None))
    # What another process forgets just now is left to it.
    these = these.with_for_update(skip_locked=True)
    for _ in range(BATCHES):
        with database.transaction() as connection:
            found = connection.execute(these).all()
            if found:
                connection.execute(change.where(*_are(keys, found)))
        yield len(found)
        if len(found) < BATCH:
            return
