"""What operators ask a store and processes leave there, on Redis, PostgreSQL and SQLite."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import text

from contract.routing import task_id
from tests.integration.store_place import FakeClock, envelope
from tests.servers import wait_for
from worker.store import (
    Claimed,
    Lease,
    LeaseLostError,
    Merged,
    Reason,
    Step,
    Store,
    Taken,
    Turn,
    open_store,
)

ONE, TWO, THREE = (task_id("robot", f"msg{n}") for n in (1, 2, 3))


def at(clock: FakeClock) -> datetime:
    return datetime.fromtimestamp(clock.now_ms / 1000, UTC)


def claim(store: Store, number: int = 1, *, steps=(), turn=None, **more) -> Lease:
    claimed = store.claim(
        task_id("robot", f"msg{number}"),
        owner="me",
        lease_s=15,
        envelope=envelope(number, **more),
        steps=steps,
        turn=turn,
    )
    assert isinstance(claimed, Claimed)
    return claimed.lease


def miss(store: Store, lease: Lease, reason=Reason.EXPIRED_AT_SEND) -> None:
    store.miss(lease, state="FLAGGED", reason=reason, errcode=None, detail="")


def missed(store: Store, number: int = 1, *, answer: str | None = "the answer", **more) -> None:
    lease = claim(store, number, **more)
    if answer is not None:
        store.keep_answer(lease, answer)
    miss(store, lease)


def names(store: Store, id_: str) -> list[str]:
    story = store.story(id_)
    assert story is not None
    return [step.name for step in story.steps]


# Stories.


def test_a_story_tells_every_step_with_its_time_and_facts(store, clock):
    begin = at(clock)
    lease = claim(store, steps=[Step("received", {"kind": "text"}, ago_s=1.5), Step("enqueued")])
    clock.advance(3)
    store.keep_answer(lease, "answer", [Step("agent_ended", {"agent_s": 2.5})])
    store.sending(lease, sent=0, steps=[Step("sending", {"part": 1})])
    store.release(lease, due_in_s=0, steps=[Step("retried", {"errcode": 88})])
    store.finish(claim(store), "SUCCESS", [Step("finished", {"state": "SUCCESS"})])

    story = store.story(ONE)

    assert story is not None
    assert (story.task_id, story.state, story.outcome, story.owner) == (
        ONE,
        "done",
        "SUCCESS",
        None,
    )
    told = [(step.name, step.facts, step.at) for step in story.steps]
    assert told == [
        ("received", {"kind": "text"}, begin - timedelta(seconds=1.5)),
        ("enqueued", {}, begin),
        ("taken", {"owner": "me"}, begin),
        ("agent_ended", {"agent_s": 2.5}, at(clock)),
        ("sending", {"part": 1}, at(clock)),
        ("retried", {"errcode": 88}, at(clock)),
        ("taken", {"owner": "me"}, at(clock)),
        ("finished", {"state": "SUCCESS"}, at(clock)),
    ]


def test_a_story_is_found_by_either_id(store):
    claim(store)

    assert [s and s.task_id for s in (store.story(ONE), store.story("msg1"))] == [ONE, ONE]
    assert [store.story(id_) for id_ in (TWO, "msg2", "", "\0")] == [None] * 4


def test_a_running_message_says_who_has_it(store):
    claim(store)

    story = store.story(ONE)

    assert story is not None
    assert (story.state, story.outcome, story.owner) == ("running", None, "me")


def test_a_takeover_is_told_as_one(store, clock):
    claim(store)
    clock.advance(15)
    store.due(limit=0, hold_s=0.1)
    clock.advance(2)
    claim(store)

    assert names(store, ONE) == ["taken", "taken_over"]


def test_waiting_for_a_turn_is_told_once(store):
    turn = Turn("lane", (1, 1))
    lease = claim(store, turn=turn)
    for _ in range(3):
        store.claim(TWO, owner="me", lease_s=15, envelope=envelope(2), turn=Turn("lane", (2, 2)))
    store.finish(lease, "SUCCESS")
    claim(store, 2)

    assert names(store, TWO) == ["parked", "taken"]


def test_what_was_merged_says_into_what(store):
    lease = claim(store, turn=Turn("lane", (1, 1)))
    for number in (2, 3):
        store.claim(
            task_id("robot", f"msg{number}"), owner="me", lease_s=15, envelope=envelope(number),
            turn=Turn("lane", (number, number)),
        )  # fmt: skip
    store.finish(lease, "SUCCESS")
    merging = Turn("lane", (2, 2), merge=True)

    claimed = store.claim(TWO, owner="me", lease_s=15, envelope=None, turn=merging)

    assert isinstance(claimed, Merged)
    story = store.story(TWO)
    assert story is not None
    assert (story.state, story.outcome) == ("done", "CANCELLED")
    assert [(step.name, step.facts) for step in story.steps][-1] == ("merged", {"into": "msg3"})


def test_a_story_without_end_is_bounded_and_still_gets_its_end(store):
    lease = claim(store)
    for number in range(60):
        store.sending(lease, sent=number, steps=[Step("sending", {"part": "x" * 1000})])
    store.finish(lease, "SUCCESS", [Step("finished")])

    told = names(store, ONE)

    assert told[-1] == "finished"
    assert 10 < len(told) < 30


def test_the_last_messages_of_a_conversation_come_newest_first(store, clock):
    for number in (1, 2, 3):
        claim(store, number)
        clock.advance(1)
    claim(store, 4, conversation_id="another")

    told = [story.task_id for story in store.stories("cid1", limit=2)]

    assert told == [THREE, TWO]
    assert store.stories("unknown", limit=2) == []


def test_a_conversation_with_two_bots_shows_both(store, clock):
    claim(store, 1)
    clock.advance(1)
    other = store.claim(
        task_id("other", "msg1"), owner="me", lease_s=15, envelope=envelope(1, bot="other")
    )

    assert isinstance(other, Claimed)
    told = [story.task_id for story in store.stories("cid1", limit=5)]
    assert told == [task_id("other", "msg1"), ONE]


# Missed replies.


def test_only_what_was_missed_lately_is_listed_on_demand(store, clock):
    missed(store, 1)
    clock.advance(100)
    missed(store, 2)
    clock.advance(10)

    assert [r.task_id for r in store.missed(since_s=50)] == [TWO]
    assert [r.task_id for r in store.missed(since_s=500)] == [TWO, ONE]


def test_one_that_is_sent_by_hand_is_held_and_then_handled(store, clock):
    missed(store)

    taken = store.take_missed_one(ONE, owner="operator", lease_s=60)

    assert taken is not None
    lease, reply = taken
    assert (reply.answer, reply.reason, reply.handled_at) == (
        "the answer", Reason.EXPIRED_AT_SEND, None,
    )  # fmt: skip
    assert store.missed() == []
    assert store.take_missed_one(ONE, owner="another", lease_s=60) is None
    assert store.take_missed("robot", "cid1", owner="w", lease_s=15, limit=9) == []
    clock.advance(5)
    store.settle(lease, "RESCUED", [Step("sent", {"route": "proactive"})])

    assert store.missed() == []
    [handled] = store.missed(handled=True)
    assert (handled.task_id, handled.state, handled.handled_at) == (ONE, "RESCUED", at(clock))
    assert handled.answer == "the answer"
    assert store.find_missed("msg1") == handled
    assert names(store, ONE)[-1] == "sent"
    assert store.due(limit=10, hold_s=1) == []
    assert store.take_missed("robot", "cid1", owner="w", lease_s=15, limit=9) == []


def test_one_that_was_handled_can_be_taken_once_more(store):
    missed(store)
    first = store.take_missed_one(ONE, owner="operator", lease_s=60)
    assert first is not None
    store.settle(first[0], "SUCCESS")

    again = store.take_missed_one(ONE, owner="operator", lease_s=60)

    assert again is not None
    assert again[1].handled_at is not None
    assert store.missed(handled=True) == []
    with pytest.raises(LeaseLostError):
        store.settle(first[0], "SUCCESS")


def test_one_that_could_not_be_sent_is_missed_again_and_no_younger(store, clock):
    missed(store)
    since = at(clock)
    clock.advance(60)
    taken = store.take_missed_one(ONE, owner="operator", lease_s=60)
    assert taken is not None

    miss(store, taken[0])

    [reply] = store.missed()
    assert reply.missed_at == since
    taken_by_worker = store.take_missed("robot", "cid1", owner="w", lease_s=15, limit=9)
    assert [lease.task_id for lease, _ in taken_by_worker] == [ONE]


def test_what_was_in_doubt_says_so(store):
    lease = claim(store)
    store.keep_answer(lease, "the answer")
    store.miss(
        lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, errcode=None, detail="",
        in_doubt=True,
    )  # fmt: skip

    [reply] = store.missed()

    assert reply.in_doubt


def test_one_whose_operator_died_in_the_middle_is_due_again_with_its_answer(store, clock):
    missed(store)
    store.take_missed_one(ONE, owner="operator", lease_s=5)
    store.due(limit=10, hold_s=1)
    clock.advance(6)
    store.due(limit=10, hold_s=1)
    clock.advance(1)

    [due] = store.due(limit=10, hold_s=1)

    assert (due.task_id, due.has_answer) == (ONE, True)


def died_over(store: Store, clock: FakeClock) -> Claimed:
    """Let the one who took it die, and return the next claim."""
    store.take_missed_one(ONE, owner="operator", lease_s=5)
    store.due(limit=10, hold_s=1)
    clock.advance(6)
    store.due(limit=10, hold_s=1)
    clock.advance(1)
    claimed = store.claim(ONE, owner="worker", lease_s=15, envelope=None)
    assert isinstance(claimed, Claimed)
    return claimed


def test_whoever_claims_it_after_its_operator_died_is_told_what_it_was(store, clock):
    lease = claim(store)
    store.keep_answer(lease, "the answer")
    refused = Reason.REJECTED_BY_DINGTALK
    store.miss(lease, state="FAILURE", reason=refused, errcode=40035, detail="no")

    claimed = died_over(store, clock)

    assert claimed.missed == Taken("FAILURE", refused, 40035, "no", is_handled=False)
    store.miss(claimed.lease, state="FAILURE", reason=refused, errcode=40035, detail="no")
    [reply] = store.missed()
    assert (reply.state, reply.reason) == ("FAILURE", refused)
    assert store.rerun(ONE, hold_s=1) is None, "it has an answer"


def test_one_that_was_handled_before_is_known_as_that(store, clock):
    missed(store)
    taken = store.take_missed_one(ONE, owner="operator", lease_s=60)
    assert taken is not None
    store.settle(taken[0], "RESCUED")

    claimed = died_over(store, clock)

    assert claimed.missed is not None
    assert (claimed.missed.state, claimed.missed.is_handled) == ("RESCUED", True)


def test_what_is_worked_on_for_the_first_time_was_nothing_before(store):
    claimed = store.claim(ONE, owner="me", lease_s=15, envelope=envelope())

    assert isinstance(claimed, Claimed)
    assert claimed.missed is None


def test_what_only_an_operator_may_send_is_handed_to_no_worker(store):
    lease = claim(store)
    store.keep_answer(lease, "the answer")
    store.miss(
        lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, errcode=None, detail="",
        by_hand_only=True,
    )  # fmt: skip

    assert store.take_missed("robot", "cid1", owner="w", lease_s=15, limit=9) == []
    assert store.take_missed_one(ONE, owner="operator", lease_s=15) is not None


def test_of_two_bots_messages_with_one_id_the_open_one_is_found(store):
    for bot in ("alpha", "robot"):
        claimed = store.claim(
            task_id(bot, "msg1"), owner="me", lease_s=15, envelope=envelope(1, bot=bot)
        )
        assert isinstance(claimed, Claimed)
        store.keep_answer(claimed.lease, "the answer")
        miss(store, claimed.lease)
    for handled, still_open in (("alpha", "robot"), ("robot", "alpha")):
        taken = store.take_missed_one(task_id(handled, "msg1"), owner="o", lease_s=15)
        assert taken is not None
        store.settle(taken[0], "SUCCESS")

        found = store.find_missed("msg1")

        assert found is not None
        if handled == "alpha":
            assert found.bot == still_open


def test_handled_ones_are_listed_by_when_they_were_handled(store, clock):
    missed(store)
    clock.advance(1000)
    taken = store.take_missed_one(ONE, owner="operator", lease_s=60)
    assert taken is not None
    store.settle(taken[0], "SUCCESS")

    assert [r.task_id for r in store.missed(handled=True, since_s=60)] == [ONE]
    assert store.missed_briefly(since_s=2000) == []


def test_missed_replies_can_be_counted_without_their_words(store, clock):
    missed(store, 1)
    clock.advance(100)
    miss(store, claim(store, 2), Reason.AGENT_FAILED)

    found = store.missed_briefly()

    assert [(m.task_id, m.reason) for m in found] == [
        (TWO, Reason.AGENT_FAILED),
        (ONE, Reason.EXPIRED_AT_SEND),
    ]
    assert found[0].missed_at == at(clock)
    assert [m.task_id for m in store.missed_briefly(since_s=50)] == [TWO]
    assert [m.task_id for m in store.missed_briefly(limit=1)] == [TWO]


def test_what_is_discarded_is_no_work_done(store, clock):
    lease = claim(store)
    clock.advance(30)
    miss(store, lease)
    clock.advance(4000)

    store.discard(ONE)

    assert store.pace(over_s=60).finished == 0


@pytest.mark.parametrize("id_", ["bots", "sweep", "schema"])
def test_no_id_of_others_meets_what_the_store_keeps_beside_messages(store, id_):
    claim(store)
    store.due(limit=1, hold_s=1)

    assert store.story(id_) is None
    claimed = store.claim(id_, owner="me", lease_s=15, envelope=envelope(7))
    assert isinstance(claimed, Claimed)
    assert claimed.takeovers == 0


def test_one_without_an_answer_is_run_anew(store, clock):
    lease = claim(store)
    miss(store, lease, Reason.AGENT_FAILED)
    clock.advance(100)

    again = store.rerun(ONE, hold_s=15)

    assert again is not None
    assert (again.task_id, again.message_id, again.has_answer) == (ONE, "msg1", False)
    assert store.missed() == []
    claimed = store.claim(ONE, owner="me", lease_s=15, envelope=None)
    assert isinstance(claimed, Claimed)
    assert claimed.rerun
    assert (claimed.attempts, claimed.takeovers, claimed.answer) == (0, 0, None)
    miss(store, claimed.lease, Reason.AGENT_FAILED)
    [reply] = store.missed()
    assert reply.missed_at == at(clock)
    assert names(store, ONE) == ["taken", "rerun", "taken"]


def test_a_rerun_nobody_published_is_due_after_a_while(store, clock):
    missed(store, answer=None)
    store.rerun(ONE, hold_s=15)

    assert store.due(limit=10, hold_s=60) == []
    clock.advance(15)
    assert [due.task_id for due in store.due(limit=10, hold_s=60)] == [ONE]


def test_a_rerun_ends_with_the_first_end(store):
    missed(store, answer=None)
    store.rerun(ONE, hold_s=15)
    lease = claim(store)
    store.miss(lease, state="FAILURE", reason=Reason.AGENT_FAILED, errcode=None, detail="")
    store.rerun(ONE, hold_s=15)
    taken = claim(store)
    store.finish(taken, "SUCCESS")

    assert store.find_missed(ONE) is None
    story = store.story(ONE)
    assert story is not None
    assert story.outcome == "SUCCESS"


@pytest.mark.parametrize("how", ["answered", "kept", "unknown", "handled"])
def test_only_an_open_miss_without_an_answer_is_run_anew(store, how):
    if how == "answered":
        store.finish(claim(store), "SUCCESS")
    elif how != "unknown":
        missed(store, answer="the answer" if how == "kept" else None)
    if how == "handled":
        taken = store.take_missed_one(ONE, owner="operator", lease_s=5)
        assert taken is not None
        store.settle(taken[0], "SUCCESS")

    assert store.rerun(ONE, hold_s=15) is None


def test_what_is_discarded_is_gone_but_for_its_story(store):
    missed(store)

    assert store.discard(ONE)

    assert not store.discard(ONE)
    assert store.find_missed("msg1") is None
    assert store.missed() == []
    assert store.take_missed("robot", "cid1", owner="w", lease_s=15, limit=9) == []
    story = store.story("msg1")
    assert story is not None
    assert (story.state, story.outcome, story.steps[-1].name) == ("done", "DROPPED", "discarded")


def test_nothing_unfinished_is_discarded(store):
    claim(store)

    assert not store.discard(ONE)
    assert not store.discard(TWO)


# Routes.


def routed(clock: FakeClock, webhook: str, *, for_s: float) -> dict[str, Any]:
    deadline = at(clock) + timedelta(seconds=for_s)
    return {"session_webhook": webhook, "deadline": deadline.isoformat()}


def test_the_route_is_the_last_living_webhook_of_the_same_bot_and_conversation(store, clock):
    missed(store, 1, **routed(clock, "https://old", for_s=60))
    store.finish(claim(store, 2, **routed(clock, "https://new", for_s=120)), "SUCCESS")
    claim(store, 3, conversation_id="another", **routed(clock, "https://other", for_s=300))

    route = store.route("robot", "cid1")

    assert route is not None
    assert (route["session_webhook"], route["message_id"]) == ("https://new", "msg2")
    assert store.route("another bot", "cid1") is None
    clock.advance(121)
    assert store.route("robot", "cid1") is None


def test_a_sealed_route_stays_sealed_and_a_message_without_webhook_is_none(store, clock):
    deadline = (at(clock) + timedelta(seconds=60)).isoformat()
    claim(store, 1, deadline=deadline)
    assert store.route("robot", "cid1") is None

    claim(store, 2, deadline=deadline, sealed="gAAAA", text="")

    route = store.route("robot", "cid1")
    assert route is not None
    assert route["sealed"] == "gAAAA"
    assert "text" not in route


def test_the_route_goes_by_dingtalks_clock(store, clock):
    claim(store, **routed(clock, "https://w", for_s=60), clock_offset_s=100)

    assert store.route("robot", "cid1") is None


@pytest.mark.parametrize("store_place", ["postgresql", "sqlite"], indirect=True)
def test_a_webhook_that_is_over_is_not_kept(store_place, clock):
    """Redis has it expire."""
    store = store_place.open(clock_ms=clock)
    store.prepare()
    missed(store, 1, **routed(clock, "https://one", for_s=60))
    store.finish(claim(store, 2, **routed(clock, "https://two", for_s=60)), "SUCCESS")
    claim(store, 3, **routed(clock, "https://three", for_s=600))
    store.discard(ONE)
    clock.advance(61)

    store.prune()

    with store._database.one() as connection:
        rows = connection.execute(text("SELECT route FROM dingtalk_messages ORDER BY message_id"))
        routes = [row[0] for row in rows]
    assert routes[:2] == [None, None]
    assert "https://three" in routes[2]
    store.close()


# Work in hand, and its pace.


def test_what_is_unfinished_is_listed_with_its_state(store):
    claim(store, 1, turn=Turn("lane", (1, 1)))
    store.claim(TWO, owner="me", lease_s=15, envelope=envelope(2), turn=Turn("lane", (2, 2)))
    store.release(claim(store, 3), due_in_s=5)
    missed(store, 4)
    store.finish(claim(store, 5), "SUCCESS")

    found = {item.task_id: (item.state, item.envelope["message_id"]) for item in store.unfinished()}

    assert found == {
        ONE: ("running", "msg1"),
        TWO: ("parked", "msg2"),
        THREE: ("waiting", "msg3"),
    }
    assert len(store.unfinished(limit=1)) == 1


def test_the_pace_leaves_out_what_is_no_message(store):
    store.finish(claim(store), "SUCCESS", paced=False)

    assert store.pace(over_s=60).finished == 0
    story = store.story("msg1")
    assert story is not None
    assert (story.state, story.outcome) == ("done", "SUCCESS")


def test_the_pace_counts_what_was_finished_lately_and_how_long_it_took(store, clock):
    store.finish(claim(store, 1), "SUCCESS")
    clock.advance(400)
    lease = claim(store, 2)
    clock.advance(2)
    store.finish(lease, "SUCCESS")
    lease = claim(store, 3)
    clock.advance(3)
    miss(store, lease)

    pace = store.pace(over_s=60)

    assert (pace.finished, pace.work_s, pace.over_s) == (2, 5.0, 60)


# Notes.


def test_a_note_is_read_until_it_is_replaced_or_expires(store_place):
    """Redis expires by its own clock, so this one passes for real."""
    store = store_place.open()
    store.prepare()
    store.remember("worker", "one", {"slots": 1}, ttl_s=60)
    store.remember("worker", "one", {"slots": 2}, ttl_s=60)
    store.remember("worker", "two", {"slots": 3}, ttl_s=60)
    store.remember("worker", "gone", {}, ttl_s=0.001)
    store.remember("listener", "one", {}, ttl_s=60)

    wait_for(lambda: len(store.remembered("worker")) == 2, what="the note to expire")
    notes = store.remembered("worker")

    assert [(note.key, note.facts) for note in notes] == [
        ("one", {"slots": 2}),
        ("two", {"slots": 3}),
    ]
    assert all(0 <= note.age_s < 30 for note in notes)
    assert store.remembered("unknown") == []
    store.prune()
    assert len(store.remembered("worker")) == 2
    store.close()


def test_names_of_notes_that_are_over_are_forgotten_without_a_listing(redis_url):
    """There is a note for each card, and nobody ever lists those."""
    url = redis_url.removesuffix("/0") + "/9"
    store = open_store(url, missed_ttl_s=60)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        for number in range(50):
            store.remember("card", f"task{number}", {}, ttl_s=0.001)
        wait_for(lambda: not client.keys("*card:task*"), limit_s=60, what="the notes to expire")
        for _ in range(200):
            store.remember("card", "task", {}, ttl_s=60)
        [names] = [key for key in client.scan_iter() if key.endswith(b"card")]
        left = client.scard(names)
        client.flushdb()
    store.close()

    assert left < 25


def test_a_note_says_its_age_by_the_stores_clock(store, clock):
    store.remember("worker", "one", {}, ttl_s=60)
    clock.advance(7)

    [note] = store.remembered("worker")

    assert note.age_s == 7


def test_of_many_one_is_first_until_the_time_is_over(store_place):
    store = store_place.open()
    store.prepare()

    assert [store.is_first("alert", "all", within_s=60) for _ in range(3)] == [True, False, False]
    assert store.is_first("alert", "other", within_s=60)
    assert store.is_first("short", "all", within_s=0.001)

    wait_for(lambda: store.is_first("short", "all", within_s=60), what="the time to be over")
    assert store.remembered("alert") == []
    store.close()
