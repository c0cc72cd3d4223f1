"""What of a conversation is unfinished can be stopped, in one step: Redis, PostgreSQL, SQLite."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.integration.store_place import StorePlace, envelope
from tests.servers import wait_for
from worker.store import (
    Claimed,
    Finished,
    LeaseLostError,
    Merged,
    Open,
    Parked,
    Reason,
    Step,
    StoppedEarly,
    StopResult,
    Store,
    Turn,
)

FACTS = {"by_message_id": "stop"}


def claim(store: Store, number: int, *, lane: str | None = "lane1", **more: Any) -> Any:
    """Claim message ``number``, written at that time."""
    known = ("conversation_id", "bot")
    content = envelope(number, **{name: more.pop(name) for name in known if name in more})
    after, merge = more.pop("after", None), more.pop("merge", False)
    turn = None if lane is None else Turn(lane, (number, number), after=after, merge=merge)
    options: dict[str, Any] = {"lease_s": 15.0, "written": (number, number)} | more
    return store.claim(f"task{number}", owner="me", envelope=content, turn=turn, **options)


def claimed(store: Store, number: int, **more: Any) -> Claimed:
    found = claim(store, number, **more)
    assert isinstance(found, Claimed)
    return found


def stop(store: Store, at: int, *, received_us: int = 0, **more: Any) -> StopResult:
    """Stop what was written before this time."""
    options: dict[str, Any] = {"before": (at, received_us), "facts": FACTS, "hold_s": 15.0} | more
    return store.stop("robot", "cid1", **options)


def ended(result: StopResult) -> list[tuple[str, str, bool]]:
    return [(each.message_id, each.state, each.is_at_work) for each in result.messages]


def last_step(store: Store, number: int) -> tuple[str, dict[str, Any]]:
    story = store.story(f"task{number}")
    assert story is not None
    return story.steps[-1].name, story.steps[-1].facts


def test_what_runs_and_what_waits_ends_as_cancelled(store):
    lease = claimed(store, 1).lease
    assert claim(store, 2) == Parked()

    result = stop(store, 3)

    assert ended(result) == [("msg1", "running", True), ("msg2", "parked", False)]
    assert [each.envelope["text"] for each in result.messages] == ["what was written"] * 2
    assert result.next == ()
    assert claim(store, 1) == claim(store, 2) == Finished("CANCELLED")
    with pytest.raises(LeaseLostError):
        store.finish(lease, "SUCCESS")
    assert store.unfinished() == []
    assert store.due(limit=10, hold_s=15) == []
    assert store.missed() == []


def test_no_part_of_a_stopped_answer_may_be_sent(store):
    lease = claimed(store, 1).lease
    store.keep_answer(lease, "answer")
    stop(store, 2)

    with pytest.raises(LeaseLostError):
        store.sending(lease, sent=0)
    assert store.renew([lease], lease_s=15) == [lease]


def test_the_story_tells_who_stopped_what_and_what_may_have_arrived(store):
    posting = claimed(store, 1).lease
    store.keep_answer(posting, "answer")
    store.sending(posting, sent=0)
    claim(store, 2)

    stop(store, 3)

    assert last_step(store, 1) == ("stopped", {"was": "running", "in_doubt": True, **FACTS})
    assert last_step(store, 2) == ("stopped", {"was": "parked", **FACTS})
    story = store.story("task1")
    assert story is not None
    assert (story.state, story.outcome) == ("done", "CANCELLED")


def test_a_message_that_waits_for_its_next_attempt_is_stopped(store, clock):
    lease = claimed(store, 1).lease
    store.keep_answer(lease, "answer")
    store.release(lease, due_in_s=30, sent=1)

    assert ended(stop(store, 2)) == [("msg1", "waiting", False)]
    clock.advance(30)

    assert store.due(limit=10, hold_s=15) == []
    assert store.claim("task1", owner="me", lease_s=15, envelope=None) == Finished("CANCELLED")


def test_one_whose_worker_is_dead_is_nobodys_work(store, clock):
    claimed(store, 1, lease_s=15)
    clock.advance(15)

    assert ended(stop(store, 2)) == [("msg1", "running", False)]


def test_what_was_written_later_is_left_and_the_lane_goes_on_with_it(store):
    claimed(store, 1)
    assert claim(store, 3) == Parked()
    assert claim(store, 4) == Parked()

    result = stop(store, 2)

    assert ended(result) == [("msg1", "running", True)]
    assert [each.task_id for each in result.next] == ["task3"]
    lease = claimed(store, 3).lease
    handed = store.finish(lease, "SUCCESS")
    assert handed is not None
    assert handed.task_id == "task4"


def test_who_is_next_and_was_not_published_is_due_after_a_while(store, clock):
    claimed(store, 1)
    claim(store, 3)
    stop(store, 2, hold_s=15.0)

    clock.advance(14.9)
    assert store.due(limit=10, hold_s=15) == []
    clock.advance(0.1)

    assert [each.task_id for each in store.due(limit=10, hold_s=15)] == ["task3"]


def test_a_later_message_that_has_the_turn_keeps_it(store):
    lease = claimed(store, 3).lease
    assert claim(store, 1) == Parked()

    result = stop(store, 2)

    assert ended(result) == [("msg1", "parked", False)]
    assert result.next == ()
    store.finish(lease, "SUCCESS")


def test_within_a_millisecond_what_was_received_before_is_stopped(store):
    claimed(store, 1, lane=None, written=(5, 20))
    claimed(store, 2, lane=None, written=(5, 40))

    assert ended(stop(store, 5, received_us=40)) == [("msg1", "running", True)]


def test_messages_without_a_lane_and_of_several_lanes_are_stopped(store):
    claimed(store, 1, lane=None)
    claimed(store, 2, lane="alice")
    claimed(store, 3, lane="bob")
    for number, lane in ((8, "alice"), (9, "bob")):
        assert claim(store, number, lane=lane) == Parked()

    result = stop(store, 5)

    assert [each.message_id for each in result.messages] == ["msg1", "msg2", "msg3"]
    assert sorted(each.task_id for each in result.next) == ["task8", "task9"]


def test_another_conversation_and_another_bot_are_left(store):
    others = (
        claimed(store, 1, lane="lane2", conversation_id="cid2"),
        claimed(store, 2, lane="lane3", bot="robot2"),
    )

    assert stop(store, 9).messages == ()

    for other in others:
        store.finish(other.lease, "SUCCESS")
    assert isinstance(claim(store, 3, lane="lane2", conversation_id="cid2"), Claimed)


def test_what_nobody_can_stop_is_left(store):
    """Card buttons, and what stops others."""
    lease = claimed(store, 1, written=None).lease

    assert stop(store, 9).messages == ()
    assert store.open_in("robot", "cid1") == []

    assert isinstance(claim(store, 2, lane=None, written=None), Claimed)
    store.finish(lease, "SUCCESS")


def test_one_message_alone_can_be_stopped(store):
    claimed(store, 1)
    claim(store, 2)
    claim(store, 3)

    result = stop(store, 9, task_id="task2")

    assert ended(result) == [("msg2", "parked", False)]
    assert claim(store, 4) == Parked()
    assert claim(store, 3) == Parked()


def test_what_an_operator_or_a_handover_has_taken_is_his(store):
    lease = claimed(store, 1).lease
    store.keep_answer(lease, "answer")
    store.miss(lease, state="FLAGGED", reason=Reason.EXPIRED_AT_SEND, errcode=None, detail="")
    taken = store.take_missed_one("task1", owner="operator", lease_s=15)
    assert taken is not None

    assert stop(store, 9).messages == ()
    assert store.open_in("robot", "cid1") == []

    store.settle(taken[0], "SUCCESS")


def test_a_missed_reply_is_kept(store):
    lease = claimed(store, 1).lease
    store.miss(lease, state="FAILURE", reason=Reason.AGENT_FAILED, errcode=None, detail="")

    assert stop(store, 9).messages == ()
    assert [each.message_id for each in store.missed()] == ["msg1"]


def test_what_an_operator_had_run_anew_is_stopped(store):
    lease = claimed(store, 1).lease
    store.miss(lease, state="FAILURE", reason=Reason.AGENT_FAILED, errcode=None, detail="")
    store.rerun("task1", hold_s=15)

    assert ended(stop(store, 9)) == [("msg1", "waiting", False)]
    assert claim(store, 1) == Finished("CANCELLED")


def test_a_turn_of_merged_messages_is_stopped_as_one(store):
    lease = claimed(store, 1).lease
    claim(store, 2)
    claim(store, 3)
    store.finish(lease, "SUCCESS")
    assert isinstance(claim(store, 2, merge=True), Merged)

    assert ended(stop(store, 9)) == [("msg3", "parked", False)]
    assert claim(store, 3) == Finished("CANCELLED")


def test_what_comes_from_the_broker_only_after_it_was_stopped_is_not_begun(store):
    stop(store, 5)

    early = claim(store, 3)
    later = claim(store, 6)

    assert early == StoppedEarly(FACTS)
    assert claim(store, 3) == Finished("CANCELLED")
    assert last_step(store, 3) == ("stopped", {"was": "queued", **FACTS})
    assert isinstance(later, Claimed)
    assert store.open_in("robot", "cid1")[0].task_id == "task6"
    assert [each.task_id for each in store.unfinished()] == ["task6"]


def test_its_story_begins_all_the_same(store):
    stop(store, 5)
    claim(store, 3, steps=[Step("received", {"message_id": "msg3"})])

    story = store.story("task3")
    assert story is not None
    assert [step.name for step in story.steps] == ["received", "stopped"]


def test_who_waited_for_one_that_is_not_begun_is_next(store):
    stop(store, 5)
    assert claim(store, 6, after="task3") == Parked()

    early = claim(store, 3)

    assert isinstance(early, StoppedEarly)
    assert early.next is not None
    assert early.next.task_id == "task6"
    assert isinstance(claim(store, 6), Claimed)


def test_of_two_stops_the_later_one_counts_in_whatever_order_they_come(store):
    stop(store, 5)
    stop(store, 3, facts={"by_message_id": "an earlier one"})

    assert claim(store, 4) == StoppedEarly(FACTS)
    assert isinstance(claim(store, 5), Claimed)


def test_a_stop_of_one_message_leaves_what_is_not_known_yet(store):
    claimed(store, 1, lane=None)
    stop(store, 5, task_id="task1")

    assert isinstance(claim(store, 2), Claimed)


def test_a_stop_is_forgotten_after_a_day(store_place, clock):
    store = store_place.open(clock_ms=clock, done_ttl_s=0.05)
    store.prepare()
    stop(store, 5)
    clock.advance(0.05)

    def is_begun() -> bool:
        return isinstance(claim(store, 3, lane=None), Claimed)

    wait_for(is_begun, what="the stop to be forgotten")
    store.close()


def test_a_stop_can_be_made_again(store):
    """As after a crash, or when its answer was lost."""
    claimed(store, 1)

    assert len(stop(store, 5).messages) == 1
    assert stop(store, 5) == StopResult(())


def test_workers_hear_of_it_when_something_was_at_work_and_only_then(store):
    before = store.last_stop()
    claimed(store, 1)
    claim(store, 2)
    stop(store, 9, task_id="task2")
    assert store.last_stop() == before

    stop(store, 9)
    first = store.last_stop()
    claimed(store, 10)
    stop(store, 19)

    assert len({before, first, store.last_stop()}) == 3


def test_what_is_open_is_told_as_it_takes_turns(store, clock):
    claimed(store, 2)
    claim(store, 4)
    claim(store, 3)
    claimed(store, 5, lane=None)
    clock.advance(2.5)
    waiting = claimed(store, 1, lane="lane2").lease
    store.release(waiting, due_in_s=30)

    found = store.open_in("robot", "cid1")

    assert [(each.task_id, each.state, each.running_s) for each in found] == [
        ("task2", "running", 2.5),
        ("task5", "running", 2.5),
        ("task1", "waiting", None),
        ("task3", "parked", None),
        ("task4", "parked", None),
    ]
    assert found[0].envelope["text"] == "what was written"


def test_what_is_finished_is_open_no_more(store):
    first, second = claimed(store, 1, lane=None).lease, claimed(store, 2, lane=None).lease
    store.finish(first, "SUCCESS")
    store.miss(second, state="FLAGGED", reason=Reason.AGENT_TIMEOUT, errcode=None, detail="")

    assert store.open_in("robot", "cid1") == []


def test_nothing_is_open_where_nobody_wrote(store):
    found: list[Open] = store.open_in("robot", "another")

    assert found == []
    assert store.stop("robot", "another", before=(5, 0), facts=FACTS, hold_s=15) == StopResult(())


def test_of_messages_that_come_at_the_same_moment_none_escapes(store_place):
    """Each is found by the stop, or finds what the stop has noted; nobody waits for ever."""
    store = store_place.open()
    store.prepare()
    begin = threading.Barrier(5)

    def come_in(worker: int) -> None:
        begin.wait()
        for number in range(worker * 10, worker * 10 + 10):
            claim(store, number, lane=f"lane{number % 3}")

    def say_stop() -> None:
        begin.wait()
        stop(store, 1000)

    with ThreadPoolExecutor(5) as pool:
        done = [*(pool.submit(come_in, worker) for worker in range(4)), pool.submit(say_stop)]
        for each in done:
            each.result(120)

    assert store.open_in("robot", "cid1") == []
    assert {claim(store, number) for number in range(40)} == {Finished("CANCELLED")}
    store.close()


def test_a_stop_and_a_heartbeat_never_wait_for_each_other(postgresql_url):
    """PostgreSQL would end one of them: a lease not renewed, or a stop that fails."""
    name = f"test{uuid.uuid4().hex}"
    url = f"{postgresql_url}?options=-csearch_path%3D{name}&application_name={name}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    store = StorePlace(url).open()
    store.prepare()
    # The order of their ids is not the one in which they were written.
    later = claimed(store, 1, lane=None, written=(2, 2)).lease
    earlier = claimed(store, 2, lane=None, written=(1, 1)).lease

    watching = psycopg.connect(postgresql_url, autocommit=True)
    with watching as watch, psycopg.connect(url) as gate, ThreadPoolExecutor(2) as pool:
        gate.execute("SELECT 1 FROM dingtalk_messages WHERE task_id = 'task1' FOR UPDATE")

        def waiting() -> int:
            who = "application_name = %s AND wait_event_type = 'Lock'"
            found = watch.execute(f"SELECT 1 FROM pg_stat_activity WHERE {who}", [name])
            return len(found.fetchall())

        renewed = pool.submit(store.renew, [later, earlier], lease_s=15)
        wait_for(lambda: waiting() == 1, what="the heartbeat to wait")
        stopped = pool.submit(stop, store, 9)
        wait_for(lambda: waiting() == 2, what="the stop to wait")
        gate.rollback()
        assert renewed.result(120) == []
        assert len(stopped.result(120).messages) == 2
    store.close()
