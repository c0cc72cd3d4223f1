"""Lanes in ``sql.py``: who has the turn, who is next, what becomes one turn.

Called inside a transaction that holds the lane's lock.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.orm import aliased

from worker.store.base import DueMessage, Merged, Step
from worker.store.records import due_message, key_of, pack_steps
from worker.store.schema import DONE, MISSED, PARKED, messages
from worker.store.sql_story import told

__all__ = [
    "HAS_TURN",
    "end_values",
    "first_of",
    "hand_over",
    "is_behind",
    "lock",
    "lock_records",
    "locking",
    "merge",
    "share",
    "size",
]

_m = messages.c

# The place of the one with the turn: it is the first, whoever comes.
HAS_TURN = -1
_MERGE_LIMIT = 100
# As records.key_of makes them.
_KEY = re.compile("[0-9a-f]{32}")
# A release that knows no lanes finishes a record without taking it out of its lane.
_UNFINISHED = _m.state.not_in((DONE, MISSED))
_awaited, _other = aliased(messages), aliased(messages)


def locking(name: str, *, sharing: str | None = None) -> str:
    """Return a statement of PostgreSQL: nobody else changes a lane until the transaction ends.

    Args:
        name: Of the lane, or of a conversation.
        sharing: A conversation that nobody may lock meanwhile; in the same statement, and first.
    """
    locks = [f"pg_advisory_xact_lock({_hashed(name)})"]
    if sharing is not None:
        locks.insert(0, f"pg_advisory_xact_lock_shared({_hashed(sharing)})")
    return f"SELECT {', '.join(locks)}"


def _hashed(name: str) -> str:
    digits = name if _KEY.fullmatch(name) else key_of(name)
    return f"hashtextextended('{digits}', 0)"


def lock(connection: Connection, name: str) -> None:
    """As :func:`locking`, at once; SQLite locks everything when a transaction begins."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(locking(name))


def share(connection: Connection, names: Collection[str]) -> None:
    """Have whoever locks one of these wait until the transaction ends, and wait for who has."""
    if connection.dialect.name == "postgresql" and names:
        hashed = (func.hashtextextended(name, 0) for name in sorted(names))
        connection.execute(select(*map(func.pg_advisory_xact_lock_shared, hashed)))


def lock_records(connection: Connection, *these: ColumnElement[bool]) -> None:
    """Let nobody else change some records until the transaction ends.

    All who need several at once take them in this order, so that none of them waits for another
    one that waits for it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(_m.task_id).where(*these).order_by(_m.task_id).with_for_update()
        ).all()


@lru_cache(maxsize=8)  # to build it takes longer than to run it; each store has one ``now``
def _first(now: ColumnElement[int]) -> Any:
    return _in_order(now).limit(1)


def _in_order(now: ColumnElement[int]) -> Any:
    columns = (_m.task_id, _m.state, _m.sender, _m.place_ms, _m.after, _m.wait_until)
    return (
        select(*columns, _m.message_id, _m.envelope, _m.merged, _is_early(now).label("is_early"))
        .where(_m.lane == bindparam("lane_to_read"), _UNFINISHED)
        .order_by(_m.place_ms, _m.place_us, _m.task_id)
    )


def _is_early(now: ColumnElement[int]) -> ColumnElement[bool]:
    """Say of a record, in a statement, whether one written before it is still to come."""
    known = exists().where(_awaited.c.task_id == _m.after)
    return and_(_m.after.is_not(None), _m.wait_until > now, ~known)


def first_of(connection: Connection, lane: str, now: ColumnElement[int]) -> Row[Any] | None:
    """Return who has the turn, or should; ``is_early`` when it waits for one still to come."""
    return connection.execute(_first(now), {"lane_to_read": lane}).first()


def size(connection: Connection, lane: str) -> int:
    """Return how many wait in the lane."""
    waiting = select(func.count()).where(_m.lane == lane, _m.place_ms != HAS_TURN)
    return int(connection.execute(waiting).scalar_one())


def is_behind() -> ColumnElement[bool]:
    """Say of a record, in a statement, whether it is parked behind another one of its lane."""
    another = exists().where(
        _other.c.lane == _m.lane,
        _other.c.place_ms < _m.place_ms,
        _other.c.state.not_in((DONE, MISSED)),
    )
    return and_(_m.state == PARKED, another)


def hand_over(
    connection: Connection, lane: str | None, now: ColumnElement[int], hold_ms: int
) -> DueMessage | None:
    """Hand the turn to the next: return what the caller publishes."""
    first = first_of(connection, lane, now) if lane is not None else None
    if first is None or first.place_ms == HAS_TURN or first.is_early:
        return None
    handed = {"handed": 1, "due_at": now + hold_ms}
    connection.execute(update(messages).where(_m.task_id == first.task_id).values(**handed))
    return due_message(first.task_id, first.envelope, has_answer=False)


def end_values() -> dict[str, Any]:
    """Return what every finished record has in common."""
    return {"owner": None, "lease_until": None, "due_at": None, "lane": None, "was": None}


def merge(
    connection: Connection,
    lane: str,
    now: ColumnElement[int],
    *,
    hold_ms: int,
    ttl_ms: int,
) -> Merged | None:
    """Make the first, and those of its sender that wait right behind it, one turn: the last's."""
    waiting = _in_order(now).limit(_MERGE_LIMIT)
    rows = list(connection.execute(waiting, {"lane_to_read": lane}))
    run = rows[:1]
    for row in rows[1:]:
        if row.state != PARKED or row.sender != run[0].sender or row.is_early:
            break
        run.append(row)
    if len(run) == 1:
        return None
    *earlier, last = run
    texts = [text for row in earlier for text in (row.merged, row.envelope) if text]
    ids = [row.task_id for row in earlier]
    merged = pack_steps([Step("merged", {"into": last.message_id})])
    done = {"state": DONE, "outcome": "CANCELLED", "envelope": None, "merged": None}
    story = told(now, merged, is_last=True)
    connection.execute(
        update(messages)
        .where(_m.task_id.in_(ids))
        .values(**done, **end_values(), **story, expires_at=now + ttl_ms)
    )
    texts += [last.merged] if last.merged else []
    connection.execute(
        update(messages)
        .where(_m.task_id == last.task_id)
        .values(merged=",".join(texts), after=None)
    )
    next_ = hand_over(connection, lane, now, hold_ms)
    assert next_ is not None  # noqa: S101, it was put first just now
    return Merged(next_, tuple((row.task_id, row.message_id) for row in earlier))
