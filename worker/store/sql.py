"""The store in a SQL database: SQLite on one machine, PostgreSQL for several.

Made by :func:`worker.store.open_store`. What concerns a lane happens in one transaction that holds
the lane's lock; the rest is one statement, hence atomic. What operators ask is in
``sql_operator.py``, what limits all processes together in ``sql_limits.py``, how a conversation is
stopped in ``sql_stopping.py``, what was said in ``sql_memory.py``.
"""

import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Update,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from worker.store import sql_turns
from worker.store.base import (
    Claim,
    Claimed,
    DueMessage,
    Exchange,
    Finished,
    Held,
    Kept,
    Lease,
    LeaseLostError,
    Limit,
    Parked,
    Reason,
    Step,
    StoreError,
    Turn,
)
from worker.store.memory_records import has_arrived, pack_exchange
from worker.store.records import (
    PARK_S,
    conversation_key,
    due_message,
    key_of,
    ms,
    pack,
    pack_facts,
    pack_steps,
    plain,
    read_taken,
    route_of,
    unpack,
    with_earlier,
)
from worker.store.schema import DONE, MISSED, PARKED, RUNNING, WAITING, messages, prepare
from worker.store.sql_memory import SqlMemory, remember
from worker.store.sql_steps import Statements
from worker.store.sql_story import begun, told
from worker.store.sql_sweep import grace_until

__all__ = ["SqlStore"]

_m = messages.c
# What a claim needs to know of its record.
_STANDING = (_m.task_id, _m.lane, _m.place_ms, _m.handed)
_PARKED = pack_steps([Step("parked")])
_UNSAID: dict[str, Any] = {"said": None, "said_in": None}
_LANE_OF = select(_m.lane).where(_m.task_id == bindparam("task"))
# What every new record has, in a lane or not.
_OF_ANY = frozenset(
    f"its_{name}"
    for name in (
        *("message_id", "conversation", "conversation_id", "envelope", "route", "route_until"),
        *("written_ms", "written_us"),
    )
)
# Of those that are due, how many batches are looked through for one that is not behind another.
_DUE_ROUNDS = 10


