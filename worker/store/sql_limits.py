"""The limits that all processes keep together, their counts, and single notes, in SQL.

A part of :class:`worker.store.sql.SqlStore`. All of them are notes, under kinds of their own, so
that a release which knows nothing of limits works on the same tables and prunes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, String, case, cast, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.store.base import Limit, Note
from worker.store.records import ms, pack, plain, unpack
from worker.store.schema import notes
from worker.store.sql_operator import SqlOperator

__all__ = ["SqlLimits"]

_n = notes.c
_LIMIT = "limit"


class SqlLimits(SqlOperator):
    """The part of a store that says who has to wait."""

    def admit(self, limits: Sequence[Limit]) -> float:
        """See :meth:`Store.admit <worker.store.base.Store.admit>`."""
        if not limits:
            return 0.0
        with self._database.transaction() as connection:
            return self._let_in(connection, limits)

    def hold_back(self, key: str, *, for_s: float, slow_s: float = 0.0) -> None:
        """See :meth:`Store.hold_back <worker.store.base.Store.hold_back>`."""
        with self._database.transaction() as connection:
            facts = self._locked(connection, Limit(key, 1, 0.0))
            now = self._read_now(connection)
            facts["held_until"] = max(facts.get("held_until", 0), now + ms(for_s))
            slow_until = facts["held_until"] + ms(slow_s)
            facts["slow_until"] = max(facts.get("slow_until", 0), slow_until)
            self._keep(connection, key, facts, now, facts["slow_until"])

    def count_up(self, kind: str, key: str, *, ttl_s: float, by: int = 1) -> int:
        """See :meth:`Store.count_up <worker.store.base.Store.count_up>`."""
        now = self._database.now()
        with self._database.one() as connection:
            if not by:
                known = _one_note(f"count {kind}", key).where(_n.expires_at > now)
                return int(connection.execute(known).scalar_one_or_none() or 0)
            new = _new_note(connection, f"count {kind}", key, str(by), now, now + ms(ttl_s))
            more = cast(cast(_n.facts, BigInteger) + by, String)
            count = case((_n.expires_at <= now, new.excluded.facts), else_=more)
            counted = new.on_conflict_do_update(
                index_elements=[_n.kind, _n.key],
                set_={"facts": count, "noted_at": now, "expires_at": new.excluded.expires_at},
            )
            return int(connection.execute(counted.returning(_n.facts)).scalar_one())

    def recalled(self, kind: str, key: str) -> Note | None:
        """See :meth:`Store.recalled <worker.store.base.Store.recalled>`."""
        now = self._database.now()
        statement = (
            _one_note(kind, key)
            .add_columns((now - _n.noted_at).label("age_ms"))
            .where(_n.expires_at > now)
        )
        with self._database.one() as connection:
            row = connection.execute(statement).first()
        return None if row is None else Note(key, unpack(row.facts), row.age_ms / 1000)

    def _is_any_awake(self, limits: Sequence[Limit]) -> ColumnElement[bool]:
        """Return whether one of dormant limits has something to say, as part of a statement."""
        return (
            select(_n.key)
            .where(_n.kind == _LIMIT, _n.key.in_([plain(limit.key) for limit in limits]))
            .where(_n.expires_at > self._database.now())
            .exists()
        )

    def _let_in(self, connection: Connection, limits: Sequence[Limit]) -> float:
        """As :meth:`admit`, in the caller's transaction."""
        # Always in the same order, so that two who want the same ones never wait for each other.
        in_order = sorted(limits, key=lambda limit: plain(limit.key))
        found = [(limit, self._locked(connection, limit)) for limit in in_order]
        now = self._read_now(connection)  # not before the locks: others came in meanwhile
        awake = [
            (limit, facts)
            for limit, facts in found
            if not limit.is_dormant or facts.get("slow_until", 0) > now
        ]
        wait_ms = max((_wait_ms(limit, facts, now) for limit, facts in awake), default=0)
        if wait_ms > 0:
            return wait_ms / 1000
        for limit, facts in awake:
            facts["stamps"] = [*_still_counting(limit, facts, now), now]
            until = max(now + ms(limit.per_s), facts.get("slow_until", 0))
            self._keep(connection, limit.key, facts, now, until)
        return 0.0

    def _locked(self, connection: Connection, limit: Limit) -> dict[str, Any]:
        """Return what is known of a limit, which nobody else can change until we are done."""
        facts: dict[str, Any] | None
        if limit.is_dormant:  # when nothing is known, there is nothing to be changed
            facts = unpack(
                connection.execute(
                    _one_note(_LIMIT, limit.key).with_for_update()
                ).scalar_one_or_none()
            )
            return facts or {}
        now = self._database.now()
        new = _new_note(connection, _LIMIT, limit.key, "{}", now, now + ms(limit.per_s))
        same = new.on_conflict_do_update(
            index_elements=[_n.kind, _n.key], set_={"key": new.excluded.key}
        )
        facts = unpack(connection.execute(same.returning(_n.facts)).scalar_one())
        return facts or {}

    def _keep(
        self, connection: Connection, key: str, facts: Mapping[str, Any], now: int, until: int
    ) -> None:
        later = case((_n.expires_at > until, _n.expires_at), else_=until)
        connection.execute(
            update(notes)
            .where(_n.kind == _LIMIT, _n.key == plain(key))
            .values(facts=pack(facts), noted_at=now, expires_at=later)
        )

    def _read_now(self, connection: Connection) -> int:
        return int(connection.execute(select(self._database.now())).scalar_one())


def _one_note(kind: str, key: str) -> Any:
    return select(_n.facts).where(_n.kind == kind, _n.key == plain(key))


def _new_note(
    connection: Connection, kind: str, key: str, facts: str, now: Any, expires_at: Any
) -> Any:
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(notes).values(
        kind=kind, key=plain(key), facts=facts, noted_at=now, expires_at=expires_at
    )


def _wait_ms(limit: Limit, facts: Mapping[str, Any], now: int) -> int:
    stamps = _still_counting(limit, facts, now)
    until = facts.get("held_until", 0)
    if len(stamps) >= limit.count:
        until = max(until, stamps[-limit.count] + ms(limit.per_s))
    return int(until - now)


def _still_counting(limit: Limit, facts: Mapping[str, Any], now: int) -> list[int]:
    """Return when those came in that still count.

    A clock that was set back makes stamps of the future: they count as of now, so that nobody
    waits for longer than the limit is long.
    """
    stamps = (min(int(stamp), now) for stamp in facts.get("stamps", ()))
    return [stamp for stamp in stamps if stamp > now - ms(limit.per_s)]
