"""What was said, in SQL: remembered when a message ends, read before an agent runs, and forgotten.

A part of :class:`worker.store.sql.SqlStore`; :func:`remember` is called inside the transaction that
ends the message.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    String,
    Text,
    cast,
    delete,
    exists,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from worker.store import sql_turns
from worker.store.base import Scope
from worker.store.memory_records import Into, mark_of, scope_key
from worker.store.records import conversation_key, key_of, ms, plain, unpack
from worker.store.schema import exchanges, notes
from worker.store.sql_stopping import SqlStopping

__all__ = ["SqlMemory", "remember"]

_e, _n = exchanges.c, notes.c
# Says of a mark since when something is forgotten, in epoch ms.
_FORGOTTEN = "forgotten"


def remember(
    connection: Connection, task_id: str, now: ColumnElement[int], said: str, said_in: str
) -> None:
    """Make what was said part of the memory it is for, and forget the oldest beyond its turns.

    What cannot be read, as of a later release, is left out: no message may end otherwise by it.
    """
    into = Into.read(said_in)
    if into is None:
        return
    sql_turns.share(connection, into.marks)
    values: dict[str, tuple[Any, Any]] = {
        "task_id": (task_id, String),
        "scope": (into.scope, String),
        "conversation": (into.conversation, String),
        "conversation_id": (into.conversation_id, String),
        "person": (into.person, String),
        "place_ms": (into.place_ms, BigInteger),
        "place_us": (into.place_us, BigInteger),
        "said": (said, Text),
    }
    forgotten = exists().where(
        _n.kind == _FORGOTTEN, _n.key.in_(into.marks), cast(_n.facts, BigInteger) > into.place_ms
    )
    row = select(
        *(literal(value, type_) for value, type_ in values.values()), now, now + into.ttl_ms
    ).where(~forgotten)
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    names = [*values, "kept_at", "expires_at"]
    new = insert(exchanges).from_select(names, row)
    # Of a message whose record was forgotten, and that came once more.
    anew = {name: new.excluded[name] for name in names[1:]}
    connection.execute(new.on_conflict_do_update(index_elements=[_e.task_id], set_=anew))
    surplus = (
        select(_e.task_id)
        .where(_e.scope == into.scope)
        .order_by(_e.place_ms.desc(), _e.place_us.desc())
        .offset(into.turns)
        # Without an order, two messages of one memory may end at once.
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(exchanges).where(_e.task_id.in_(surplus)))


class SqlMemory(SqlStopping):
    """The part of a store that knows what was said."""

    def exchanges(
        self, scope: Scope, *, before: tuple[int, int], turns: int, within_s: float
    ) -> list[Any]:
        """See :meth:`Store.exchanges <worker.store.base.Store.exchanges>`."""
        now = self._database.now()
        place = (max(0, before[0]), max(0, before[1]))
        last = (
            select(_e.said)
            .where(_e.scope == scope_key(scope), tuple_(_e.place_ms, _e.place_us) < place)
            .where(_e.kept_at > now - ms(within_s), _e.expires_at > now)
            .order_by(_e.place_ms.desc(), _e.place_us.desc())
            .limit(turns)
        )
        with self._database.one() as connection:
            found = connection.execute(last).scalars().all()
        return [unpack(said) for said in reversed(found)]

    def forget(
        self,
        *,
        conversation_id: str = "",
        person: str = "",
        bot: str = "",
        before_ms: int | None = None,
    ) -> int:
        """See :meth:`Store.forget <worker.store.base.Store.forget>`."""
        these = []
        if conversation_id:  # which an index knows
            these.append(_e.conversation_id == plain(conversation_id))
        if bot:
            these.append(_e.conversation == conversation_key(bot, conversation_id))
        if person:
            these.append(_e.person == key_of(person))
        with self._database.transaction() as connection:
            now = self._read_now(connection)
            mark = mark_of(bot, conversation_id, person)
            # What is being remembered meanwhile either sees the mark, or is found below.
            sql_turns.lock(connection, mark)
            since = now if before_ms is None else before_ms
            self._mark(connection, mark, since, now)
            if before_ms is not None:
                these.append(_e.place_ms < before_ms)
            gone = delete(exchanges).where(*these).returning(_e.expires_at)
            return sum(until > now for until in connection.execute(gone).scalars())

    def _mark(self, connection: Connection, mark: str, since: int, now: int) -> None:
        insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        new = insert(notes).values(
            kind=_FORGOTTEN,
            key=mark,
            facts=str(since),
            noted_at=now,
            expires_at=now + self._missed_ttl,
        )
        later = {name: new.excluded[name] for name in ("facts", "noted_at", "expires_at")}
        # What was forgotten stays so, also when it is asked for once more as of a time before.
        is_earlier = cast(_n.facts, BigInteger) < since
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[_n.kind, _n.key], set_=later, where=is_earlier
            )
        )
