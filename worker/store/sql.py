"""The store in a SQL database: SQLite on one machine, PostgreSQL for several.

Made by :func:`worker.store.open_store`. Every write is one statement, hence atomic; only
:meth:`SqlStore.due` and :meth:`SqlStore.prepare` need a transaction.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Update,
    and_,
    case,
    delete,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from worker.store.base import (
    Claim,
    Claimed,
    DueMessage,
    Finished,
    Held,
    Lease,
    LeaseLostError,
    MissedReply,
    Reason,
    StoreError,
)
from worker.store.database import Database
from worker.store.records import due_message, ms, pack, pack_facts, plain, read_missed, unpack
from worker.store.schema import DONE, MISSED, RUNNING, WAITING, messages, prepare

__all__ = ["SqlStore"]

_m = messages.c


class SqlStore:
    """A :class:`~worker.store.base.Store` on SQLite or PostgreSQL."""

    def __init__(
        self,
        url: str,
        *,
        done_ttl_s: float = 86_400,
        missed_ttl_s: float = 7 * 86_400,
        clock_ms: Callable[[], int] | None = None,
    ) -> None:
        self._database = Database(url, clock_ms)
        self._done_ttl, self._missed_ttl = ms(done_ttl_s), ms(missed_ttl_s)
        is_sqlite = self._database.engine.dialect.name == "sqlite"
        self._insert: Callable[..., Any] = sqlite.insert if is_sqlite else postgresql.insert

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
        self, task_id: str, *, owner: str, lease_s: float, envelope: dict[str, Any] | None
    ) -> Claim:
        """See :meth:`Store.claim <worker.store.base.Store.claim>`."""
        now = self._database.now()
        ours: dict[str, Any] = {
            "state": RUNNING,
            "owner": owner,
            "lease_until": now + ms(lease_s),
            "due_at": now + ms(lease_s),
            "not_before": None,
        }
        again = {
            "token": _m.token + 1,
            "takeovers": _m.takeovers + case((_m.state == RUNNING, 1), else_=0),
        }
        free = or_(
            and_(_m.state == WAITING, _m.not_before <= now),
            and_(_m.state == RUNNING, _m.lease_until <= now),
        )
        if envelope is None:
            statement = update(messages).where(_m.task_id == task_id, free).values(**ours, **again)
        else:
            # Tokens start at the time, so that they grow even over a forgotten record.
            statement = (
                self._insert(messages)
                .values(
                    task_id=task_id, message_id=plain(envelope.get("message_id", "")),
                    token=now, attempts=0, takeovers=0, envelope=pack(envelope), **ours,
                )
                .on_conflict_do_update(index_elements=["task_id"], set_=ours | again, where=free)
            )  # fmt: skip
        result = (_m.token, _m.envelope, _m.answer, _m.attempts, _m.takeovers)
        with self._database.one() as connection:
            row = connection.execute(statement.returning(*result)).first()
            if row is None:
                return _refusal(connection, task_id)
        return Claimed(
            Lease(task_id, owner, row.token),
            unpack(row.envelope),
            unpack(row.answer),
            row.attempts,
            row.takeovers,
        )

    def renew(self, leases: Sequence[Lease], *, lease_s: float) -> list[Lease]:
        """See :meth:`Store.renew <worker.store.base.Store.renew>`."""
        if not leases:
            return []
        until = self._database.now() + ms(lease_s)
        keys = [(lease.task_id, lease.token) for lease in leases]
        statement = (
            update(messages)
            .where(_m.state == RUNNING, tuple_(_m.task_id, _m.token).in_(keys))
            .values(lease_until=until, due_at=until)
            .returning(_m.task_id, _m.token)
        )
        with self._database.one() as connection:
            renewed = {(row.task_id, row.token) for row in connection.execute(statement)}
        return [lease for lease in leases if (lease.task_id, lease.token) not in renewed]

    def keep_answer(self, lease: Lease, answer: str) -> None:
        """See :meth:`Store.keep_answer <worker.store.base.Store.keep_answer>`."""
        self._write(lease, answer=pack(answer))

    def release(self, lease: Lease, *, due_in_s: float, attempts: int | None = None) -> None:
        """See :meth:`Store.release <worker.store.base.Store.release>`."""
        due_at = self._database.now() + ms(due_in_s)
        self._write(
            lease,
            state=WAITING,
            owner=None,
            lease_until=None,
            due_at=due_at,
            not_before=due_at,
            attempts=_m.attempts if attempts is None else attempts,
        )

    def finish(self, lease: Lease, outcome: str) -> None:
        """See :meth:`Store.finish <worker.store.base.Store.finish>`."""
        self._end(
            lease,
            self._done_ttl,
            state=DONE,
            outcome=outcome,
            message_id="",
            envelope=None,
            answer=None,
        )

    def miss(
        self, lease: Lease, *, state: str, reason: Reason, errcode: int | None, detail: str
    ) -> None:
        """See :meth:`Store.miss <worker.store.base.Store.miss>`."""
        self._end(
            lease,
            self._missed_ttl,
            state=MISSED,
            outcome=state,
            facts=pack_facts(reason=reason, errcode=errcode, detail=detail),
            missed_at=self._database.now(),
        )

    def due(self, *, limit: int, hold_s: float) -> list[DueMessage]:
        """See :meth:`Store.due <worker.store.base.Store.due>`."""
        pick = (
            select(_m.task_id, _m.envelope, _m.answer.is_not(None).label("has_answer"))
            .where(_m.due_at <= self._database.now())
            .order_by(_m.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.transaction() as connection:
            rows = connection.execute(pick).all()
            taken = [row.task_id for row in rows]
            hold = update(messages).where(_m.task_id.in_(taken))
            if rows:
                connection.execute(hold.values(due_at=self._database.now() + ms(hold_s)))
        return [due_message(r.task_id, r.envelope, has_answer=bool(r.has_answer)) for r in rows]

    def missed(self, *, limit: int = 1000) -> list[MissedReply]:
        """See :meth:`Store.missed <worker.store.base.Store.missed>`."""
        return self._read_missed(self._select_missed().limit(limit))

    def find_missed(self, id_: str) -> MissedReply | None:
        """See :meth:`Store.find_missed <worker.store.base.Store.find_missed>`."""
        wanted = or_(_m.task_id == plain(id_), _m.message_id == plain(id_))
        found = self._read_missed(self._select_missed().where(wanted).limit(1))
        return found[0] if found else None

    def prune(self) -> int:
        """See :meth:`Store.prune <worker.store.base.Store.prune>`."""
        with self._database.one() as connection:
            gone = delete(messages).where(_m.expires_at <= self._database.now())
            return connection.execute(gone).rowcount

    def close(self) -> None:
        """See :meth:`Store.close <worker.store.base.Store.close>`."""
        self._database.engine.dispose()

    # Writing.

    def _end(self, lease: Lease, ttl_ms: int, **values: Any) -> None:
        expiry = self._database.now() + ttl_ms
        self._write(lease, owner=None, lease_until=None, due_at=None, expires_at=expiry, **values)

    def _write(self, lease: Lease, **values: Any) -> None:
        ours: Update = (
            update(messages)
            .where(_m.task_id == lease.task_id, _m.token == lease.token, _m.state == RUNNING)
            .values(**values)
        )
        with self._database.one() as connection:
            if connection.execute(ours).rowcount != 1:
                raise LeaseLostError(lease.task_id)

    # Reading.

    def _select_missed(self) -> Select[Any]:
        return (
            select(_m.task_id, _m.outcome, _m.facts, _m.missed_at, _m.envelope, _m.answer)
            .where(_m.missed_at.is_not(None), _m.expires_at > self._database.now())
            .order_by(_m.missed_at.desc())
        )

    def _read_missed(self, statement: Select[Any]) -> list[MissedReply]:
        with self._database.one() as connection:
            return [_missed_reply(row) for row in connection.execute(statement)]


def _refusal(connection: Connection, task_id: str) -> Held | Finished:
    statement = select(_m.state, _m.owner, _m.outcome).where(_m.task_id == task_id)
    row = connection.execute(statement).first()
    if row is None:
        return Finished(None)
    # One that was given back since then is due, as every unfinished message is.
    return Held(row.owner or "") if row.state in {RUNNING, WAITING} else Finished(row.outcome)


def _missed_reply(row: Row[Any]) -> MissedReply:
    return read_missed(
        task_id=row.task_id,
        state=row.outcome,
        facts=row.facts,
        missed_at=row.missed_at,
        envelope=row.envelope,
        answer=row.answer,
    )