class SqlStore(SqlMemory):
    """A :class:`~worker.store.base.Store` on SQLite or PostgreSQL."""

    def __init__(self, url: str, **options: Any) -> None:
        """Prepare; nothing is connected to yet. ``options`` as for the base."""
        super().__init__(url, **options)
        now, is_sqlite = self._database.now(), self._database.is_sqlite
        self._statements = Statements(now, is_sqlite=is_sqlite)
        has_answer = _m.answer.is_not(None).label("has_answer")
        # Made once: every worker asks it twice a second.
        self._due = (
            select(_m.task_id, _m.envelope, has_answer, _m.attempts)
            .add_columns(sql_turns.is_behind().label("is_behind"))
            .where(_m.due_at <= now)
            .order_by(_m.due_at)
            .with_for_update(skip_locked=True, of=messages)
        )

    def __repr__(self) -> str:
        return f"<SqlStore {self._database.name}>"

    def prepare(self) -> None:
        """See :meth:`Store.prepare <worker.store.base.Store.prepare>`."""
        with self._database.transaction() as connection:
            prepare(connection)

    def check(self) -> None:
        """See :meth:`Store.check <worker.store.base.Store.check>`."""
        id_ = f"check-{uuid.uuid4()}"
        # Already expired, so that prune removes it should we die on the way.
        record = {"task_id": id_, "message_id": "", "state": DONE, "token": 0, "attempts": 0}
        with self._database.one() as connection:
            connection.execute(
                insert(messages).values(**record, takeovers=0, expires_at=self._database.now())
            )
        with self._database.one() as connection:
            removed = connection.execute(delete(messages).where(_m.task_id == id_)).rowcount
        if removed != 1:
            raise StoreError(f"store {self._database.name} forgot what was written")

    def claim(
        self,
        task_id: str,
        *,
        owner: str,
        lease_s: float,
        envelope: dict[str, Any] | None,
        turn: Turn | None = None,
        written: tuple[int, int] | None = None,
        steps: Sequence[Step] = (),
    ) -> Claim:
        """See :meth:`Store.claim <worker.store.base.Store.claim>`."""
        lane = self._lane_of(task_id) if turn is None else key_of(turn.lane)
        sharing = None
        if written is not None and envelope is not None:
            sharing = _conversation(envelope) or None
        with self._locked_lane(lane or task_id, sharing=sharing) as connection:
            if envelope is not None:
                new = _given(task_id, envelope, turn, written)
                taken = self._take_new(connection, new, owner, lease_s, steps)
                if taken is not None:
                    return taken
            row = _unfinished(connection, task_id, self._database.now(), ms(lease_s))
            if isinstance(row, Held | Finished):
                return row
            if row is None:
                if envelope is None:
                    return Finished(None)
                mine = self._add(connection, new, turn, pack_steps(steps))
                if written is not None and mine.stop_noted is not None:
                    noted, hold_ms = mine.stop_noted, ms(lease_s)
                    early = self._stopped_early(connection, mine, written, noted, hold_ms)
                    if early is not None:
                        return early
            else:
                mine = _count(connection, row)
            was = None if row is None else row.state
            not_yet = self._wait_for_turn(connection, mine, ms(lease_s), turn, was=was)
            return not_yet or self._grant(connection, task_id, owner, lease_s, was=was)

    def _lane_of(self, task_id: str) -> str | None:
        """Return the lane of a message that is known, and in one."""
        with self._database.one() as connection:
            return connection.execute(_LANE_OF, {"task": task_id}).scalar_one_or_none()

    def _locked_lane(
        self, name: str, *, sharing: str | None = None
    ) -> AbstractContextManager[Connection]:
        """Begin a transaction in which nobody else changes the lane; SQLite locks everything."""
        first = "" if self._database.is_sqlite else sql_turns.locking(name, sharing=sharing)
        return self._database.transaction(first)

    def _take_new(
        self,
        connection: Connection,
        new: dict[str, Any],
        owner: str,
        lease_s: float,
        steps: Sequence[Step],
    ) -> Claimed | None:
        """Claim a message that nobody knows, and that nothing is in the way of."""
        told = pack_steps([*steps, Step("taken", {"owner": owner})])
        values = {"its_owner": owner, "lease_ms": ms(lease_s), "told": told}
        taken = connection.execute(self._statements.take_new, new | values).first()
        if taken is None:
            return None
        lease = Lease(new["task"], owner, taken.token, lease_s, new["its_lane"] or "")
        return Claimed(lease, unpack(new["its_envelope"]), others_kept=bool(taken.others_kept))

    def _is_crowded(self, connection: Connection, task_id: str, turn: Turn) -> bool:
        if turn.max_waiting is None:
            return False
        lane = key_of(turn.lane)
        first = sql_turns.first_of(connection, lane, self._database.now())
        if first is None or sql_turns.size(connection, lane) < turn.max_waiting:
            return False
        if first.place_ms != sql_turns.HAS_TURN and first.after == task_id:
            # It waited for this one, which hands the turn to nobody.
            is_first = _m.task_id == first.task_id
            connection.execute(update(messages).where(is_first).values(due_at=self._database.now()))
        return True

    def _add(
        self, connection: Connection, new: dict[str, Any], turn: Turn | None, steps: str
    ) -> Row[Any]:
        now = self._database.now()
        given = {name.removeprefix("its_"): new[name] for name in new if name in _OF_ANY}
        record: dict[str, Any] = {
            **given,
            "task_id": new["task"],
            "state": PARKED,
            "token": now,  # so that tokens grow even over a forgotten record
            "attempts": 0,
            "takeovers": 0,
            "steps": begun(now, steps),
            "known_at": now,
        }
        if turn is not None and self._is_crowded(connection, new["task"], turn):
            record["crowded"] = 1
        elif turn is not None:
            record |= {
                "lane": new["its_lane"],
                "place_ms": max(0, turn.place[0]),
                "place_us": new["its_place_us"],
                "sender": new["its_sender"],
                "after": new["its_after"],
                "wait_until": now + new["wait_ms"],
            }
        found = (*_STANDING, self._stop_noted(new["its_conversation"]).label("stop_noted"))
        return connection.execute(insert(messages).values(**record).returning(*found)).one()

    def _wait_for_turn(
        self,
        connection: Connection,
        mine: Row[Any],
        hold_ms: int,
        turn: Turn | None,
        *,
        was: str | None,
    ) -> Claim | None:
        """Return None when it is the message's turn, or it needs none; ``was`` is its state."""
        now = self._database.now()
        task_id = mine.task_id
        if mine.lane is None or mine.place_ms == sql_turns.HAS_TURN:
            return None
        first = sql_turns.first_of(connection, mine.lane, now)
        assert first is not None  # noqa: S101, we are in it
        is_first = first.task_id == task_id
        if not is_first or first.is_early:
            park_ms = ms(PARK_S) * (1 + mine.handed * mine.handed)
            due_at = _m.wait_until if is_first else now + park_ms
            values = {"state": PARKED, "due_at": due_at, **told(now, "" if was else _PARKED)}
            connection.execute(update(messages).where(_m.task_id == task_id).values(**values))
            is_awaited = not is_first and first.after == task_id
            lane = mine.lane if is_awaited else None
            return Parked(sql_turns.hand_over(connection, lane, now, hold_ms))
        if turn is None or not turn.merge:
            return None
        return sql_turns.merge(connection, mine.lane, now, hold_ms=hold_ms, ttl_ms=self._done_ttl)

    def _grant(
        self, connection: Connection, task_id: str, owner: str, lease_s: float, *, was: str | None
    ) -> Claimed:
        now = self._database.now()
        until = now + ms(lease_s)
        step = Step("taken_over" if was == RUNNING else "taken", {"owner": owner})
        values: dict[str, Any] = {
            "state": RUNNING,
            "owner": owner,
            "lease_until": until,
            "due_at": until,
            "not_before": None,
            "handed": 0,
            "place_ms": sql_turns.HAS_TURN,
            "claimed_at": now,
            **told(now, pack_steps([step])),
        }
        statement = (
            update(messages).where(_m.task_id == task_id).values(**values).returning(*messages.c)
        )
        row = connection.execute(statement).one()
        return Claimed(
            Lease(task_id, owner, row.token, lease_s, row.lane or ""),
            with_earlier(row.envelope, row.merged),
            unpack(row.answer),
            row.attempts,
            row.takeovers,
            row.sent,
            bool(row.in_doubt),
            bool(row.crowded),
            bool(row.rerun),
            read_taken(row.was, row.facts, is_handled=row.handled_at is not None),
        )

    def renew(self, leases: Sequence[Lease], *, lease_s: float) -> list[Lease]:
        """See :meth:`Store.renew <worker.store.base.Store.renew>`."""
        if not leases:
            return []
        until = self._database.now() + ms(lease_s)
        keys = [(lease.task_id, lease.token) for lease in leases]
        # By their ids alone first: SQLite uses no index for pairs.
        these = _m.task_id.in_([lease.task_id for lease in leases])
        ours = (these, _m.state == RUNNING, tuple_(_m.task_id, _m.token).in_(keys))
        statement = (
            update(messages)
            .where(*ours)
            .values(lease_until=until, due_at=until)
            .returning(_m.task_id, _m.token)
        )
        several = len(leases) > 1
        with self._database.transaction() if several else self._database.one() as connection:
            if several:
                sql_turns.lock_records(connection, *ours)
            renewed = {(row.task_id, row.token) for row in connection.execute(statement)}
        return [lease for lease in leases if (lease.task_id, lease.token) not in renewed]

    def keep_answer(
        self,
        lease: Lease,
        answer: str,
        steps: Sequence[Step] = (),
        *,
        exchange: Exchange | None = None,
    ) -> None:
        """See :meth:`Store.keep_answer <worker.store.base.Store.keep_answer>`."""
        values = _kept(Kept(answer, (), exchange)) | _by(lease, steps)
        with self._database.one() as connection:
            if connection.execute(self._statements.keep, values).rowcount != 1:
                raise LeaseLostError(lease.task_id)

    def sending(
        self,
        lease: Lease,
        *,
        sent: int,
        steps: Sequence[Step] = (),
        limits: Sequence[Limit] = (),
        kept: Kept | None = None,
    ) -> float:
        """See :meth:`Store.sending <worker.store.base.Store.sending>`."""
        if all(limit.is_dormant for limit in limits) and self._post_at_once(
            lease, sent, steps, limits, kept
        ):
            return 0.0
        if kept is not None:
            self.keep_answer(lease, kept.answer, kept.steps, exchange=kept.exchange)
        with self._database.transaction() as connection:
            is_ours = select(_m.task_id).where(*_is_ours(lease)).with_for_update()
            if connection.execute(is_ours).first() is None:
                raise LeaseLostError(lease.task_id)
            wait_s = self._let_in(connection, limits)
            if wait_s:
                arrived = _ours(lease).where(_m.sent != sent).values(sent=sent, in_doubt=0)
                connection.execute(arrived)
            else:
                values = {"its_sent": sent, **_by(lease, steps)}
                connection.execute(self._statements.post, values)
            return wait_s

    def _post_at_once(
        self,
        lease: Lease,
        sent: int,
        steps: Sequence[Step],
        limits: Sequence[Limit],
        kept: Kept | None,
    ) -> bool:
        """As :meth:`sending` with dormant limits; False when one is not, or the lease is lost."""
        these = self._statements
        values: dict[str, Any] = {"its_sent": sent}
        if kept is None:
            post = these.post_unless if limits else these.post
            values |= _by(lease, steps)
        else:
            post = these.keep_and_post_unless if limits else these.keep_and_post
            values |= _kept(kept) | _by(lease, [*kept.steps, *steps])
        if limits:
            values["keys"] = [plain(limit.key) for limit in limits]
        with self._database.one() as connection:
            return bool(connection.execute(post, values).rowcount == 1)

    def release(
        self,
        lease: Lease,
        *,
        due_in_s: float,
        attempts: int | None = None,
        sent: int | None = None,
        in_doubt: bool | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        """See :meth:`Store.release <worker.store.base.Store.release>`."""
        due_at = self._database.now() + ms(due_in_s)
        given = {"attempts": attempts, "sent": sent, "in_doubt": in_doubt}
        self._write(
            lease,
            steps,
            state=WAITING,
            owner=None,
            lease_until=None,
            due_at=due_at,
            not_before=due_at,
            **{name: int(value) for name, value in given.items() if value is not None},
        )

    def finish(
        self,
        lease: Lease,
        outcome: str,
        steps: Sequence[Step] = (),
        *,
        paced: bool = True,
        exchange: Exchange | None = None,
    ) -> DueMessage | None:
        """See :meth:`Store.finish <worker.store.base.Store.finish>`."""
        values = {
            "its_outcome": outcome,
            "ttl_ms": self._done_ttl,
            "is_paced": int(paced),
            **_by(lease, steps),
        }
        lane = (self._lane_of(lease.task_id) or "") if lease.lane is None else lease.lane
        with self._locked_lane(lane or lease.task_id) as connection:
            values["its_lane"] = lane
            row = connection.execute(self._statements.finish, values).first()
            if row is None:
                raise LeaseLostError(lease.task_id)
            now = self._database.now()
            said, said_in = pack_exchange(exchange)
            if has_arrived(outcome) and (said or row.said):
                given = (said, said_in) if said else (row.said, row.said_in)
                remember(connection, lease.task_id, now, *given)
            if row.said is not None:
                is_it = _m.task_id == lease.task_id
                connection.execute(update(messages).where(is_it).values(**_UNSAID))
            if not row.is_followed:
                return None
            return sql_turns.hand_over(connection, lane, now, ms(lease.length_s))

    def miss(
        self,
        lease: Lease,
        *,
        state: str,
        reason: Reason,
        errcode: int | None,
        detail: str,
        in_doubt: bool = False,
        by_hand_only: bool = False,
        steps: Sequence[Step] = (),
    ) -> DueMessage | None:
        """See :meth:`Store.miss <worker.store.base.Store.miss>`."""
        may_be_sent = reason.is_lateness and not in_doubt and not by_hand_only
        kept_for = case((_m.answer.is_not(None), _m.conversation)) if may_be_sent else None
        # One that was missed before, and was tried to be sent since, is as old as it was.
        missed_at = func.coalesce(_m.missed_at, self._database.now())
        return self._end(
            lease,
            steps,
            expires_at=missed_at + self._missed_ttl,
            state=MISSED,
            outcome=state,
            facts=pack_facts(reason=reason, errcode=errcode, detail=detail),
            missed_at=missed_at,
            handled_at=None,
            kept_for=kept_for,
            in_doubt=int(in_doubt),
            rerun=0,
        )

    def settle(self, lease: Lease, outcome: str, steps: Sequence[Step] = ()) -> None:
        """See :meth:`Store.settle <worker.store.base.Store.settle>`."""
        now = self._database.now()
        self._end(
            lease,
            steps,
            has_arrived=has_arrived(outcome),
            expires_at=now + self._missed_ttl,
            state=MISSED,
            outcome=outcome,
            handled_at=now,
            in_doubt=0,
            rerun=0,
        )

    def due(self, *, limit: int, hold_s: float) -> list[DueMessage]:
        """See :meth:`Store.due <worker.store.base.Store.due>`."""
        pick = self._due.limit(limit)
        with self._database.transaction() as connection:
            now = self._database.now()
            if grace_until(connection, now, ms(hold_s), is_sweep=True) is not None:
                pick = pick.where(_m.state != RUNNING)
            for _ in range(_DUE_ROUNDS):
                rows = connection.execute(pick).all()
                taken = [row for row in rows if not row.is_behind]
                # What waits behind another one need not be published to learn that.
                _put_off(connection, [r for r in rows if r.is_behind], now + ms(PARK_S))
                hold_ms = ms(hold_s) * (1 + _m.handed * _m.handed)
                _put_off(connection, taken, now + hold_ms, handed=_m.handed + 1)
                if taken or len(rows) < limit:
                    break
        return [
            due_message(r.task_id, r.envelope, has_answer=bool(r.has_answer), attempts=r.attempts)
            for r in taken
        ]

    def close(self) -> None:
        """See :meth:`Store.close <worker.store.base.Store.close>`."""
        self._database.engine.dispose()

    # Writing.

    def _end(
        self, lease: Lease, steps: Sequence[Step], *, has_arrived: bool = False, **values: Any
    ) -> DueMessage | None:
        now = self._database.now()
        wanted = select(_m.lane, _m.said, _m.said_in).where(_m.task_id == lease.task_id)
        with self._database.transaction() as connection:
            row = connection.execute(wanted).first()
            lane = row.lane if row is not None else None
            sql_turns.lock(connection, lane or lease.task_id)
            story = told(now, pack_steps(steps), is_last=True)
            values |= {**sql_turns.end_values(), "work_ms": now - _m.claimed_at, **story}
            values |= _UNSAID if has_arrived else {}
            if connection.execute(_ours(lease).values(**values)).rowcount != 1:
                raise LeaseLostError(lease.task_id)
            if has_arrived and row is not None and row.said:
                remember(connection, lease.task_id, now, row.said, row.said_in)
            return sql_turns.hand_over(connection, lane, now, ms(lease.length_s))

    def _write(self, lease: Lease, steps: Sequence[Step], **values: Any) -> None:
        values |= told(self._database.now(), pack_steps(steps))
        with self._database.one() as connection:
            if connection.execute(_ours(lease).values(**values)).rowcount != 1:
                raise LeaseLostError(lease.task_id)


def _by(lease: Lease, steps: Sequence[Step]) -> dict[str, Any]:
    """Return what :class:`Statements` take of a lease, and how its story goes on."""
    return {"task": lease.task_id, "lease": lease.token, "told": pack_steps(steps)}


def _kept(kept: Kept) -> dict[str, Any]:
    """Return what :class:`Statements` take of an answer."""
    said, said_in = pack_exchange(kept.exchange)
    answer = {"its_answer": pack(kept.answer)}
    return answer | {"its_said": said or None, "its_said_in": said_in or None}


def _given(
    task_id: str, envelope: dict[str, Any], turn: Turn | None, written: tuple[int, int] | None
) -> dict[str, Any]:
    """Return what :class:`Statements` take of a message that is new."""
    route, route_until = route_of(envelope)
    conversation = _conversation(envelope)
    place = written if written is not None and conversation else (None, None)
    return {
        "task": task_id,
        "its_message_id": plain(envelope.get("message_id", "")),
        "its_conversation": conversation,
        "its_conversation_id": plain(envelope.get("conversation_id") or "") or None,
        "its_envelope": pack(envelope),
        "its_route": route or None,
        "its_route_until": route_until,
        "its_written_ms": None if place[0] is None else max(0, place[0]),
        "its_written_us": None if place[1] is None else max(0, place[1]),
        "its_lane": None if turn is None else key_of(turn.lane),
        "its_place_us": None if turn is None else turn.place[1],
        "its_sender": None if turn is None else key_of(turn.sender),
        "its_after": None if turn is None else turn.after,
        "wait_ms": None if turn is None else ms(turn.wait_s),
    }


def _conversation(envelope: dict[str, Any]) -> str:
    return conversation_key(envelope.get("bot"), envelope.get("conversation_id"))


def _count(connection: Connection, row: Row[Any]) -> Row[Any]:
    died = case((_m.state == RUNNING, 1), else_=0)
    statement = (
        update(messages)
        .where(_m.task_id == row.task_id)
        .values(token=_m.token + 1, takeovers=_m.takeovers + died)
        .returning(*_STANDING)
    )
    return connection.execute(statement).one()


def _put_off(connection: Connection, rows: Sequence[Row[Any]], due_at: Any, **values: Any) -> None:
    if rows:
        these = _m.task_id.in_([row.task_id for row in rows])
        connection.execute(update(messages).where(these).values(due_at=due_at, **values))


def _is_ours(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return _m.task_id == lease.task_id, _m.token == lease.token, _m.state == RUNNING


def _ours(lease: Lease) -> Update:
    return update(messages).where(*_is_ours(lease))


def _unfinished(
    connection: Connection, task_id: str, now: ColumnElement[int], lease_ms: int
) -> Row[Any] | Held | Finished | None:
    """Return the record, if it is there to be worked on; None when there is none."""
    is_alive = (_m.lease_until > now).label("is_alive")
    is_early = (_m.not_before > now).label("is_early")
    statement = (
        select(_m.task_id, _m.state, _m.owner, _m.outcome, is_alive, is_early)
        .where(_m.task_id == task_id)
        .with_for_update()
    )
    row = connection.execute(statement).first()
    if row is None:
        return None
    if row.state in {DONE, MISSED}:
        return Finished(row.outcome)
    if row.state == RUNNING and (
        row.is_alive or grace_until(connection, now, lease_ms, is_sweep=False) is not None
    ):
        return Held(row.owner or "")
    return Held("") if row.state == WAITING and row.is_early else row
