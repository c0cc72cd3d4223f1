"""What operators and processes ask a SQL store, apart from the work on messages.

The half of :class:`worker.store.sql.SqlStore` that holds no lease: missed replies, stories, notes.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, Select, Update, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.store.base import (
    DueMessage,
    Lease,
    MissedBriefly,
    MissedReply,
    Note,
    Pace,
    Step,
    Story,
    Unfinished,
)
from worker.store.database import Database
from worker.store.records import (
    at_ms,
    conversation_key,
    due_message,
    ms,
    pack,
    pack_steps,
    plain,
    read_missed,
    read_steps,
    reason_in,
    unpack,
)
from worker.store.schema import DONE, MISSED, RUNNING, WAITING, messages, notes
from worker.store.sql_prune import prune
from worker.store.sql_story import told

__all__ = ["SqlOperator"]

_m, _n = messages.c, notes.c
_RERUN, _DISCARDED = pack_steps([Step("rerun")]), pack_steps([Step("discarded")])


class SqlOperator:
    """The part of a store that every process may ask, whatever it works on."""

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

    # Missed replies.

    def missed(
        self, *, limit: int = 1000, since_s: float | None = None, handled: bool = False
    ) -> list[MissedReply]:
        """See :meth:`Store.missed <worker.store.base.Store.missed>`."""
        when = _m.handled_at if handled else _m.missed_at
        wanted = self._select_missed().where(
            _m.missed_at.is_not(None),
            _m.handled_at.is_not(None) if handled else _m.handled_at.is_(None),
        )
        if since_s is not None:
            wanted = wanted.where(when > self._database.now() - ms(since_s))
        return self._read_missed(wanted.order_by(when.desc()).limit(limit))

    def missed_briefly(
        self, *, limit: int = 1000, since_s: float | None = None
    ) -> list[MissedBriefly]:
        """See :meth:`Store.missed_briefly <worker.store.base.Store.missed_briefly>`."""
        now = self._database.now()
        statement = (
            select(_m.task_id, _m.facts, _m.missed_at)
            .where(_m.missed_at.is_not(None), _m.handled_at.is_(None))
            .where(_m.state == MISSED, _m.expires_at > now)
            .order_by(_m.missed_at.desc())
            .limit(limit)
        )
        if since_s is not None:
            statement = statement.where(_m.missed_at > now - ms(since_s))
        with self._database.one() as connection:
            return [
                MissedBriefly(row.task_id, reason_in(row.facts), at_ms(row.missed_at))
                for row in connection.execute(statement)
            ]

    def find_missed(self, id_: str) -> MissedReply | None:
        """See :meth:`Store.find_missed <worker.store.base.Store.find_missed>`."""
        open_first = self._select_missed().order_by(_m.handled_at.is_not(None))
        found = self._read_missed(open_first.where(_has_id(id_)).limit(1))
        return found[0] if found else None

    def take_missed(
        self, bot: str, conversation_id: str, *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[Lease, MissedReply]]:
        """See :meth:`Store.take_missed <worker.store.base.Store.take_missed>`."""
        kept_for = _m.kept_for == conversation_key(bot, conversation_id)
        # Asked before every answer, when there is nothing as a rule.
        with self._database.one() as connection:
            is_any = connection.execute(select(_m.task_id).where(kept_for).limit(1)).first()
        if is_any is None:
            return []
        oldest = self._select_missed().where(kept_for).order_by(_m.missed_at).limit(limit)
        return self._take(oldest, owner, lease_s)

    def take_missed_one(
        self, task_id: str, *, owner: str, lease_s: float
    ) -> tuple[Lease, MissedReply] | None:
        """See :meth:`Store.take_missed_one <worker.store.base.Store.take_missed_one>`."""
        it = self._select_missed().where(_m.task_id == plain(task_id))
        return next(iter(self._take(it, owner, lease_s)), None)

    def _take(
        self, wanted: Select[Any], owner: str, lease_s: float
    ) -> list[tuple[Lease, MissedReply]]:
        taken = []
        with self._database.transaction() as connection:
            for row in connection.execute(wanted.with_for_update(skip_locked=True)).all():
                until = self._database.now() + ms(lease_s)
                statement = (
                    update(messages)
                    .where(_m.task_id == row.task_id)
                    .values(
                        state=RUNNING, owner=owner, token=_m.token + 1, lease_until=until,
                        due_at=until, outcome=None, was=_m.outcome, expires_at=None,
                        kept_for=None, claimed_at=self._database.now(),
                    )
                    .returning(_m.token)
                )  # fmt: skip
                token = connection.execute(statement).scalar_one()
                taken.append((Lease(row.task_id, owner, token, lease_s), _missed_reply(row)))
        return taken

    def rerun(self, task_id: str, *, hold_s: float) -> DueMessage | None:
        """See :meth:`Store.rerun <worker.store.base.Store.rerun>`."""
        now = self._database.now()
        statement = (
            _missed_one(task_id)
            .where(_m.answer.is_(None), _m.handled_at.is_(None))
            .values(
                state=WAITING, token=_m.token + 1, not_before=now, due_at=now + ms(hold_s),
                outcome=None, missed_at=None, expires_at=None, kept_for=None, rerun=1, attempts=0,
                takeovers=0, crowded=0, **told(now, _RERUN, is_last=True),
            )
            .returning(_m.task_id, _m.envelope)
        )  # fmt: skip
        with self._database.one() as connection:
            row = connection.execute(statement).first()
        return None if row is None else due_message(row.task_id, row.envelope, has_answer=False)

    def discard(self, task_id: str) -> bool:
        """See :meth:`Store.discard <worker.store.base.Store.discard>`."""
        now = self._database.now()
        statement = _missed_one(task_id).values(
            state=DONE, outcome="DROPPED", envelope=None, answer=None, merged=None, missed_at=None,
            handled_at=None, kept_for=None, route=None, work_ms=None, said=None, said_in=None,
            expires_at=now + self._done_ttl,
            **told(now, _DISCARDED, is_last=True),
        )  # fmt: skip
        with self._database.one() as connection:
            return connection.execute(statement).rowcount == 1

    def route(self, bot: str, conversation_id: str) -> dict[str, Any] | None:
        """See :meth:`Store.route <worker.store.base.Store.route>`."""
        newest = (
            select(_m.route)
            .where(
                _m.conversation_id == plain(conversation_id),
                _m.conversation == conversation_key(bot, conversation_id),
                _m.route_until > self._database.now(),
            )
            .order_by(_m.route_until.desc())
            .limit(1)
        )
        with self._database.one() as connection:
            route: dict[str, Any] | None = unpack(connection.execute(newest).scalar_one_or_none())
        return route

    def _select_missed(self) -> Select[Any]:
        columns = (_m.task_id, _m.outcome, _m.facts, _m.missed_at, _m.envelope, _m.answer)
        return select(*columns, _m.merged, _m.sent, _m.in_doubt, _m.handled_at).where(
            _m.state == MISSED, _m.expires_at > self._database.now()
        )

    def _read_missed(self, statement: Select[Any]) -> list[MissedReply]:
        with self._database.one() as connection:
            return [_missed_reply(row) for row in connection.execute(statement)]

    # Stories.

    def story(self, id_: str) -> Story | None:
        """See :meth:`Store.story <worker.store.base.Store.story>`."""
        found = self._read_stories(select(*_OF_STORY).where(_has_id(id_)).limit(1))
        return found[0] if found else None

    def stories(self, conversation_id: str, *, limit: int) -> list[Story]:
        """See :meth:`Store.stories <worker.store.base.Store.stories>`."""
        last = (
            select(*_OF_STORY)
            .where(_m.conversation_id == plain(conversation_id))
            .order_by(_m.known_at.desc())
            .limit(limit)
        )
        return self._read_stories(last)

    def _read_stories(self, statement: Select[Any]) -> list[Story]:
        with self._database.one() as connection:
            return [
                Story(row.task_id, row.state, row.outcome, row.owner, read_steps(row.steps))
                for row in connection.execute(statement)
            ]

    def unfinished(self, *, limit: int = 1000) -> list[Unfinished]:
        """See :meth:`Store.unfinished <worker.store.base.Store.unfinished>`."""
        statement = (
            select(_m.task_id, _m.state, _m.envelope)
            .where(_m.due_at.is_not(None))
            .order_by(_m.due_at)
            .limit(limit)
        )
        with self._database.one() as connection:
            return [
                Unfinished(row.task_id, row.state, unpack(row.envelope))
                for row in connection.execute(statement)
            ]

    def pace(self, *, over_s: float) -> Pace:
        """See :meth:`Store.pace <worker.store.base.Store.pace>`."""
        now = self._database.now()
        # By when they expire, which an index knows.
        last_end = now + self._done_ttl
        done = (_m.expires_at > last_end - ms(over_s), _m.expires_at <= last_end, _m.state == DONE)
        missed = (_m.missed_at > now - ms(over_s), _m.state == MISSED)
        columns = (func.count(_m.work_ms), func.coalesce(func.sum(_m.work_ms), 0))
        with self._database.one() as connection:
            found = [connection.execute(select(*columns).where(*those)) for those in (done, missed)]
            counts, sums = zip(*(row.one() for row in found), strict=True)
        return Pace(sum(counts), float(sum(sums)) / 1000, over_s)

    # Notes.

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """See :meth:`Store.remember <worker.store.base.Store.remember>`."""
        self._note(kind, key, pack(facts), ttl_s, only_if_expired=False)

    def remembered(self, kind: str) -> list[Note]:
        """See :meth:`Store.remembered <worker.store.base.Store.remembered>`."""
        now = self._database.now()
        statement = (
            select(_n.key, _n.facts, (now - _n.noted_at).label("age_ms"))
            .where(_n.kind == kind, _n.expires_at > now)
            .order_by(_n.key)
        )
        with self._database.one() as connection:
            return [
                Note(row.key, unpack(row.facts), row.age_ms / 1000)
                for row in connection.execute(statement)
            ]

    def is_first(self, kind: str, key: str, *, within_s: float) -> bool:
        """See :meth:`Store.is_first <worker.store.base.Store.is_first>`."""
        return self._note(f"first {kind}", key, "{}", within_s, only_if_expired=True)

    def _note(
        self, kind: str, key: str, facts: str, ttl_s: float, *, only_if_expired: bool
    ) -> bool:
        now = self._database.now()
        with self._database.one() as connection:
            is_sqlite = connection.dialect.name == "sqlite"
            insert: Any = sqlite.insert if is_sqlite else postgresql.insert
            new = insert(notes).values(
                kind=kind, key=plain(key), facts=facts, noted_at=now, expires_at=now + ms(ttl_s)
            )
            changed = new.on_conflict_do_update(
                index_elements=[_n.kind, _n.key],
                set_={name: new.excluded[name] for name in ("facts", "noted_at", "expires_at")},
                where=_n.expires_at <= now if only_if_expired else None,
            )
            return connection.execute(changed.returning(_n.key)).first() is not None

    def prune(self) -> int:
        """See :meth:`Store.prune <worker.store.base.Store.prune>`."""
        return prune(self._database)


_OF_STORY = (_m.task_id, _m.state, _m.outcome, _m.owner, _m.steps)


def _has_id(id_: str) -> Any:
    return or_(_m.task_id == plain(id_), _m.message_id == plain(id_))


def _missed_one(task_id: str) -> Update:
    return update(messages).where(_m.task_id == plain(task_id), _m.state == MISSED)


def _missed_reply(row: Row[Any]) -> MissedReply:
    return read_missed(
        task_id=row.task_id,
        state=row.outcome,
        facts=row.facts,
        missed_at=row.missed_at,
        envelope=row.envelope,
        answer=row.answer,
        merged=row.merged,
        sent=row.sent,
        in_doubt=bool(row.in_doubt),
        handled_at=row.handled_at,
    )
