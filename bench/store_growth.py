"""Is a message slower when the store knows very many conversations, and how much is kept of it?

Redis, PostgreSQL and SQLite, each with a hundred conversations and with a hundred thousand, all
with a finished message: new messages go through both in turn, by the steps of a worker. Then all is
forgotten, and as much comes again.
"""

import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from bench.place import Place
from bench.rows import Goal, Row
from bench.store_parts import fill, finish, said
from tests.servers import redis, wait_for
from worker.store import Store, open_store
from worker.store.redis import RedisStore
from worker.store.sql import SqlStore

__all__ = ["FINISHED", "run"]

# Rows that docs/scaling.md is reckoned from (bench/scaling.py).
FINISHED = "store: kept of a finished message, for a day"

_FEW, _MANY = 100, 100_000
_FEWER = "100 conversations"
_MESSAGES = 100  # in a round, in each store
_PASSED_S = 8 * 86_400.0  # after so long everything is over
_PASSING = 10_000  # so many expire in Redis, by its own clock


@dataclass(frozen=True)
class _Kind:
    """A kind of store: the addresses of two, and how much there is in one."""

    name: str
    urls: tuple[str, str]
    size: Callable[[str], int]


def run(place: Place) -> Iterator[Row]:
    """Measure each kind of store by itself."""
    for kind in (_redis, _postgresql, _sqlite):
        with kind(place) as it:
            yield from _grown(it, place.rounds)


@contextmanager
def _redis(place: Place) -> Iterator[_Kind]:
    with redis(place.folder()) as few, redis(place.folder()) as many:
        yield _Kind("redis", (few, many), _memory_of)


@contextmanager
def _postgresql(place: Place) -> Iterator[_Kind]:
    url = place.postgresql()
    names = ("few", "many")
    with psycopg.connect(url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
    few, many = (f"{url.rpartition('/')[0]}/{name}" for name in names)
    yield _Kind("postgresql", (few, many), _tables_of)


@contextmanager
def _sqlite(place: Place) -> Iterator[_Kind]:
    few, many = (f"sqlite:///{place.folder()}/store.db" for _ in range(2))
    yield _Kind("sqlite", (few, many), _file_of)


def _memory_of(url: str) -> int:
    with closing(open_store(url)) as store:
        assert isinstance(store, RedisStore)
        keys: Any = store._redis
        # It has much to write down anew after so much at once, by a process that takes a core.
        is_busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        wait_for(
            lambda: not any(keys.info("persistence")[each] for each in is_busy),
            what="Redis to have it all on disk",
        )
        info = keys.info("memory")
        # What waits to be written to disk, or is of a client, is no message's.
        return int(info["used_memory"] - info["mem_aof_buffer"] - info["mem_clients_normal"])


def _tables_of(url: str) -> int:
    ours = "FROM pg_class WHERE relkind = 'r' AND relname LIKE 'dingtalk%'"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")  # as the server itself does by and by
        found = connection.execute(f"SELECT sum(pg_total_relation_size(oid)) {ours}").fetchone()
    assert found is not None
    return int(found[0])


def _file_of(url: str) -> int:
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:  # what is on its way into the file, too
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(path).stat().st_size


def _grown(kind: _Kind, rounds: int) -> Iterator[Row]:
    with ExitStack() as opened:
        few, many = (opened.enter_context(closing(open_store(url))) for url in kind.urls)
        few.prepare()
        many.prepare()
        empty = kind.size(kind.urls[1])
        fill(few, _FEW)
        fill(many, _MANY)
        full = kind.size(kind.urls[1])
        kind.size(kind.urls[0])
        yield _speed(kind, few, many, rounds)
        note = "its conversation's and its webhook, which is kept for 90 minutes, among it"
        if kind.name == "postgresql":
            note += "; row versions before it take up to a third more until they are vacuumed"
        yield Row.of(FINISHED, kind.name, "bytes", [(full - empty) / _MANY], note=note)
        if isinstance(many, SqlStore):
            yield _forgotten(kind, many, full)
        elif isinstance(many, RedisStore):
            yield _expired(kind, few)


def _speed(kind: _Kind, few: Store, many: Store, rounds: int) -> Row:
    """Let messages go through both, one here, one there."""
    pick, numbers = random.Random(1), count(1)
    stores = ((few, _FEW), (many, _MANY))
    p50s: tuple[list[float], list[float]] = ([], [])
    for n in range(rounds + 1):
        took_ms: tuple[list[float], list[float]] = ([], [])
        for _ in range(_MESSAGES):
            for times, (store, conversations) in zip(took_ms, stores, strict=True):
                message = said(pick.randrange(conversations), next(numbers))
                since = time.perf_counter()
                finish(store, message)
                times.append((time.perf_counter() - since) * 1000)
        if n:  # the first is to get warm
            for each, times in zip(p50s, took_ms, strict=True):
                each.append(statistics.median(times))
    what = f"store with {_MANY} conversations: claim, turn, keep and finish a message, p50"
    return Row.of(what, kind.name, "ms", p50s[1], {_FEWER: p50s[0]}, goal=Goal("<=", 1.2, _FEWER))


def _forgotten(kind: _Kind, many: SqlStore, full: int) -> Row:
    """Have it all forgotten, by a clock that is ahead, and as much come again."""
    url = kind.urls[1]

    def later() -> int:
        return int((time.time() + _PASSED_S) * 1000)

    with closing(open_store(url, clock_ms=later)) as sweeper:
        since, parts = time.monotonic(), 1
        while sweeper.prune():
            parts += 1
        took_s = time.monotonic() - since
    kind.size(url)
    fill(many, _MANY)
    what = "store: size after all is forgotten and as much has come again"
    note = f"forgotten in {parts} parts of {took_s / parts:.2f} s"
    first = {"first time": [full / 1e6]}
    again = [kind.size(url) / 1e6]
    goal = Goal("<=", 1.2, "first time")
    return Row.of(what, kind.name, "MB", again, first, goal=goal, note=note)


def _expired(kind: _Kind, few: RedisStore | Store) -> Row:
    """Let messages come that are soon over, webhooks and all."""
    url = kind.urls[0]
    before = kind.size(url)
    keys: Any = few._redis if isinstance(few, RedisStore) else None
    known = keys.dbsize()
    with closing(open_store(url, done_ttl_s=10, missed_ttl_s=10)) as brief:
        old = datetime.now(UTC) - timedelta(minutes=90, seconds=-25)
        fill(brief, _PASSING, first=_MANY, now=old)
        with_them = kind.size(url)
        wait_for(lambda: keys.dbsize() <= known + 1, what="what is over to expire")
        brief.prune()
    what = f"store: memory after {_PASSING} messages more are over"
    note = f"with them {with_them / 1e6:.1f} MB"
    goal = Goal("<=", 1.2, "before them")
    after, first = [kind.size(url) / 1e6], {"before them": [before / 1e6]}
    return Row.of(what, kind.name, "MB", after, first, goal=goal, note=note)
