"""How often a step asks the store's server: the numbers in docs/architecture.md."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any

import pytest
from redis import Redis
from redis.commands.core import Script
from sqlalchemy import event

from bench.store_parts import said
from tests.integration.store_place import FakeClock, StorePlace
from worker.store import (
    Claimed,
    Exchange,
    Finished,
    Held,
    Kept,
    Limit,
    Parked,
    Reason,
    Scope,
    Step,
    Store,
    Turn,
)
from worker.store.sql import SqlStore

Counting = Callable[[], AbstractContextManager[list[str]]]

LIMITS = [Limit("webhook", 20, 60, is_dormant=True)]


@pytest.fixture
def counting(store_place: StorePlace, store: Store) -> Iterator[Counting]:
    """A context that lists what the store asks its server meanwhile, by round trips."""
    if isinstance(store, SqlStore):
        engine = store._database.engine
        if engine.dialect.name == "postgresql":
            yield from _of_postgresql(store)
        else:
            yield from _of_sqlite(engine)
    else:
        with Redis.from_url(store_place.url, decode_responses=True) as client:
            for each in vars(store).values():
                if isinstance(each, Script):  # else its first call learns that it is not there
                    client.script_load(each.script)
            yield lambda: _of_redis(client, store_place.prefix)


def _of_sqlite(engine: Any) -> Iterator[Counting]:
    """Count statements; there is no server."""
    statements: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    @contextmanager
    def counting() -> Iterator[list[str]]:
        found: list[str] = []
        already = len(statements)
        yield found
        found += statements[already:]

    yield counting
    event.remove(engine, "before_cursor_execute", note)


def _of_postgresql(store: SqlStore) -> Iterator[Counting]:
    """Count how often the server said that it is ready for more."""
    with tempfile.TemporaryFile("w+") as trace:

        @event.listens_for(store._database.engine, "connect")
        def begin(driver: Any, _: object) -> None:
            driver.pgconn.trace(trace.fileno())

        @contextmanager
        def counting() -> Iterator[list[str]]:
            store.close()  # else it is not connected anew, by a connection that is traced
            found: list[str] = []
            already = _ready(trace)
            yield found
            store.close()  # libpq writes it all
            found += _ready(trace)[len(already) :]

        yield counting
        store.close()


def _ready(trace: IO[str]) -> list[str]:
    trace.seek(0)
    return [line for line in trace if "ReadyForQuery" in line]


@contextmanager
def _of_redis(client: Redis, prefix: str) -> Iterator[list[str]]:
    with client.monitor() as monitor:
        found: list[str] = []
        yield found
        client.echo(f"end of {prefix}")
        for command in monitor.listen():
            if f"end of {prefix}" in command["command"]:
                break
            if prefix in command["command"] and command["client_type"] != "lua":
                found.append(command["command"])


@pytest.fixture
def trips(store_place: StorePlace) -> Callable[..., int]:
    kind = store_place.url.partition("://")[0].partition("+")[0]
    kinds = ("redis", "postgresql", "sqlite")
    return lambda *of_each: of_each[kinds.index(kind)]


def claim(store: Store, number: int = 0, **more: Any) -> Any:
    message = said(1, number)
    options = {
        "turn": Turn("lane", (number, number)),
        "written": (number, number),
        "steps": [Step("received")],
    }
    return store.claim(
        message.task_id,
        owner="me",
        lease_s=15,
        envelope=message.envelope.to_wire(),
        **{**options, **more},
    )


def test_a_message_on_its_usual_way(store, counting, trips):
    with counting() as claiming:
        mine = claim(store)
    assert isinstance(mine, Claimed)
    assert not mine.others_kept, "else it asks for them"
    with counting() as sending:
        told, kept = [Step("sending")], Kept("answer", [Step("agent_ended")])
        store.sending(mine.lease, sent=0, steps=told, limits=LIMITS, kept=kept)
    with counting() as finishing:
        assert store.finish(mine.lease, "SUCCESS", [Step("finished")]) is None

    found = [len(each) for each in (claiming, sending, finishing)]
    assert found == trips([1, 1, 1], [3, 1, 3], [2, 1, 2])


def test_what_follows_one_that_is_known_and_done_waits_for_nothing(store, counting, trips):
    first = claim(store)
    store.finish(first.lease, "SUCCESS")
    after = Turn("lane", (1, 1), after=first.lease.task_id)

    with counting() as claiming:
        assert isinstance(claim(store, 1, turn=after), Claimed)

    assert len(claiming) == trips(1, 3, 2)


def test_a_copy_of_what_is_done_or_in_work(store, counting, trips):
    mine = claim(store)
    with counting() as held:
        assert isinstance(claim(store), Held)
    store.finish(mine.lease, "SUCCESS")
    with counting() as finished:
        assert isinstance(claim(store), Finished)

    assert [len(held), len(finished)] == trips([1, 1], [4, 4], [3, 3])


def test_a_message_that_waits_for_its_turn(store, counting, trips):
    first = claim(store)
    with counting() as parking:
        assert claim(store, 1) == Parked()
    with counting() as handing_over:
        assert store.finish(first.lease, "SUCCESS") is not None
    with counting() as taking:
        assert isinstance(claim(store, 1), Claimed)

    assert [len(each) for each in (parking, handing_over, taking)] == trips(
        [1, 1, 1], [7, 5, 7], [6, 4, 6]
    )


def test_what_is_remembered_with_the_end(store, counting, trips):
    mine = claim(store)
    exchange = Exchange(Scope("robot", "cid"), "you", (0, 0), "said", turns=20, ttl_s=60)
    with counting() as keeping:
        store.keep_answer(mine.lease, "answer", exchange=exchange)
    with counting() as finishing:
        store.finish(mine.lease, "SUCCESS")

    assert [len(keeping), len(finishing)] == trips([1, 1], [1, 7], [1, 5])


def test_what_is_asked_again_and_again(store, counting, trips):
    leases = [claim(store, number, turn=None).lease for number in range(3)]
    with counting() as renewing:
        assert store.renew(leases, lease_s=15) == []
    with counting() as looking:
        assert store.due(limit=10, hold_s=15) == []
    with counting() as asking:
        store.last_stop()
    with counting() as handing_over:
        assert store.take_missed("robot", "cid", owner="me", lease_s=15, limit=1) == []

    assert [len(each) for each in (renewing, looking, asking, handing_over)] == trips(
        [1, 1, 1, 1], [4, 5, 1, 1], [2, 4, 1, 1]
    )


def test_a_miss(store, clock: FakeClock, counting, trips):
    mine = claim(store)
    with counting() as missing:
        store.miss(mine.lease, state="FLAGGED", reason=Reason.THROTTLED, errcode=None, detail="")

    assert len(missing) == trips(1, 6, 4)
