"""What was said, and is remembered with the end of its message: Redis, PostgreSQL, SQLite."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.integration.store_place import StorePlace, envelope
from tests.servers import wait_for
from worker.store import Claimed, Exchange, LeaseLostError, Parked, Reason, Scope, Store, Turn

ALL = Scope("robot", "cid1")
HOUR_S = 3600.0
LATER = (2**52, 0)


def exchange(number: int, *, scope: Scope = ALL, **more: Any) -> Exchange:
    """That of message ``number``, asked at that millisecond."""
    facts: dict[str, Any] = {"person": "alice", "turns": 20, "ttl_s": 24 * HOUR_S}
    facts |= {"place": (number, number), "said": {"q": f"q{number}"}}
    return Exchange(scope=scope, **facts | more)


def claim(store: Store, number: int, **more: Any) -> Claimed:
    claimed = store.claim(
        f"task{number}", owner="me", lease_s=15, envelope=envelope(number), **more
    )
    assert isinstance(claimed, Claimed)
    return claimed


def kept(store: Store, number: int, **more: Any) -> Claimed:
    claimed = claim(store, number)
    store.keep_answer(claimed.lease, "answer", exchange=exchange(number, **more))
    return claimed


def answered(store: Store, number: int, **more: Any) -> None:
    store.finish(kept(store, number, **more).lease, "SUCCESS")


def miss(store: Store, claimed: Claimed) -> None:
    store.miss(
        claimed.lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, errcode=None, detail=""
    )


def said(store: Store, scope: Scope = ALL, **more: Any) -> list[Any]:
    wanted: dict[str, Any] = {"before": LATER, "turns": 100, "within_s": 24 * HOUR_S}
    return store.exchanges(scope, **wanted | more)


def questions(store: Store, scope: Scope = ALL, **more: Any) -> list[str]:
    return [each["q"] for each in said(store, scope, **more)]


# When it becomes part of the memory.


@pytest.mark.parametrize("outcome", ["SUCCESS", "RESCUED"])
def test_an_exchange_is_remembered_once_its_answer_has_arrived(store, outcome):
    claimed = kept(store, 1)
    assert said(store) == []

    store.finish(claimed.lease, outcome)

    assert said(store) == [{"q": "q1"}]


@pytest.mark.parametrize("outcome", ["DROPPED", "CANCELLED", "FAILURE"])
def test_what_did_not_arrive_is_not_remembered(store, outcome):
    store.finish(kept(store, 1).lease, outcome)

    assert said(store) == []


def test_without_an_exchange_nothing_is_remembered(store):
    claimed = claim(store, 1)
    store.keep_answer(claimed.lease, "answer")
    store.finish(claimed.lease, "SUCCESS")

    assert said(store) == []


def test_one_without_an_answer_is_remembered_as_it_ends(store):
    """An agent may choose silence."""
    store.finish(claim(store, 1).lease, "SUCCESS", exchange=exchange(1))

    assert questions(store) == ["q1"]


def test_the_next_worker_has_what_the_first_one_kept_remembered(store, clock):
    kept(store, 1)
    clock.advance(15)

    store.finish(claim(store, 1).lease, "SUCCESS")

    assert questions(store) == ["q1"]


def test_who_lost_the_lease_has_nothing_remembered(store, clock):
    stale = claim(store, 1).lease
    clock.advance(15)
    claim(store, 1)

    with pytest.raises(LeaseLostError):
        store.keep_answer(stale, "answer", exchange=exchange(1, said={"q": "stale"}))
    with pytest.raises(LeaseLostError):
        store.finish(stale, "SUCCESS", exchange=exchange(1, said={"q": "stale"}))

    assert said(store) == []


def test_a_message_that_is_finished_twice_is_remembered_once(store):
    lease = kept(store, 1).lease
    store.finish(lease, "SUCCESS")
    with pytest.raises(LeaseLostError):
        store.finish(lease, "SUCCESS")

    assert questions(store) == ["q1"]


def test_the_next_of_the_lane_finds_it_remembered(store):
    turns = [Turn("lane1", (number, number)) for number in (1, 2)]
    first = claim(store, 1, turn=turns[0])
    waiting = store.claim("task2", owner="me", lease_s=15, envelope=envelope(2), turn=turns[1])
    assert waiting == Parked()
    store.keep_answer(first.lease, "answer", exchange=exchange(1))

    handed = store.finish(first.lease, "SUCCESS")

    assert handed is not None
    claim(store, 2, turn=turns[1])
    assert questions(store, before=(2, 2)) == ["q1"]


def test_a_missed_answer_is_remembered_when_somebody_has_sent_it_and_once(store):
    miss(store, kept(store, 1))
    assert said(store) == []
    answered(store, 2)

    for _ in range(2):  # an operator may send it again
        taken = store.take_missed_one("task1", owner="operator", lease_s=15)
        assert taken is not None
        store.settle(taken[0], "RESCUED")
        assert questions(store) == ["q1", "q2"]


def test_one_that_could_not_be_sent_after_all_is_not_remembered_yet(store):
    miss(store, kept(store, 1))
    taken = store.take_missed_one("task1", owner="operator", lease_s=15)
    assert taken is not None
    store.miss(taken[0], state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, errcode=None, detail="")
    assert said(store) == []
    [(lease, _)] = store.take_missed("robot", "cid1", owner="me", lease_s=15, limit=1)

    store.finish(lease, "SUCCESS")

    assert questions(store) == ["q1"]


def test_one_that_was_discarded_never_is(store):
    miss(store, kept(store, 1))
    assert store.discard("task1")

    assert said(store) == []


# What is in it.


def test_they_come_in_the_order_of_the_questions_whenever_they_were_answered(store):
    for number in (2, 10, 1):
        answered(store, number)

    assert questions(store) == ["q1", "q2", "q10"]


def test_within_a_millisecond_the_one_received_first_comes_first(store):
    answered(store, 1, place=(5, 9))
    answered(store, 2, place=(5, 8))

    assert questions(store) == ["q2", "q1"]
    assert questions(store, before=(5, 9)) == ["q2"]


def test_a_question_sees_only_what_was_asked_before_it(store):
    for number in (1, 2, 3):
        answered(store, number)

    assert questions(store, before=(3, 3)) == ["q1", "q2"]
    assert questions(store, before=(1, 1)) == []


def test_the_last_ones_are_read_and_no_more_than_asked_for(store):
    for number in (1, 2, 3):
        answered(store, number)

    assert questions(store, turns=2) == ["q2", "q3"]
    assert questions(store, turns=2, before=(3, 3)) == ["q1", "q2"]


def test_the_oldest_beyond_its_turns_are_forgotten(store):
    for number in (1, 2, 3, 4):
        answered(store, number, turns=2)

    assert questions(store) == ["q3", "q4"]


def test_a_late_one_older_than_all_that_is_kept_is_not_added(store):
    for number in (3, 4, 1):
        answered(store, number, turns=2)

    assert questions(store) == ["q3", "q4"]


def test_whatever_was_said_comes_back_to_the_letter(store):
    text = "null \0, half a pair \ud800, 中文, 🎉, 'quotes\" \\ %s :name {}"
    scope = Scope("robot\0", "cid\0\ud800", "somebody\0")
    answered(store, 1, scope=scope, said=[text, {"a": text}], person="somebody\0")

    assert said(store, scope) == [[text, {"a": text}]]
    assert store.forget(conversation_id="cid\0\ud800", bot="robot\0") == 1


OTHERS = {
    "another bot": Scope("robot2", "cid1"),
    "another conversation": Scope("robot", "cid2"),
    "a person in it": Scope("robot", "cid1", "alice"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_nobody_reads_the_memory_of_another(store, other):
    answered(store, 1)

    assert said(store, OTHERS[other]) == []
    answered(store, 2, scope=OTHERS[other])
    assert questions(store) == ["q1"]
    assert questions(store, OTHERS[other]) == ["q2"]


def test_each_person_may_have_a_memory(store):
    for number, name in ((1, "alice"), (2, "bob"), (3, "alice")):
        answered(store, number, person=name, scope=Scope("robot", "cid1", name), turns=2)

    assert questions(store, Scope("robot", "cid1", "alice")) == ["q1", "q3"]
    assert questions(store, Scope("robot", "cid1", "bob")) == ["q2"]


def test_messages_that_end_at_once_are_all_remembered(store_place: StorePlace):
    store = store_place.open()
    store.prepare()
    leases = [kept(store, number, turns=20).lease for number in range(12)]
    start = threading.Barrier(4)

    def finish(mine):
        start.wait(60)
        for lease in mine:
            store.finish(lease, "SUCCESS")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(finish, [leases[n::4] for n in range(4)]))

    assert questions(store) == [f"q{number}" for number in range(12)]
    store.close()


def test_messages_that_end_at_once_do_not_stop_each_other_over_the_oldest(
    store_place: StorePlace,
):
    store = store_place.open()
    store.prepare()
    for number in range(6):
        answered(store, number, turns=6)
    leases = [kept(store, number, turns=2).lease for number in range(10, 30)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda lease: store.finish(lease, "SUCCESS"), leases))
    answered(store, 99, turns=2)

    assert questions(store) == ["q29", "q99"]
    store.close()


# How long.


def test_it_is_kept_for_its_time(store, clock):
    answered(store, 1, ttl_s=HOUR_S)
    clock.advance(HOUR_S - 0.001)
    assert questions(store) == ["q1"]
    clock.advance(0.001)

    assert said(store) == []


def test_a_shorter_time_may_be_asked_for(store, clock):
    answered(store, 1)
    clock.advance(60)
    answered(store, 2)

    assert questions(store, within_s=60) == ["q2"]
    assert questions(store, within_s=61) == ["q1", "q2"]


def test_what_is_past_its_time_leaves_nothing_behind(store_place: StorePlace):
    """Redis expires by its own clock, so this one passes for real."""
    store = store_place.open()
    store.prepare()
    answered(store, 1, ttl_s=0.2)

    def rests() -> list[str]:
        store.prune()
        return rest_of_memory(store_place)

    wait_for(lambda: not rests(), what="all of it to go")
    store.close()


def rest_of_memory(place: StorePlace) -> list[str]:
    """What the store holds of memories."""
    from sqlalchemy import text

    from worker.store.redis import RedisStore
    from worker.store.sql import SqlStore

    store = place.open()
    try:
        if isinstance(store, RedisStore):
            kinds = ("memory", "memories", "said")
            keys: Any = store._redis.keys(f"{place.prefix}*")
            return [k for k in keys if k.removeprefix(place.prefix).split(":")[0] in kinds]
        assert isinstance(store, SqlStore)
        with store._database.engine.begin() as connection:
            rows = connection.execute(text("SELECT task_id FROM dingtalk_exchanges"))
            return [row.task_id for row in rows]
    finally:
        store.close()


def test_what_was_said_is_in_no_finished_record(store, store_place):
    answered(store, 1, said="MARKED")
    store.finish(kept(store, 2, said="MARKED").lease, "DROPPED")
    assert store.forget(conversation_id="cid1") == 1

    assert "MARKED" not in everything_in(store_place)


def everything_in(place: StorePlace) -> str:
    from sqlalchemy import text

    from worker.store.redis import RedisStore
    from worker.store.sql import SqlStore

    store = place.open()
    try:
        if isinstance(store, RedisStore):
            keys: Any = store._redis.keys(f"{place.prefix}*")
            hashes = [k for k in keys if store._redis.type(k) == "hash"]
            return str([store._redis.hgetall(key) for key in hashes])
        assert isinstance(store, SqlStore)
        with store._database.engine.begin() as connection:
            tables = ("dingtalk_messages", "dingtalk_exchanges", "dingtalk_notes")
            return str([connection.execute(text(f"SELECT * FROM {t}")).all() for t in tables])
    finally:
        store.close()


# Forgetting.


def test_a_conversation_is_forgotten_for_one_bot_and_no_other(store):
    answered(store, 1)
    answered(store, 2, scope=Scope("robot2", "cid1"))
    answered(store, 3, scope=Scope("robot", "cid2"))

    assert store.forget(conversation_id="cid1", bot="robot") == 1

    assert said(store) == []
    assert questions(store, Scope("robot2", "cid1")) == ["q2"]
    assert questions(store, Scope("robot", "cid2")) == ["q3"]


def test_a_conversation_is_forgotten_whoever_it_was_told_to(store):
    """What an operator asks for: all bots, and the memories of all people in it."""
    store.finish(
        claimed_of(store, "other", bot="robot2").lease,
        "SUCCESS",
        exchange=exchange(1, scope=Scope("robot2", "cid1")),
    )
    answered(store, 2)
    answered(store, 3, scope=Scope("robot", "cid1", "alice"))

    assert store.forget(conversation_id="cid1") == 3
    assert store.forget(conversation_id="cid1") == 0

    for scope in (ALL, Scope("robot2", "cid1"), Scope("robot", "cid1", "alice")):
        assert said(store, scope) == []


def claimed_of(store: Store, task_id: str, **more: Any) -> Claimed:
    claimed = store.claim(task_id, owner="me", lease_s=15, envelope=envelope(**more))
    assert isinstance(claimed, Claimed)
    return claimed


def test_what_one_person_asked_is_forgotten_wherever_it_is(store):
    alone = Scope("robot", "cid1", "alice")
    answered(store, 1, person="alice")
    answered(store, 2, person="bob")
    answered(store, 3, person="alice", scope=alone)
    answered(store, 4, person="alice", scope=Scope("robot", "cid2"))

    assert store.forget(conversation_id="cid1", person="alice") == 2

    assert questions(store) == ["q2"]
    assert said(store, alone) == []
    assert questions(store, Scope("robot", "cid2")) == ["q4"]
    assert store.forget(person="alice") == 1
    assert said(store, Scope("robot", "cid2")) == []
    assert questions(store) == ["q2"]


def test_only_what_was_asked_before_may_be_forgotten(store):
    for number in (1, 2, 3):
        answered(store, number)

    assert store.forget(conversation_id="cid1", bot="robot", before_ms=3) == 2

    assert questions(store) == ["q3"]


FORGETS = {
    "by its bot": {"conversation_id": "cid1", "bot": "robot"},
    "of all bots": {"conversation_id": "cid1"},
    "of the person there": {"conversation_id": "cid1", "person": "alice"},
    "of the person by one bot": {"conversation_id": "cid1", "bot": "robot", "person": "alice"},
    "of the person everywhere": {"person": "alice"},
}


@pytest.mark.parametrize("which", FORGETS)
def test_what_is_on_its_way_is_forgotten_as_well(store, clock, which):
    """Else an answer that is sent after all would bring back what was forgotten."""
    miss(store, kept(store, 1))
    on_its_way = kept(store, 2)

    assert store.forget(**FORGETS[which]) == 0

    store.finish(on_its_way.lease, "SUCCESS")
    [(lease, _)] = store.take_missed("robot", "cid1", owner="me", lease_s=15, limit=1)
    store.finish(lease, "SUCCESS")
    assert said(store) == []
    answered(store, 3, person="bob", place=(clock() + 1, 0))
    answered(store, 4, person="alice", place=(clock() + 2, 0))
    assert questions(store, before=(clock() + 9, 0)) == ["q3", "q4"]


OF_OTHERS = {
    "another conversation": {"conversation_id": "cid2"},
    "another person": {"person": "bob"},
    "another bot": {"conversation_id": "cid1", "bot": "robot2"},
}


@pytest.mark.parametrize("which", OF_OTHERS)
def test_nothing_else_is_forgotten(store, which):
    on_its_way = kept(store, 1)

    assert store.forget(**OF_OTHERS[which]) == 0

    store.finish(on_its_way.lease, "SUCCESS")
    assert questions(store) == ["q1"]


def test_what_was_forgotten_stays_so_when_one_asks_for_less_later(store):
    """Of two people who say ``/new`` at about the same time, the later one may be first."""
    on_its_way = kept(store, 5)
    store.forget(bot="robot", conversation_id="cid1", before_ms=9)
    store.forget(bot="robot", conversation_id="cid1", before_ms=3)

    store.finish(on_its_way.lease, "SUCCESS")

    assert said(store) == []


def test_what_is_just_being_remembered_is_forgotten_as_well(postgresql_url):
    """PostgreSQL shows nobody what is not committed yet."""
    name = f"test{uuid.uuid4().hex}"
    url = f"{postgresql_url}?options=-csearch_path%3D{name}&application_name={name}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    store = StorePlace(url).open()
    store.prepare()
    first = claim(store, 1, turn=Turn("lane", (1, 1)))
    store.keep_answer(first.lease, "answer", exchange=exchange(1))
    store.claim("task2", owner="me", lease_s=15, envelope=envelope(2), turn=Turn("lane", (2, 2)))

    watching = psycopg.connect(postgresql_url, autocommit=True)
    with watching as watch, psycopg.connect(url) as gate, ThreadPoolExecutor(2) as pool:
        gate.execute("SELECT 1 FROM dingtalk_messages WHERE task_id = 'task2' FOR UPDATE")

        def waiting() -> int:
            who = "application_name = %s AND wait_event_type = 'Lock'"
            found = watch.execute(f"SELECT 1 FROM pg_stat_activity WHERE {who}", [name])
            return len(found.fetchall())

        finished = pool.submit(store.finish, first.lease, "SUCCESS")
        wait_for(lambda: waiting() == 1, what="the end of the first, which hands its turn over")
        forgotten = pool.submit(store.forget, bot="robot", conversation_id="cid1")
        wait_for(lambda: waiting() == 2 or forgotten.done(), what="who forgets to be at work")
        gate.rollback()
        finished.result(120)
        assert forgotten.result(120) == 1
    assert said(store) == []
    store.close()


def test_an_exchange_of_a_later_release_ends_its_message_all_the_same(store, store_place):
    claimed = kept(store, 1)
    spoil(store_place)

    store.finish(claimed.lease, "SUCCESS")

    assert said(store) == []


def spoil(place: StorePlace) -> None:
    from sqlalchemy import text

    from worker.store.redis import RedisStore
    from worker.store.sql import SqlStore

    store = place.open()
    if isinstance(store, RedisStore):
        store._redis.hset(f"{place.prefix}message:task1", "said_in", '{"version":9}')
    else:
        assert isinstance(store, SqlStore)
        with store._database.engine.begin() as connection:
            connection.execute(text("UPDATE dingtalk_messages SET said_in = 'no JSON'"))
    store.close()


def test_nothing_that_was_said_reaches_a_repr(store):
    assert "PRIVATE" not in repr(exchange(1, said="PRIVATE"))
