"""What is unfinished in a conversation, and its end, in SQL.

A part of :class:`worker.store.sql.SqlStore`. A claim shares the lock of its conversation, and a
stop has it alone: so of a message that comes at the same moment, either the stop finds the record,
or the claim finds what the stop has noted.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.store import sql_turns
from worker.store.base import DueMessage, Open, Step, StoppedEarly, StoppedMessage, StopResult
from worker.store.records import (
    conversation_key,
    ms,
    pack,
    pack_steps,
    plain,
    standing,
    unpack,
)
from worker.store.schema import DONE, RUNNING, messages, notes
from worker.store.sql_limits import SqlLimits
from worker.store.sql_story import told

__all__ = ["SqlStopping"]

_m, _n = messages.c, notes.c
_STOP, _STOPS = "stop", "stops"
_OF_OPEN = (_m.task_id, _m.message_id, _m.state, _m.lane, _m.envelope, _m.sent, _m.in_doubt)


class SqlStopping(SqlLimits):
    """The part of a store that knows what of a conversation can be stopped."""

    def stop(
        self,
        bot: str,
        conversation_id: str,
        *,
        before: tuple[int, int],
        facts: dict[str, Any],
        hold_s: float,
        task_id: str | None = None,
    ) -> StopResult:
        """See :meth:`Store.stop <worker.store.base.Store.stop>`."""
        key = conversation_key(bot, conversation_id)
        with self._database.transaction() as connection:
            sql_turns.lock(connection, key)
            now = self._database.now()
            if task_id is None:
                self._note_stop(connection, key, before, facts)
            these = [*_is_open_in(key, conversation_id)]
            these.append(tuple_(_m.written_ms, _m.written_us) < before)
            if task_id is not None:
                these.append(_m.task_id == plain(task_id))
            wanted = _in_order(these)
            lanes = {row.lane for row in connection.execute(wanted) if row.lane is not None}
            for lane in sorted(lanes):
                sql_turns.lock(connection, lane)
            is_alive = func.coalesce(_m.lease_until > now, False).label("is_alive")
            sql_turns.lock_records(connection, *these)
            rows = connection.execute(wanted.add_columns(is_alive)).all()
            for row in rows:
                doubt = {"in_doubt": True} if row.in_doubt else {}
                self._end_early(connection, row.task_id, {"was": row.state, **doubt, **facts})
            if any(row.state == RUNNING for row in rows):
                self._note_work_stopped(connection)
            handed = [
                sql_turns.hand_over(connection, lane, now, ms(hold_s)) for lane in sorted(lanes)
            ]
        return StopResult(
            tuple(
                StoppedMessage(
                    row.task_id,
                    row.message_id,
                    row.state,
                    row.state == RUNNING and bool(row.is_alive),
                    row.sent,
                    unpack(row.envelope),
                )
                for row in rows
            ),
            tuple(each for each in handed if each is not None),
        )

    def open_in(self, bot: str, conversation_id: str) -> list[Open]:
        """See :meth:`Store.open_in <worker.store.base.Store.open_in>`."""
        ran_ms = (self._database.now() - _m.claimed_at).label("ran_ms")
        wanted = _in_order(_is_open_in(conversation_key(bot, conversation_id), conversation_id))
        with self._database.one() as connection:
            rows = connection.execute(wanted.add_columns(ran_ms)).all()
        found = [
            Open(
                row.task_id,
                row.state,
                max(0, row.ran_ms) / 1000 if row.state == RUNNING else None,
                unpack(row.envelope),
            )
            for row in rows
        ]
        return sorted(found, key=standing)

    def last_stop(self) -> int:
        """See :meth:`Store.last_stop <worker.store.base.Store.last_stop>`."""
        with self._database.one() as connection:
            found = connection.execute(_note(_STOPS, "")).scalar_one_or_none()
        return int(found or 0)

    def _stop_noted(self, conversation: str) -> ColumnElement[str]:
        """Return what a stop has noted of a conversation, as part of a statement."""
        noted = _note(_STOP, conversation).where(_n.expires_at > self._database.now())
        found: ColumnElement[str] = noted.scalar_subquery()
        return found

    def _stopped_early(
        self,
        connection: Connection,
        mine: Row[Any],
        written: tuple[int, int],
        noted: str,
        hold_ms: int,
    ) -> StoppedEarly | None:
        """End a message that was just added, if it was written before its conversation's stop."""
        stop = unpack(noted)
        if written >= tuple(stop["before"]):
            return None
        self._end_early(connection, mine.task_id, {"was": "queued", **stop["facts"]})
        next_: DueMessage | None = None
        if mine.lane is not None:
            now = self._database.now()
            first = sql_turns.first_of(connection, mine.lane, now)
            if first is not None and first.after == mine.task_id:
                next_ = sql_turns.hand_over(connection, mine.lane, now, hold_ms)
        return StoppedEarly(stop["facts"], next_)

    def _end_early(self, connection: Connection, task_id: str, facts: dict[str, Any]) -> None:
        now = self._database.now()
        ended = {
            "state": DONE,
            "outcome": "CANCELLED",
            "envelope": None,
            "answer": None,
            "merged": None,
            "said": None,
            "said_in": None,
            "missed_at": None,
            "expires_at": now + self._done_ttl,
            **sql_turns.end_values(),
            **told(now, pack_steps([Step("stopped", facts)]), is_last=True),
        }
        connection.execute(update(messages).where(_m.task_id == task_id).values(**ended))

    def _note_stop(
        self, connection: Connection, key: str, before: tuple[int, int], facts: dict[str, Any]
    ) -> None:
        noted = connection.execute(
            _note(_STOP, key).where(_n.expires_at > self._database.now())
        ).scalar_one_or_none()
        if noted is None or tuple(unpack(noted)["before"]) < before:
            self._write_note(connection, _STOP, key, pack({"before": before, "facts": facts}))

    def _note_work_stopped(self, connection: Connection) -> None:
        sql_turns.lock(connection, _STOPS)  # else two stops at once may note the same
        last = connection.execute(_note(_STOPS, "")).scalar_one_or_none()
        number = max(self._read_now(connection), int(last or 0) + 1)
        self._write_note(connection, _STOPS, "", str(number))

    def _write_note(self, connection: Connection, kind: str, key: str, facts: str) -> None:
        now = self._database.now()
        insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        new = insert(notes).values(
            kind=kind, key=key, facts=facts, noted_at=now, expires_at=now + self._done_ttl
        )
        names = ("facts", "noted_at", "expires_at")
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[_n.kind, _n.key],
                set_={name: new.excluded[name] for name in names},
            )
        )


def _is_open_in(key: str, conversation_id: str) -> tuple[ColumnElement[bool], ...]:
    """Say of a record, in a statement, whether it is open in a conversation."""
    is_in = (_m.conversation_id == plain(conversation_id), _m.conversation == key)
    return (*is_in, _m.due_at.is_not(None), _m.was.is_(None), _m.written_ms.is_not(None))


def _in_order(these: Sequence[ColumnElement[bool]]) -> Any:
    """Select records in the order they were written."""
    found = select(*_OF_OPEN).where(*these)
    return found.order_by(_m.written_ms, _m.written_us, _m.task_id)


def _note(kind: str, key: str) -> Any:
    return select(_n.facts).where(_n.kind == kind, _n.key == key)
