"""What all processes keep to together: the same in Redis, PostgreSQL and SQLite."""

import json
from typing import Any

import pytest
from sqlalchemy import event

from tests.integration.store_place import envelope
from tests.servers import wait_for
from worker.store import Claimed, Exchange, Kept, LeaseLostError, Limit, Scope, Step, Store

THREE_A_MINUTE = Limit("three", 3, 60)
AFTER_A_HOLD = Limit("webhook", 2, 60, is_dormant=True)


def claim(store: Store) -> Claimed:
    claimed = store.claim("task1", owner="me", lease_s=3600, envelope=envelope())
    assert isinstance(claimed, Claimed)
    store.keep_answer(claimed.lease, "answer")
    return claimed


def waits(store: Store, *limits: Limit, times: int) -> list[float]:
    return [store.admit(limits) for _ in range(times)]


# Windows.


def test_as_many_come_in_as_the_limit_says_and_one_more_waits(store, clock):
    assert waits(store, THREE_A_MINUTE, times=5) == [0, 0, 0, 60, 60]


def test_the_window_slides(store, clock):
    for _ in range(3):
        assert store.admit([THREE_A_MINUTE]) == 0
        clock.advance(10)

    assert store.admit([THREE_A_MINUTE]) == 30
    clock.advance(29.999)
    assert store.admit([THREE_A_MINUTE]) == 0.001
    clock.advance(0.001)
    assert waits(store, THREE_A_MINUTE, times=2) == [0, 10]


def test_who_had_to_wait_was_not_counted(store, clock):
    waits(store, THREE_A_MINUTE, times=100)
    clock.advance(60)

    assert waits(store, THREE_A_MINUTE, times=4) == [0, 0, 0, 60]


def test_in_by_all_limits_or_by_none(store, clock):
    bot, conversation = Limit("bot", 5, 60), Limit("conversation", 1, 10)
    store.admit([conversation])

    assert store.admit([bot, conversation]) == 10
    assert store.admit([conversation, bot]) == 10

    assert waits(store, bot, times=6) == [0, 0, 0, 0, 0, 60]


def test_the_longest_wait_counts(store, clock):
    short, long = Limit("short", 1, 10), Limit("long", 1, 90)
    store.admit([short, long])

    assert store.admit([short, long]) == 90


def test_limits_of_other_keys_are_apart(store):
    store.admit([Limit("one", 1, 60)])

    assert store.admit([Limit("two", 1, 60)]) == 0
    assert store.admit([]) == 0


def test_a_smaller_limit_counts_those_that_came_in_before(store, clock):
    waits(store, Limit("key", 5, 60), times=5)
    clock.advance(10)

    assert store.admit([Limit("key", 2, 60)]) == 50


def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_the_window(store, clock):
    waits(store, THREE_A_MINUTE, times=3)
    clock.advance(-3600)

    assert store.admit([THREE_A_MINUTE]) == 60


def test_any_name_will_do(store):
    named = Limit("ding\0 钉钉 \ud83d/v1.0 '\"", 1, 60)

    assert waits(store, named, times=2) == [0, 60]


# Holds.


def test_nobody_comes_in_while_it_is_held_back(store, clock):
    store.hold_back("three", for_s=5)

    assert store.admit([THREE_A_MINUTE]) == 5
    clock.advance(5)
    assert store.admit([THREE_A_MINUTE]) == 0


def test_a_hold_is_never_shortened(store, clock):
    store.hold_back("three", for_s=60)
    store.hold_back("three", for_s=5)
    clock.advance(10)
    store.hold_back("three", for_s=5)

    assert store.admit([THREE_A_MINUTE]) == 50


def test_a_hold_keeps_in_mind_who_came_in_before(store, clock):
    waits(store, THREE_A_MINUTE, times=3)
    store.hold_back("three", for_s=1)
    clock.advance(30)
    store.prune()

    assert store.admit([THREE_A_MINUTE]) == 30


def test_a_dormant_limit_lets_everybody_in(store):
    assert waits(store, AFTER_A_HOLD, times=5) == [0] * 5


def test_a_dormant_limit_applies_for_a_while_after_a_hold(store, clock):
    store.hold_back("webhook", for_s=60, slow_s=600)
    assert store.admit([AFTER_A_HOLD]) == 60

    clock.advance(60)
    assert waits(store, AFTER_A_HOLD, times=3) == [0, 0, 60]

    clock.advance(599)
    assert waits(store, AFTER_A_HOLD, times=3) == [0, 0, 60]
    clock.advance(1)
    assert waits(store, AFTER_A_HOLD, times=3) == [0] * 3


