"""The store in Redis: one hash a message, one sorted set a lane, and two by time.

``due`` is what is unfinished, ``missed`` what an operator may want to see.

Made by :func:`worker.store.open_store`. Each step is one script, hence atomic, and reads Redis's
own clock. What is finished expires by itself. Redis must not evict keys
(``maxmemory-policy noeviction``), else messages are forgotten. What operators ask is in
``redis_operator.py``, what limits all processes together in ``redis_limits.py``, how a conversation
is stopped in ``redis_stopping.py``, what was said in ``redis_memory.py``.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from redis.commands.core import Script

from worker.store import lua, lua_limits, lua_operator
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
    Merged,
    Parked,
    Reason,
    Step,
    StoppedEarly,
    StoreError,
    StoreSchemaError,
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
    packed_place,
    plain,
    read_taken,
    route_of,
    unpack,
    with_earlier,
)
from worker.store.redis_limits import told_of
from worker.store.redis_memory import RedisMemory
from worker.store.redis_stopping import next_in

__all__ = ["RedisStore"]

VERSION = 1


class RedisStore(RedisMemory):
    """A :class:`~worker.store.base.Store` on Redis 6 or later."""

    def __init__(self, url: str, **options: Any) -> None:
        """Prepare; nothing is connected to yet. ``options`` as for the base."""
        super().__init__(url, **options)
        self._lane = f"{self._prefix}lane:"
        register = self._redis.register_script
        self._claim, self._renew = register(lua.CLAIM), register(lua.RENEW)
        self._keep_answer, self._sending = register(lua.KEEP_ANSWER), register(lua_limits.SENDING)
        self._release, self._finish = register(lua.RELEASE), register(lua.FINISH)
        self._miss, self._settle = register(lua.MISS), register(lua_operator.SETTLE)
        self._take_due = register(lua.DUE)

    def __repr__(self) -> str:
        return f"<RedisStore {self._name}>"

    def prepare(self) -> None:
        """See :meth:`Store.prepare <worker.store.base.Store.prepare>`."""
        key = f"{self._prefix}schema"
        with self._errors():
            self._redis.set(key, VERSION, nx=True)
            version = int(str(self._redis.get(key)))
        if version > VERSION:
            raise StoreSchemaError(
                f"store has schema version {version}, this release knows up to {VERSION}: "
                "deploy the newer release"
            )
        self._learn_bots()

    def check(self) -> None:
        """See :meth:`Store.check <worker.store.base.Store.check>`."""
        key = f"{self._prefix}check:{uuid.uuid4()}"
        with self._errors():
            self._redis.set(key, "written", ex=60)
            found = self._redis.get(key)
            self._redis.delete(key)
        if found != "written":
            raise StoreError(f"store {self._name} forgot what was written")

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
        content, route, bot = ["", "", ""], ("", 0), ""
        if envelope is not None:
            bot = plain(envelope.get("bot", ""))
            conversation = conversation_key(envelope.get("bot"), envelope.get("conversation_id"))
            content = [pack(envelope), plain(envelope.get("message_id", "")), conversation]
            route = route_of(envelope)
        kind, *found = self._run(
            self._claim,
            [self._key(task_id), self._due],
            task_id,
            owner,
            ms(lease_s),
            *content,
            *self._turn(turn),
            self._done_ttl,
            ms(PARK_S),
            pack_steps(steps),
            pack({"owner": owner}),
            bot,
            *route,
            self._missed_ttl,
            *(("", "") if written is None else packed_place(written)),
        )
        match kind:
            case "held":
                return Held(found[0])
            case "finished":
                return Finished(found[0])
            case "parked":
                return Parked(next_in(found[0]))
            case "stopped":
                return StoppedEarly(unpack(found[0]), next_in(found[1]))
            case "merged":
                next_ = next_in(found[0])
                assert next_ is not None  # noqa: S101, it was put first by the same step
                return Merged(next_, tuple((id_, message_id) for id_, message_id in found[1]))
        token, kept, answer, attempts, takeovers, sent, in_doubt, merged, *marks = found[0]
        crowded, rerun, was, facts, handled_at, _ = marks
        return Claimed(
            Lease(task_id, owner, int(token), lease_s),
            # Of a message that was not known before, what the task carried.
            envelope if kept is None and envelope is not None else with_earlier(kept, merged),
            unpack(answer),
            int(attempts),
            int(takeovers),
            int(sent or 0),
            bool(in_doubt),
            bool(crowded),
            bool(rerun),
            read_taken(was, facts, is_handled=handled_at is not None),
            others_kept=bool(found[1]),
        )

    def _turn(self, turn: Turn | None) -> list[str | int]:
        if turn is None:
            return ["", 0, "", "", "", 0, "", ""]
        return [
            f"{self._lane}{key_of(turn.lane)}",
            *packed_place(turn.place),
            key_of(turn.sender),
            turn.after or "",
            ms(turn.wait_s),
            "" if turn.max_waiting is None else turn.max_waiting,
            "1" if turn.merge else "",
        ]

    def renew(self, leases: Sequence[Lease], *, lease_s: float) -> list[Lease]:
        """See :meth:`Store.renew <worker.store.base.Store.renew>`."""
        keys = [self._due, *(self._key(lease.task_id) for lease in leases)]
        pairs = [part for lease in leases for part in (lease.task_id, lease.token)]
        return [leases[i] for i in self._run(self._renew, keys, ms(lease_s), *pairs)]

    def keep_answer(
        self,
        lease: Lease,
        answer: str,
        steps: Sequence[Step] = (),
        *,
        exchange: Exchange | None = None,
    ) -> None:
        """See :meth:`Store.keep_answer <worker.store.base.Store.keep_answer>`."""
        rest = (pack(answer), pack_steps(steps), *pack_exchange(exchange))
        self._write(self._keep_answer, lease, [], *rest)

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
        keys = [self._key(lease.task_id), *self._limit_keys(limits)]
        answer: tuple[str, ...] = ("", "", "", "")
        if kept is not None:
            told, said = pack_steps(kept.steps), pack_exchange(kept.exchange)
            answer, steps = (pack(kept.answer), told, *said), [*kept.steps, *steps]
        values = (lease.token, sent, pack_steps(steps), *answer, *told_of(limits))
        is_ours, wait_ms = self._run(self._sending, keys, *values)
        if not is_ours:
            raise LeaseLostError(lease.task_id)
        return int(wait_ms) / 1000

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
        rest = ["" if value is None else int(value) for value in (attempts, sent, in_doubt)]
        told = pack_steps(steps)
        self._write(self._release, lease, [self._due], lease.task_id, ms(due_in_s), *rest, told)

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
        ttls = (self._done_ttl, ms(lease.length_s))
        flags = ("1" if paced else "", "1" if has_arrived(outcome) else "")
        said = pack_exchange(exchange)
        rest = (lease.task_id, outcome, *ttls, pack_steps(steps), *flags, *said)
        return self._write(self._finish, lease, [self._due], *rest)

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
        facts = pack_facts(reason=reason, errcode=errcode, detail=detail)
        may_be_sent = reason.is_lateness and not in_doubt and not by_hand_only
        kept = self._kept if may_be_sent else ""
        keys = [self._due, self._missed]
        ttls = (self._missed_ttl, ms(lease.length_s))
        doubt = "1" if in_doubt else ""
        rest = (lease.task_id, state, *ttls, facts, kept, doubt, pack_steps(steps))
        return self._write(self._miss, lease, keys, *rest)

    def settle(self, lease: Lease, outcome: str, steps: Sequence[Step] = ()) -> None:
        """See :meth:`Store.settle <worker.store.base.Store.settle>`."""
        told = (pack_steps(steps), "1" if has_arrived(outcome) else "")
        rest = (lease.task_id, outcome, self._missed_ttl, *told)
        self._write(self._settle, lease, [self._due, self._handled], *rest)

    def due(self, *, limit: int, hold_s: float) -> list[DueMessage]:
        """See :meth:`Store.due <worker.store.base.Store.due>`."""
        taken = self._run(self._take_due, [self._due], limit, ms(hold_s), ms(PARK_S))
        return [
            due_message(id_, envelope, has_answer=bool(has), attempts=int(attempts or 0))
            for id_, envelope, has, attempts in taken
        ]

    def close(self) -> None:
        """See :meth:`Store.close <worker.store.base.Store.close>`."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _write(
        self, script: Script, lease: Lease, keys: list[str], *values: str | int
    ) -> DueMessage | None:
        """Write under the lease; return the message the turn went to, if the step gives it up."""
        keys = [self._key(lease.task_id), *keys]
        is_ours, *found = self._run(script, keys, lease.token, *values)
        if not is_ours:
            raise LeaseLostError(lease.task_id)
        return next_in(found[0]) if found else None
