"""What operators and processes ask a Redis store, apart from the work on messages.

The half of :class:`worker.store.redis.RedisStore` that holds no lease: missed replies, stories,
notes. And how both reach Redis.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.commands.core import Script
from redis.retry import Retry

from contract.routing import task_id as task_id_of
from worker.store import lua_operator as lua
from worker.store.base import (
    DueMessage,
    Lease,
    MissedBriefly,
    MissedReply,
    Note,
    Pace,
    StoreError,
    StoreUnavailableError,
    Story,
    Unfinished,
)
from worker.store.records import (
    at_ms,
    conversation_key,
    due_message,
    ms,
    pack,
    plain,
    read_missed,
    read_steps,
    reason_in,
    unpack,
)
from worker.store.redis_connections import connection_class

__all__ = ["RedisOperator"]

# Threads share these and wait for one: small hosted plans allow about twenty clients in all.
CONNECTIONS = 8
WAIT_S = 30

# What else a Redis says that takes no writes for now: its disk is full, its replicas are away, it
# runs a long script. In the text rather than at its start when a script's step meets it (Redis 6).
_FOR_NOW = re.compile(r"\b(MISCONF|NOREPLICAS|CLUSTERDOWN|MASTERDOWN|READONLY|OOM|BUSY)\b")


class RedisOperator:
    """The part of a store that every process may ask; all keys start with ``prefix``."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "dingtalk:",
        done_ttl_s: float = 86_400,
        missed_ttl_s: float = 7 * 86_400,
        clock_ms: Callable[[], int] | None = None,
    ) -> None:
        self._name, self._redis = _connect(url)
        self._done_ttl, self._missed_ttl = ms(done_ttl_s), ms(missed_ttl_s)
        self._clock_ms = clock_ms
        self._prefix, self._record = prefix, f"{prefix}message:"
        self._kept, self._note = f"{prefix}kept:", f"{prefix}note:"
        self._due, self._missed = f"{prefix}due", f"{prefix}missed"
        self._handled = f"{prefix}handled"
        register = self._redis.register_script
        self._take_missed = register(lua.TAKE_MISSED)
        self._take_missed_one = register(lua.TAKE_MISSED_ONE)
        self._rerun, self._discard = register(lua.RERUN), register(lua.DISCARD)
        self._remember, self._remembered = register(lua.REMEMBER), register(lua.REMEMBERED)
        self._prune = register(lua.PRUNE)

    # Missed replies.

    def missed(
        self, *, limit: int = 1000, since_s: float | None = None, handled: bool = False
    ) -> list[MissedReply]:
        """See :meth:`Store.missed <worker.store.base.Store.missed>`."""
        index = self._handled if handled else self._missed
        return self._read_missed(self._last(index, limit, since_s))

    def missed_briefly(
        self, *, limit: int = 1000, since_s: float | None = None
    ) -> list[MissedBriefly]:
        """See :meth:`Store.missed_briefly <worker.store.base.Store.missed_briefly>`."""
        rows = self._read_records(
            self._last(self._missed, limit, since_s), ("state", "facts", "missed_at")
        )
        return [
            MissedBriefly(task_id, reason_in(facts), at_ms(int(missed_at)))
            for task_id, (state, facts, missed_at) in rows
            if state == "missed" and facts is not None and missed_at is not None
        ]

    def _last(self, index: str, limit: int, since_s: float | None) -> list[str]:
        """Return the newest ids of an index by time."""
        with self._errors():
            since = "-inf" if since_s is None else f"({self._now_ms() - ms(since_s)}"
            ids: Any = self._redis.zrevrangebyscore(index, "+inf", since, start=0, num=limit)
        return list(ids)

    def find_missed(self, id_: str) -> MissedReply | None:
        """See :meth:`Store.find_missed <worker.store.base.Store.find_missed>`."""
        found = self._read_missed(self._ids(id_))
        return min(found, key=lambda missed: missed.handled_at is not None, default=None)

    def take_missed(
        self, bot: str, conversation_id: str, *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[Lease, MissedReply]]:
        """See :meth:`Store.take_missed <worker.store.base.Store.take_missed>`."""
        kept = f"{self._kept}{conversation_key(bot, conversation_id)}"
        return self._take(self._take_missed, kept, owner, lease_s, limit)

    def take_missed_one(
        self, task_id: str, *, owner: str, lease_s: float
    ) -> tuple[Lease, MissedReply] | None:
        """See :meth:`Store.take_missed_one <worker.store.base.Store.take_missed_one>`."""
        task_id = plain(task_id)
        taken = self._take(self._take_missed_one, self._key(task_id), owner, lease_s, task_id)
        return taken[0] if taken else None

    def _take(
        self, script: Script, key: str, owner: str, lease_s: float, which: str | int
    ) -> list[tuple[Lease, MissedReply]]:
        keys = [key, self._due, self._missed, self._handled]
        taken = self._run(script, keys, self._kept, owner, ms(lease_s), which)
        return [
            (Lease(task_id, owner, int(token), lease_s), _missed(task_id, row))
            for task_id, token, row in taken
        ]

    def rerun(self, task_id: str, *, hold_s: float) -> DueMessage | None:
        """See :meth:`Store.rerun <worker.store.base.Store.rerun>`."""
        task_id = plain(task_id)
        keys = [self._key(task_id), self._due, self._missed]
        values = (task_id, ms(hold_s), self._kept, self._missed_ttl)
        envelope = self._run(self._rerun, keys, *values)
        return None if envelope is None else due_message(task_id, envelope, has_answer=False)

    def discard(self, task_id: str) -> bool:
        """See :meth:`Store.discard <worker.store.base.Store.discard>`."""
        task_id = plain(task_id)
        keys = [self._key(task_id), self._missed, self._handled]
        return bool(self._run(self._discard, keys, task_id, self._done_ttl, self._kept))

    def route(self, bot: str, conversation_id: str) -> dict[str, Any] | None:
        """See :meth:`Store.route <worker.store.base.Store.route>`."""
        key = f"{self._prefix}route:{conversation_key(bot, conversation_id)}"
        with self._errors():
            found: Any = self._redis.hmget(key, "route", "until")
            is_alive = found[1] is not None and int(found[1]) > self._now_ms()
        route: dict[str, Any] | None = unpack(found[0]) if is_alive else None
        return route

    def _read_missed(self, task_ids: list[str]) -> list[MissedReply]:
        rows = self._read_records(task_ids, lua.OF_MISSED)
        return [_missed(task_id, row) for task_id, row in rows if row[_STATE] == "missed"]

    def _read_records(
        self, task_ids: list[str], fields: tuple[str, ...]
    ) -> list[tuple[str, list[str | None]]]:
        with self._errors(), self._redis.pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                pipeline.hmget(self._key(task_id), fields)
            return list(zip(task_ids, pipeline.execute(), strict=True))

    def _ids(self, id_: str) -> list[str]:
        """Return the task ids that a task id, or a message id to any bot, may mean."""
        wanted = plain(id_)
        return [wanted, *(task_id_of(bot, wanted) for bot in self._bots())]

    def _bots(self) -> list[str]:
        with self._errors():
            bots: Any = self._redis.smembers(f"{self._prefix}bots")
        return sorted(bots)

    def _learn_bots(self) -> None:
        """Note the bots of missed replies that a release has left which noted none."""
        with self._errors():
            if self._redis.exists(f"{self._prefix}bots"):
                return
        bots = {missed.bot for missed in self.missed() if missed.bot}
        if bots:
            with self._errors():
                self._redis.sadd(f"{self._prefix}bots", *sorted(bots))

    # Stories.

    def story(self, id_: str) -> Story | None:
        """See :meth:`Store.story <worker.store.base.Store.story>`."""
        return next(iter(self._read_stories(self._ids(id_))), None)

    def stories(self, conversation_id: str, *, limit: int) -> list[Story]:
        """See :meth:`Store.stories <worker.store.base.Store.stories>`."""
        last: list[tuple[str, float]] = []
        with self._errors():
            for bot in self._bots():
                key = f"{self._prefix}conversation:{conversation_key(bot, conversation_id)}"
                found: Any = self._redis.zrange(key, 0, limit - 1, desc=True, withscores=True)
                last += found
        last.sort(key=lambda each: each[1], reverse=True)
        return self._read_stories([task_id for task_id, _ in last[:limit]])

    def _read_stories(self, task_ids: list[str]) -> list[Story]:
        rows = self._read_records(task_ids, ("state", "outcome", "owner", "steps"))
        return [
            Story(task_id, state or "done", outcome, owner, read_steps(steps))
            for task_id, (state, outcome, owner, steps) in rows
            if state or outcome
        ]

    def unfinished(self, *, limit: int = 1000) -> list[Unfinished]:
        """See :meth:`Store.unfinished <worker.store.base.Store.unfinished>`."""
        with self._errors():
            ids: Any = self._redis.zrange(self._due, 0, limit - 1)
        rows = self._read_records(ids, ("state", "envelope"))
        return [
            Unfinished(task_id, state, unpack(envelope))
            for task_id, (state, envelope) in rows
            if state is not None and envelope is not None
        ]

    def pace(self, *, over_s: float) -> Pace:
        """See :meth:`Store.pace <worker.store.base.Store.pace>`; in steps of ten seconds."""
        with self._errors(), self._redis.pipeline(transaction=False) as pipeline:
            last = self._now_ms() // 10_000
            for tens in range(last - int(over_s // 10) + 1, last + 1):
                pipeline.hmget(f"{self._prefix}pace:{tens}", "n", "ms")
            found = pipeline.execute()
        finished = sum(int(n or 0) for n, _ in found)
        return Pace(finished, sum(int(took or 0) for _, took in found) / 1000, over_s)

    # Notes.

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """See :meth:`Store.remember <worker.store.base.Store.remember>`."""
        keys = [f"{self._note}{kind}:{plain(key)}", f"{self._note}{kind}"]
        self._run(self._remember, keys, plain(key), pack(facts), ms(ttl_s))

    def remembered(self, kind: str) -> list[Note]:
        """See :meth:`Store.remembered <worker.store.base.Store.remembered>`."""
        found = self._run(self._remembered, [f"{self._note}{kind}"], f"{self._note}{kind}:")
        return [Note(key, unpack(facts), int(age) / 1000) for key, facts, age in sorted(found)]

    def is_first(self, kind: str, key: str, *, within_s: float) -> bool:
        """See :meth:`Store.is_first <worker.store.base.Store.is_first>`."""
        with self._errors():
            name = f"{self._prefix}first:{kind}:{plain(key)}"
            return bool(self._redis.set(name, 1, nx=True, px=ms(within_s)))

    def prune(self) -> int:
        """Forget the ids of missed replies that expired; Redis does the rest by itself."""
        return int(self._run(self._prune, [self._missed, self._handled], self._missed_ttl))

    def _key(self, task_id: str) -> str:
        return f"{self._record}{task_id}"

    def _now_ms(self) -> int:
        if self._clock_ms is not None:
            return self._clock_ms()
        time: Any = self._redis.time()
        return int(time[0]) * 1000 + int(time[1]) // 1000

    def _run(self, script: Script, keys: list[str], *values: str | int) -> Any:
        """Run a script as the client does, without what it does for commands of other kinds."""
        now = "" if self._clock_ms is None else self._clock_ms()
        arguments = [len(keys), *keys, now, self._record, *values]
        pool = self._redis.connection_pool
        with self._errors():
            connection = pool.get_connection()
            try:
                return connection.retry.call_with_retry(
                    lambda: _run_by(connection, script, arguments),
                    lambda _: connection.disconnect(),  # type: ignore[no-untyped-call]
                )
            finally:
                pool.release(connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.AuthenticationError as error:
            raise StoreUnavailableError(
                f"store {self._name} refused the login; correct user and password in STORE_URL, "
                "or the add-on's variable"
            ) from error
        except (
            redis.ConnectionError,
            redis.TimeoutError,
            redis.ReadOnlyError,
            redis.OutOfMemoryError,
            redis.exceptions.ClusterDownError,
            redis.exceptions.TryAgainError,
        ) as error:
            why = str(error).rstrip(".")
            raise StoreUnavailableError(f"store {self._name} cannot be used: {why}") from error
        except redis.RedisError as error:
            why = str(error).rstrip(".")
            if _FOR_NOW.search(why):
                raise StoreUnavailableError(f"store {self._name} cannot be used: {why}") from error
            if "DB index" in why:
                raise StoreError(
                    f"store {self._name} has no database of this number; correct the end of "
                    "STORE_URL"
                ) from error
            raise StoreError(f"store {self._name} failed: {type(error).__name__}") from error


def _run_by(connection: Any, script: Script, arguments: list[str | int]) -> Any:
    connection.send_command("EVALSHA", script.sha, *arguments)
    try:
        return connection.read_response()
    except redis.exceptions.NoScriptError:  # the first time, or after a restart of Redis
        connection.send_command("EVAL", script.script, *arguments)
        return connection.read_response()


_STATE = lua.OF_MISSED.index("state")


def _missed(task_id: str, row: list[Any]) -> MissedReply:
    state, facts, missed_at, envelope, answer, merged, sent, in_doubt, handled_at, _ = row
    return read_missed(
        task_id=task_id,
        state=state,
        facts=facts,
        missed_at=int(missed_at),
        envelope=envelope,
        answer=answer,
        merged=merged,
        sent=int(sent or 0),
        in_doubt=bool(in_doubt),
        handled_at=None if handled_at is None else int(handled_at),
    )


def _connect(url: str) -> tuple[str, "redis.Redis"]:
    """Return the store's name for errors, and a client that has not connected yet."""
    try:
        parts = urlsplit(url)
        name = f"redis at {parts.hostname or 'localhost'}:{parts.port or 6379}"
        if parts.scheme == "rediss":
            url = _with_certificate_rule(url, parts.query)
        pool = redis.BlockingConnectionPool.from_url(
            url,
            connection_class=connection_class(parts.scheme),
            decode_responses=True,
            max_connections=CONNECTIONS,
            timeout=WAIT_S,
            socket_connect_timeout=5,
            socket_timeout=10,
            socket_keepalive=True,
            health_check_interval=25,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
        )
    except ValueError:
        # The cause would show the URL and with it the password.
        raise StoreError("store URL cannot be read; is its password percent-encoded?") from None
    return name, redis.Redis(connection_pool=pool)


def _with_certificate_rule(url: str, query: str) -> str:
    """Return the URL with ``ssl_cert_reqs`` as the client spells it.

    Without one the server's certificate is not checked: those of hosted Redis are self-signed.
    """
    rules = parse_qs(query).get("ssl_cert_reqs")
    if rules is None:
        return f"{url}{'&' if query else '?'}ssl_cert_reqs=none"
    rule = rules[0].lower().removeprefix("cert_")  # Celery writes CERT_NONE
    if rule not in {"none", "optional", "required"}:
        raise StoreError(f"ssl_cert_reqs in the store URL is {rule!r}; use none or required")
    return url.replace(f"ssl_cert_reqs={rules[0]}", f"ssl_cert_reqs={rule}")