def test_what_says_nothing_more_is_forgotten(store_place):
    """Redis expires by its own clock, so this time passes for real."""
    store = store_place.open()
    store.prepare()
    store.admit([Limit("key", 1, 0.05)])
    store.hold_back("other", for_s=0.05, slow_s=0.05)

    def is_forgotten() -> bool:
        store.prune()
        return not left(store)

    wait_for(is_forgotten, limit_s=30, what="limits to be forgotten")
    store.close()


def left(store: Any) -> list[Any]:
    if hasattr(store, "_redis"):
        return list(store._redis.keys(f"{store._prefix}limit:*"))
    with store._database.one() as connection:
        return list(connection.exec_driver_sql("SELECT key FROM dingtalk_notes"))


# Posts.


def test_a_post_that_is_not_limited_goes(store):
    claimed = claim(store)

    assert store.sending(claimed.lease, sent=0) == 0
    assert store.sending(claimed.lease, sent=1, limits=[AFTER_A_HOLD]) == 0


@pytest.mark.parametrize("store_place", ["postgresql", "sqlite"], indirect=True)
def test_a_post_costs_no_more_when_nothing_is_paced(store_place):
    """Redis runs one script in any case."""
    store = store_place.open()
    store.prepare()
    lease = claim(store).lease
    asked: list[str] = []
    event.listen(
        store._database.engine, "before_cursor_execute", lambda *facts: asked.append(facts[2])
    )

    store.sending(lease, sent=0)
    alone = len(asked)
    store.sending(lease, sent=0, limits=[AFTER_A_HOLD])

    assert len(asked) == 2 * alone > 0
    store.close()


@pytest.mark.parametrize("is_dormant", [True, False])
def test_a_post_that_has_to_wait_is_not_noted(store, clock, is_dormant):
    limit = Limit("webhook", 2, 60, is_dormant)
    claimed = claim(store)
    store.hold_back("webhook", for_s=7, slow_s=60)

    assert store.sending(claimed.lease, sent=0, steps=[Step("sending")], limits=[limit]) == 7

    clock.advance(3601)
    again = store.claim("task1", owner="you", lease_s=15, envelope=None)
    assert isinstance(again, Claimed)
    assert not again.in_doubt
    story = store.story("task1")
    assert story is not None
    assert "sending" not in [step.name for step in story.steps]


@pytest.mark.parametrize("is_dormant", [True, False])
def test_a_post_that_may_go_is_noted_and_counted(store, clock, is_dormant):
    limit = Limit("webhook", 2, 60, is_dormant)
    claimed = claim(store)
    store.hold_back("webhook", for_s=7, slow_s=60)
    clock.advance(7)

    told = [Step("sending", {"part": 1})]
    found = [
        store.sending(claimed.lease, sent=sent, steps=told, limits=[limit]) for sent in range(3)
    ]

    assert found == [0, 0, 60]
    clock.advance(3601)
    again = store.claim("task1", owner="you", lease_s=15, envelope=None)
    assert isinstance(again, Claimed)
    assert (again.in_doubt, again.sent) == (False, 2), "so the third waits, and the second arrived"
    story = store.story("task1")
    assert story is not None
    assert [step.name for step in story.steps].count("sending") == 2


@pytest.mark.parametrize("wait_s", [0, 7])
def test_the_answer_is_kept_by_the_step_that_notes_its_post_or_that_it_waits(store, clock, wait_s):
    claimed = claim(store)
    store.hold_back("webhook", for_s=wait_s, slow_s=60)
    kept = Kept("the answer", [Step("agent_ended")])

    told = [Step("sending")]
    limit = Limit("webhook", 2, 60, is_dormant=True)
    assert store.sending(claimed.lease, sent=0, steps=told, limits=[limit], kept=kept) == wait_s

    clock.advance(3601)
    again = store.claim("task1", owner="you", lease_s=15, envelope=None)
    assert isinstance(again, Claimed)
    assert (again.answer, again.in_doubt) == ("the answer", wait_s == 0)
    story = store.story("task1")
    assert story is not None
    names = [step.name for step in story.steps if step.name in {"agent_ended", "sending"}]
    assert names == ["agent_ended", "sending"][: 2 if wait_s == 0 else 1]


