"""The store in Redis: one hash a message, one sorted set a lane, and two by time.

``due`` is what is unfinished, ``missed`` what an operator may want to see.

Made by :func:`worker.store.open_store`. Each step is one script, hence atomic, and reads Redis's
own clock. What is finished expires by itself. Redis must not evict keys
(``maxmemory-policy noeviction``), else messages are forgotten.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from worker.store import lua
from worker.store.base import (
    Claim,
    Claimed,
    DueMessage,
    Finished,
    Held,
    Lease,
    LeaseLostError,
    Merged,
    MissedReply,
    Parked,
    Reason,
    StoreError,
    StoreSchemaError,
    StoreUnavailableError,
    Turn,
)
from worker.store.records import (
    PARK_S,
    conversation_key,
    due_message,
    key_of,
    ms,
    pack,
    pack_facts,
    plain,
    read_missed,
    unpack,
    with_earlier,
)

__all__ = ["RedisStore"]

VERSION = 1

# Threads share these and wait for one: small hosted plans allow about twenty clients in all.
CONNECTIONS = 8
WAIT_S = 30

# What else a Redis says that takes no writes for now: its disk is full, its replicas are away, it
# runs a long script. In the text rather than at its start when a script's step meets it (Redis 6).
_FOR_NOW = re.compile(r"\b(MISCONF|NOREPLICAS|CLUSTERDOWN|MASTERDOWN|READONLY|OOM|BUSY)\b")


class RedisStore:
    """A :class:`~worker.store.base.Store` on Redis 6 or later; all keys start with ``prefix``."""

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
        self._prefix = prefix
        self._record, self._missed_id = f"{prefix}message:", f"{prefix}missed_id:"
        self._lane, self._kept = f"{prefix}lane:", f"{prefix}kept:"
        self._due, self._missed = f"{prefix}due", f"{prefix}missed"
        register = self._redis.register_script
        self._claim, self._renew = register(lua.CLAIM), register(lua.RENEW)
        self._keep_answer, self._sending = register(lua.KEEP_ANSWER), register(lua.SENDING)
        self._release, self._finish = register(lua.RELEASE), register(lua.FINISH)
        self._miss, self._take_missed = register(lua.MISS), register(lua.TAKE_MISSED)
        self._take_due, self._prune = register(lua.DUE), register(lua.PRUNE)

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
    ) -> Claim:
        """See :meth:`Store.claim <worker.store.base.Store.claim>`."""
        content = ["", "", ""]
        if envelope is not None:
            conversation = conversation_key(envelope.get("bot"), envelope.get("conversation_id"))
            content = [pack(envelope), plain(envelope.get("message_id", "")), conversation]
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
        )
        match kind:
            case "held":
                return Held(found[0])
            case "finished":
                return Finished(found[0])
            case "parked":
                return Parked(_next(found[0]))
            case "merged":
                next_ = _next(found[0])
                assert next_ is not None  # noqa: S101, it was put first by the same step
                return Merged(next_, tuple((id_, message_id) for id_, message_id in found[1]))
        token, kept, answer, attempts, takeovers, sent, in_doubt, merged, crowded = found[0]
        return Claimed(
            Lease(task_id, owner, int(token), lease_s),
            with_earlier(kept, merged),
            unpack(answer),
            int(attempts),
            int(takeovers),
            int(sent or 0),
            bool(in_doubt),
            bool(crowded),
        )

    def _turn(self, turn: Turn | None) -> list[str | int]:
        if turn is None:
            return ["", 0, "", "", "", 0, "", ""]
        written_ms, received_us = turn.place
        return [
            f"{self._lane}{key_of(turn.lane)}",
            max(0, written_ms),
            f"{max(0, received_us):017d}",
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

    def keep_answer(self, lease: Lease, answer: str) -> None:
        """See :meth:`Store.keep_answer <worker.store.base.Store.keep_answer>`."""
        self._write(self._keep_answer, lease, [], pack(answer))

    def sending(self, lease: Lease, *, sent: int) -> None:
        """See :meth:`Store.sending <worker.store.base.Store.sending>`."""
        self._write(self._sending, lease, [], sent)

    def release(
        self,
        lease: Lease,
        *,
        due_in_s: float,
        attempts: int | None = None,
        sent: int | None = None,
        in_doubt: bool | None = None,
    ) -> None:
        """See :meth:`Store.release <worker.store.base.Store.release>`."""
        rest = ["" if value is None else int(value) for value in (attempts, sent, in_doubt)]
        self._write(self._release, lease, [self._due], lease.task_id, ms(due_in_s), *rest)

    def finish(self, lease: Lease, outcome: str) -> DueMessage | None:
        """See :meth:`Store.finish <worker.store.base.Store.finish>`."""
        rest = (lease.task_id, outcome, self._done_ttl, ms(lease.length_s))
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
    ) -> DueMessage | None:
        """See :meth:`Store.miss <worker.store.base.Store.miss>`."""
        facts = pack_facts(reason=reason, errcode=errcode, detail=detail)
        kept = self._kept if reason.is_lateness and not in_doubt else ""
        keys = [self._due, self._missed]
        ttls = (self._missed_ttl, ms(lease.length_s))
        doubt = "1" if in_doubt else ""
        rest = (lease.task_id, state, *ttls, facts, self._missed_id, kept, doubt)
        return self._write(self._miss, lease, keys, *rest)

    def take_missed(
        self, bot: str, conversation_id: str, *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[Lease, MissedReply]]:
        """See :meth:`Store.take_missed <worker.store.base.Store.take_missed>`."""
        kept = f"{self._kept}{conversation_key(bot, conversation_id)}"
        keys = [kept, self._due, self._missed]
        taken = self._run(self._take_missed, keys, owner, ms(lease_s), limit, self._missed_id)
        return [
            (Lease(task_id, owner, int(token), lease_s), _missed(task_id, *row))
            for task_id, (token, *row) in taken
        ]

    def due(self, *, limit: int, hold_s: float) -> list[DueMessage]:
        """See :meth:`Store.due <worker.store.base.Store.due>`."""
        taken = self._run(self._take_due, [self._due], limit, ms(hold_s), ms(PARK_S))
        return [due_message(id_, envelope, has_answer=bool(has)) for id_, envelope, has in taken]

    def missed(self, *, limit: int = 1000) -> list[MissedReply]:
        """See :meth:`Store.missed <worker.store.base.Store.missed>`."""
        with self._errors():
            ids: Any = self._redis.zrange(self._missed, 0, limit - 1, desc=True)
        return self._read_missed(ids)

    def find_missed(self, id_: str) -> MissedReply | None:
        """See :meth:`Store.find_missed <worker.store.base.Store.find_missed>`."""
        wanted = plain(id_)
        with self._errors():
            by_message_id = self._redis.get(f"{self._missed_id}{wanted}")
        found = self._read_missed([wanted, *([str(by_message_id)] if by_message_id else [])])
        return found[0] if found else None

    def prune(self) -> int:
        """Forget the ids of missed replies that expired; Redis does the rest by itself."""
        return int(self._run(self._prune, [self._missed], self._missed_ttl))

    def close(self) -> None:
        """See :meth:`Store.close <worker.store.base.Store.close>`."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _key(self, task_id: str) -> str:
        return f"{self._record}{task_id}"

    def _run(self, script: Callable[..., Any], keys: list[str], *values: str | int) -> Any:
        now = "" if self._clock_ms is None else self._clock_ms()
        with self._errors():
            return script(keys=keys, args=[now, self._record, *values])

    def _write(
        self, script: Callable[..., Any], lease: Lease, keys: list[str], *values: str | int
    ) -> DueMessage | None:
        """Write under the lease; return the message the turn went to, if the step gives it up."""
        keys = [self._key(lease.task_id), *keys]
        is_ours, *found = self._run(script, keys, lease.token, *values)
        if not is_ours:
            raise LeaseLostError(lease.task_id)
        return _next(found[0]) if found else None

    def _read_missed(self, task_ids: list[str]) -> list[MissedReply]:
        with self._errors(), self._redis.pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                pipeline.hmget(self._key(task_id), _OF_MISSED)
            rows = pipeline.execute()
        return [
            _missed(task_id, *row)
            for task_id, row in zip(task_ids, rows, strict=True)
            if row[_MISSED_AT] is not None
        ]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (
            redis.ConnectionError,
            redis.TimeoutError,
            redis.ReadOnlyError,
            redis.OutOfMemoryError,
            redis.exceptions.ClusterDownError,
            redis.exceptions.TryAgainError,
        ) as error:
            raise StoreUnavailableError(f"store {self._name} cannot be used: {error}") from error
        except redis.RedisError as error:
            if _FOR_NOW.search(str(error)):
                raise StoreUnavailableError(
                    f"store {self._name} cannot be used: {error}"
                ) from error
            raise StoreError(f"store {self._name} failed: {type(error).__name__}") from error


# As ``lua.TAKE_MISSED`` returns them, too.
_OF_MISSED = ("outcome", "facts", "missed_at", "envelope", "answer", "merged", "sent")
_MISSED_AT = _OF_MISSED.index("missed_at")


def _missed(task_id: str, *row: Any) -> MissedReply:
    state, facts, missed_at, envelope, answer, merged, sent = row
    return read_missed(
        task_id=task_id,
        state=state,
        facts=facts,
        missed_at=int(missed_at),
        envelope=envelope,
        answer=answer,
        merged=merged,
        sent=int(sent or 0),
    )


def _next(found: list[str] | None) -> DueMessage | None:
    return due_message(*found, has_answer=False) if found else None


def _connect(url: str) -> tuple[str, "redis.Redis"]:
    """Return the store's name for errors, and a client that has not connected yet."""
    try:
        parts = urlsplit(url)
        name = f"redis at {parts.hostname or 'localhost'}:{parts.port or 6379}"
        if parts.scheme == "rediss":
            url = _with_certificate_rule(url, parts.query)
        pool = redis.BlockingConnectionPool.from_url(
            url,
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
