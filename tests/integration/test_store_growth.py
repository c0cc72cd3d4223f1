"""A store with very many conversations: nothing is looked for all over, nothing stays for ever."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, inspect, text

from bench.store_parts import BOT, Said, fill, finish, said
from tests.integration.store_place import FakeClock, StorePlace
from tests.servers import wait_for
from worker.store import Claimed, Exchange, Limit, Reason, Scope, Store, Turn
from worker.store.redis import RedisStore
from worker.store.schema import metadata, notes
from worker.store.sql import SqlStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)


# What many are made of.


def shape_of(store: Store, message: Said) -> dict[str, Any]:
    """Return what the store keeps of a message: everything that is as long, whatever its ids."""
    if isinstance(store, SqlStore):
        return _shape_of_rows(store, message)
    assert isinstance(store, RedisStore)
    redis: Any = store._redis
    keys = [
        key
        for key in redis.scan_iter(f"{store._prefix}*")
        if any(id_ in key for id_ in message.ids)
    ]
    return dict(sorted(_shape_of_key(redis, key, message, store._prefix) for key in keys))


def _shape_of_key(redis: Any, key: str, message: Said, prefix: str) -> tuple[str, Any]:
    name = key.removeprefix(prefix)
    for number, id_ in enumerate(message.ids):
        name = name.replace(id_, f"<{number}>")
    kind = redis.type(key)
    if kind == "hash":
        return name, {field: len(value) for field, value in redis.hgetall(key).items()}
    members = redis.zrange(key, 0, -1) if kind == "zset" else redis.smembers(key)
    return name, [kind, sorted(map(len, members)), redis.pttl(key) > 0]


def _shape_of_rows(store: SqlStore, message: Said) -> dict[str, Any]:
    found = {}
    with store._database.one() as connection:
        for table in metadata.sorted_tables:
            if "task_id" in table.c:
                rows = connection.execute(table.select().where(table.c.task_id == message.task_id))
                found[table.name] = [
                    {k: len(v) if isinstance(v, str) else v for k, v in row._mapping.items()}
                    for row in rows
                ]
    return found


def test_copies_are_what_the_real_steps_leave_behind(store_place, clock: FakeClock):
    store = store_place.open(clock_ms=clock)
    store.prepare()
    now = datetime.fromtimestamp(clock.now_ms / 1000, UTC)
    real, template, copy = (said(number, now=now) for number in (10, 0, 2))
    finish(store, real, remembers=True)

    fill(store, 3, remembers=True, now=now)

    assert shape_of(store, copy) == shape_of(store, template) == shape_of(store, real)
    assert [len(i) for i in copy.ids] == [len(i) for i in real.ids]
    story = store.story(copy.envelope.message_id)
    assert story is not None
    assert story.steps[0].facts["message_id"] == copy.envelope.message_id
    route = store.route(BOT, copy.envelope.conversation_id)
    assert route is not None
    assert route["message_id"] == copy.envelope.message_id
    memory = store.exchanges(
        Scope(BOT, copy.envelope.conversation_id), before=(10**15, 0), turns=5, within_s=60
    )
    assert len(memory) == 1
    store.close()


# Indexes.


@pytest.fixture(params=["postgresql", "sqlite"])
def sql_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """A store with very many of everything, on its own clock."""
    kind = request.param
    place: StorePlace = request.getfixturevalue("sql_places")(kind)
    store = place.open()
    assert isinstance(store, SqlStore)
    store.prepare()
    fill(store, 5_000, remembers=True)
    row = {"facts": "{}", "noted_at": 0, "expires_at": 10**15}
    with store._database.transaction() as connection:
        connection.execute(
            insert(notes), [{"kind": "limit", "key": f"key {n}", **row} for n in range(5_000)]
        )
    with store._database.one() as connection:
        connection.execute(text("ANALYZE"))
    yield store
    store.close()


def everything_a_worker_asks(store: SqlStore) -> None:
    """Do what workers do all day, by whatever way it goes."""

    def claim(number: int, **more: Any) -> Any:
        message = said(1, number, now=NOW)
        options: dict[str, Any] = {"turn": Turn("lane", (number, number)), **more}
        return store.claim(
            message.task_id,
            owner="me",
            lease_s=60,
            envelope=message.envelope.to_wire(),
            written=(number, number),
            **options,
        )

    finish(store, said(1, 1), remembers=True)
    first = claim(2)
    assert isinstance(first, Claimed)
    waits = Turn("lane", (3, 3), after=first.lease.task_id, max_waiting=9, merge=True)
    claim(3, turn=waits)
    claim(4, turn=Turn("lane", (4, 4), merge=True))
    claim(2)
    store.renew([first.lease], lease_s=60)
    store.renew([first.lease, first.lease], lease_s=60)
    store.keep_answer(first.lease, "answer")
    store.sending(first.lease, sent=0, limits=[Limit("key 1", 1, 60, is_dormant=True)])
    store.sending(first.lease, sent=0, limits=[Limit("key 2", 9, 60)])
    store.release(first.lease, due_in_s=0)
    store.due(limit=10, hold_s=60)
    again = claim(2)
    late: dict[str, Any] = {
        "state": "FLAGGED",
        "reason": Reason.THROTTLED,
        "errcode": None,
        "detail": "",
    }
    store.miss(again.lease, **late)
    claim(3, turn=waits)
    conversation_id = said(1).envelope.conversation_id
    ((taken, _),) = store.take_missed(BOT, conversation_id, owner="me", lease_s=60, limit=1)
    store.settle(taken, "SUCCESS")
    store.open_in(BOT, conversation_id)
    store.stop(BOT, conversation_id, before=(10**15, 0), facts={"by": "x"}, hold_s=60)
    store.last_stop()
    scope = Scope(BOT, conversation_id)
    store.exchanges(scope, before=(10**15, 0), turns=20, within_s=60)
    store.forget(bot=BOT, conversation_id=conversation_id)
    store.missed()
    store.missed_briefly(since_s=60)
    store.find_missed("unknown")
    store.take_missed_one("unknown", owner="me", lease_s=60)
    store.rerun("unknown", hold_s=60)
    store.discard("unknown")
    store.route(BOT, conversation_id)
    store.story(said(1, 1).envelope.message_id)
    store.stories(conversation_id, limit=10)
    store.unfinished()
    store.pace(over_s=60)
    store.remember("kind", "key", {}, ttl_s=60)
    store.remembered("kind")
    store.recalled("kind", "key")
    store.is_first("kind", "key", within_s=60)
    store.count_up("kind", "key", ttl_s=60)
    store.admit([Limit("key 3", 9, 60)])
    store.hold_back("key 4", for_s=60)
    store.prune()


def test_no_statement_of_a_worker_reads_a_whole_table(sql_store):
    asked: dict[str, Any] = {}

    @event.listens_for(sql_store._database.engine, "before_cursor_execute")
    def note(*arguments: Any) -> None:
        if "dingtalk_" in arguments[2]:
            asked[arguments[2]] = arguments[3]

    everything_a_worker_asks(sql_store)
    event.remove(sql_store._database.engine, "before_cursor_execute", note)

    assert len(asked) > 50
    plans = {statement: _plan(sql_store, statement, asked[statement]) for statement in asked}
    assert {s: plan for s, plan in plans.items() if _whole(plan)} == {}


def _plan(store: SqlStore, statement: str, values: Any) -> list[str]:
    is_sqlite = store._database.is_sqlite
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    with store._database.one() as connection:
        found = connection.exec_driver_sql(f"{explain} {statement}", values)
        return [row[-1] for row in found]


def _whole(plan: list[str]) -> list[str]:
    """Return where a table is read that grows; those of one row do not."""
    return [
        line
        for line in plan
        if ("Seq Scan on dingtalk" in line or line.startswith("SCAN dingtalk"))
        and "dingtalk_sweep" not in line
        and "_due" not in line  # of what is unfinished only
        and "_missed" not in line  # of what was missed only
    ]


# Retention.


def live(store: Store) -> None:
    """Leave behind something of every kind, which is soon over."""
    # Their webhooks, too: they are 90 minutes old in a moment.
    now = datetime.now(UTC) - timedelta(minutes=90, seconds=-15.2)
    for number in range(5):
        message = said(2, number, now=now)
        claimed = store.claim(
            message.task_id,
            owner="me",
            lease_s=60,
            envelope=message.envelope.to_wire(),
            turn=Turn("lane", (number, number)),
            written=(number, number),
        )
        if number < 2:
            assert isinstance(claimed, Claimed)
            scope = Scope(BOT, message.envelope.conversation_id)
            exchange = Exchange(scope, "you", (1, 1), "said", turns=5, ttl_s=0.05)
            store.keep_answer(claimed.lease, "answer", exchange=exchange)
            reason = Reason.THROTTLED
            if number:
                store.finish(claimed.lease, "SUCCESS")
            else:
                store.miss(claimed.lease, state="FLAGGED", reason=reason, errcode=None, detail="")
    conversation_id = said(2).envelope.conversation_id
    store.stop(BOT, conversation_id, before=(10**15, 0), facts={"by": "x"}, hold_s=60)
    store.forget(bot=BOT, conversation_id="another")
    store.remember("kind", "key", {}, ttl_s=0.05)
    store.is_first("kind", "key", within_s=0.05)
    store.count_up("kind", "key", ttl_s=0.05)
    store.admit([Limit("key", 1, 0.05)])
    store.hold_back("other", for_s=0.05)


def test_of_what_is_over_nothing_stays(store_place):
    """Whatever it was: one row or key of each thing that there is one of, and no more."""
    store = store_place.open(done_ttl_s=0.05, missed_ttl_s=0.05)
    store.prepare()
    store.due(limit=1, hold_s=60)
    before = left(store)
    live(store)
    assert left(store) != before

    def is_all_gone() -> bool:
        store.prune()
        store.remembered("kind")
        return bool(left(store) == before)

    wait_for(is_all_gone, what="everything to be forgotten")
    store.close()


def left(store: Store) -> Any:
    """Return how many records there are of each kind, save what there is one of."""
    if isinstance(store, SqlStore):
        with store._database.one() as connection:
            tables = inspect(connection).get_table_names()
            count = {
                name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
                for name in sorted(tables)
            }
            once = "SELECT count(*) FROM dingtalk_notes WHERE kind = 'stops'"
            count["dingtalk_notes"] -= connection.execute(text(once)).scalar_one()
            return count
    assert isinstance(store, RedisStore)
    redis: Any = store._redis
    found = {key.removeprefix(store._prefix) for key in redis.scan_iter(f"{store._prefix}*")}
    # One for each bot, and figures of the last hour; neither grows by messages.
    return {key for key in found - {"bots", "stops"} if not key.startswith("pace:")}


# One each, and what PRUNE and REMEMBER go through.
_ENDLESS = ("schema", "bots", "stops", "missed", "note:kind")


def test_everything_in_redis_has_an_end(redis_url):
    place = StorePlace(redis_url, "ends:")
    store = place.open()
    assert isinstance(store, RedisStore)
    store.prepare()
    live(store)
    redis: Any = store._redis

    endless = {key for key in redis.scan_iter("ends:*") if redis.pttl(key) < 0}

    assert endless == {f"ends:{name}" for name in _ENDLESS}
    store.close()


def test_what_is_over_goes_in_parts_that_keep_nobody_waiting(sql_places):
    store = sql_places("sqlite").open(done_ttl_s=0)
    assert isinstance(store, SqlStore)
    store.prepare()
    fill(store, 5_600)
    begun: list[str] = []
    event.listen(
        store._database.engine,
        "before_cursor_execute",
        lambda *facts: begun.append(facts[2]) if facts[2].startswith("BEGIN") else None,
    )

    assert [store.prune(), store.prune(), store.prune()] == [5_000, 600, 0]

    assert len(begun) == (3 + 10) + (3 + 2) + (3 + 1)
    store.close()