def test_what_is_kept_along_with_a_post_is_remembered_when_it_has_arrived(store):
    lease = claim(store).lease
    scope = Scope("robot", "cid1")
    exchange = Exchange(scope, "you", (1, 1), {"q": "said"}, turns=20, ttl_s=60)
    store.sending(lease, sent=0, kept=Kept("the answer", exchange=exchange))
    store.finish(lease, "SUCCESS")

    assert store.exchanges(scope, before=(2, 2), turns=9, within_s=60) == [{"q": "said"}]


def test_an_answer_under_a_lost_lease_is_not_kept(store, clock):
    lease = claim(store).lease
    clock.advance(3601)
    assert isinstance(store.claim("task1", owner="you", lease_s=15, envelope=None), Claimed)

    with pytest.raises(LeaseLostError):
        store.sending(lease, sent=0, kept=Kept("too late"))

    clock.advance(3601)
    again = store.claim("task1", owner="me", lease_s=15, envelope=None)
    assert isinstance(again, Claimed)
    assert again.answer == "answer", "what was kept before"


@pytest.mark.parametrize("is_dormant", [True, False])
def test_a_post_that_has_to_wait_leaves_the_doubt_about_an_earlier_try(store, clock, is_dormant):
    claimed = claim(store)
    store.sending(claimed.lease, sent=1)
    store.hold_back("webhook", for_s=7, slow_s=60)

    limit = Limit("webhook", 2, 60, is_dormant)
    assert store.sending(claimed.lease, sent=1, limits=[limit]) == 7

    clock.advance(3601)
    again = store.claim("task1", owner="you", lease_s=15, envelope=None)
    assert isinstance(again, Claimed)
    assert (again.in_doubt, again.sent) == (True, 1)


@pytest.mark.parametrize("is_dormant", [True, False])
@pytest.mark.parametrize("is_held", [True, False])
def test_a_post_under_a_lost_lease_is_refused_and_not_counted(store, clock, is_dormant, is_held):
    limit = Limit("webhook", 1, 60, is_dormant)
    lease = claim(store).lease
    clock.advance(3601)
    assert isinstance(store.claim("task1", owner="you", lease_s=15, envelope=None), Claimed)
    if is_held:
        store.hold_back("webhook", for_s=0, slow_s=60)

    with pytest.raises(LeaseLostError):
        store.sending(lease, sent=0, limits=[limit])

    assert store.admit([limit]) == 0


# Counts, and single notes.


def test_a_count_goes_up_by_what_it_is_told(store):
    assert store.count_up("calls", "bot", ttl_s=60, by=0) == 0
    assert store.count_up("calls", "bot", ttl_s=60) == 1
    assert store.count_up("calls", "bot", ttl_s=60, by=4) == 5
    assert store.count_up("calls", "bot", ttl_s=60, by=-1) == 4
    assert store.count_up("calls", "bot", ttl_s=60, by=0) == 4
    assert store.count_up("calls", "another", ttl_s=60) == 1
    assert store.count_up("other", "bot", ttl_s=60) == 1


def test_a_count_that_nobody_added_to_begins_anew(store_place):
    """Redis expires by its own clock, so this time passes for real."""
    store = store_place.open()
    store.prepare()
    store.count_up("calls", "bot", ttl_s=0.05, by=5)

    def is_gone() -> bool:
        return not store.count_up("calls", "bot", ttl_s=60, by=0)

    wait_for(is_gone, limit_s=30, what="the count to expire")
    assert store.count_up("calls", "bot", ttl_s=60) == 1
    store.prune()
    assert store.count_up("calls", "bot", ttl_s=60) == 2
    store.close()


def test_a_count_is_no_note(store):
    store.count_up("calls", "bot", ttl_s=60)
    store.hold_back("calls", for_s=60)

    assert store.remembered("calls") == []
    assert store.recalled("calls", "bot") is None


def test_one_note_is_recalled_with_its_age(store, clock):
    store.remember("token", "ding1", {"sealed": "x"}, ttl_s=60)
    store.remember("token", "ding2", {"sealed": "y"}, ttl_s=60)
    clock.advance(7)

    note = store.recalled("token", "ding1")

    assert note is not None
    assert (note.key, json.dumps(note.facts), note.age_s) == ("ding1", '{"sealed": "x"}', 7)
    assert store.recalled("token", "ding3") is None


def test_a_note_past_its_time_is_not_recalled(store_place):
    store = store_place.open()
    store.prepare()
    store.remember("token", "ding1", {}, ttl_s=0.05)

    wait_for(
        lambda: store.recalled("token", "ding1") is None, limit_s=30, what="the note to expire"
    )
    store.close()
