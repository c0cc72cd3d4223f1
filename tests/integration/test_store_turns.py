"""One message of a lane at a time, in the order they were written: Redis, PostgreSQL, SQLite."""

import threading
from typing import Any

import pytest

from tests.integration.store_place import envelope
from worker.store import Claimed, Finished, Held, Merged, Parked, Reason, Store, Turn


def turn(number: int, *, lane: str = "lane1", **more: Any) -> Turn:
    return Turn(lane, (number, number), **more)


def claim(store: Store, number: int, *, lease_s: float = 15.0, **more: Any) -> Any:
    """Claim message ``number``, written at that time."""
    content = envelope(number, text=f"text {number}")
    return store.claim(
        f"task{number}", owner="me", lease_s=lease_s, envelope=content, turn=turn(number, **more)
    )


def claimed(store: Store, number: int, **more: Any) -> Claimed:
    found = claim(store, number, **more)
    assert isinstance(found, Claimed)
    return found


def next_id(store: Store, lease) -> str | None:
    message = store.finish(lease, "SUCCESS")
    return None if message is None else message.task_id


def test_the_second_waits_until_the_first_is_finished_and_is_handed_out_then(store):
    first = claimed(store, 1)

    assert claim(store, 2) == Parked()
    handed = store.finish(first.lease, "SUCCESS")

    assert handed is not None
    assert (handed.task_id, handed.message_id, handed.has_answer) == ("task2", "msg2", False)
    assert handed.envelope["text"] == "text 2"
    assert claimed(store, 2).envelope["text"] == "text 2"


def test_those_that_wait_go_in_the_order_they_were_written(store):
    first = claimed(store, 1)
    for number in (4, 2, 3):
        assert claim(store, number) == Parked()

    order = [next_id(store, first.lease)]
    while order[-1] is not None:
        order.append(next_id(store, claimed(store, int(order[-1][4:])).lease))

    assert order == ["task2", "task3", "task4", None]


def test_within_a_millisecond_the_one_received_first_goes_first(store):
    first = claimed(store, 1)
    for task, received_us in (("b", 20), ("a", 30), ("c", 10)):
        store.claim(
            task, owner="me", lease_s=15, envelope=envelope(), turn=Turn("lane1", (2, received_us))
        )

    order = [next_id(store, first.lease)]
    while order[-1] is not None:
        again = store.claim(order[-1], owner="me", lease_s=15, envelope=envelope(), turn=turn(2))
        order.append(next_id(store, again.lease))

    assert order == ["c", "b", "a", None]


def test_lanes_do_not_wait_for_each_other_and_none_waits_for_nothing(store):
    claimed(store, 1, lane="one")

    claimed(store, 2, lane="two")
    alone = store.claim("task3", owner="me", lease_s=15, envelope=envelope(3))

    assert isinstance(alone, Claimed)


def test_a_message_that_was_written_earlier_but_comes_later_does_not_interrupt(store):
    later = claimed(store, 2)

    assert claim(store, 1) == Parked()
    assert next_id(store, later.lease) == "task1"


def test_the_turn_is_kept_over_a_retry_and_over_a_takeover(store, clock):
    first = claimed(store, 1)
    assert claim(store, 2) == Parked()

    store.release(first.lease, due_in_s=30)
    assert claim(store, 2) == Parked()
    clock.advance(30)
    claimed(store, 1, lease_s=15)
    clock.advance(15)
    assert claim(store, 2) == Parked()
    assert claimed(store, 1).takeovers == 1


def test_a_missed_reply_gives_the_turn_on(store):
    first = claimed(store, 1)
    claim(store, 2)

    handed = store.miss(
        first.lease, state="FLAGGED", reason=Reason.AGENT_TIMEOUT, errcode=None, detail=""
    )

    assert handed is not None
    assert handed.task_id == "task2"


def test_who_was_handed_out_and_never_claimed_is_due_after_the_length_of_a_lease(store, clock):
    """Whoever finished the message before may die before it has published the next."""
    first = claimed(store, 1, lease_s=15)
    claim(store, 2)
    store.finish(first.lease, "SUCCESS")

    clock.advance(14.9)
    assert store.due(limit=10, hold_s=15) == []
    clock.advance(0.1)

    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task2"]


def test_a_copy_in_a_long_queue_is_multiplied_less_and_less(store, clock):
    lease = claimed(store, 1, lease_s=15).lease
    store.release(lease, due_in_s=0)

    times = []
    for second in range(300):
        if store.due(limit=10, hold_s=15):
            times.append(second)
        clock.advance(1)

    assert times == [0, 15, 45, 120, 270]


def test_a_parked_message_that_is_the_next_looks_after_itself_now_and_then(store, clock):
    """Should it be lost on its way to a worker, again and again."""
    lease = claimed(store, 1).lease
    claim(store, 2)
    store.finish(lease, "SUCCESS")

    clock.advance(15)
    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task2"]
    clock.advance(30)

    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task2"]


def test_what_waits_behind_another_one_is_not_published_for_nothing(store, clock):
    """However many there are: they do not keep what is due behind them, either."""
    claimed(store, 1, lease_s=36_000)
    for number in range(2, 30):
        assert claim(store, number) == Parked()
    store.release(claimed(store, 50, lane="lane2").lease, due_in_s=61)

    clock.advance(61)
    assert [message.task_id for message in store.due(limit=5, hold_s=600)] == ["task50"]
    clock.advance(61)

    assert store.due(limit=5, hold_s=600) == []


# The predecessor.


def test_a_message_waits_for_the_one_before_it_to_be_known(store):
    """A worker died with that one in its hands, before it was claimed."""
    assert claim(store, 2, after="task1") == Parked()

    first = claimed(store, 1)

    assert claim(store, 2, after="task1") == Parked()
    assert next_id(store, first.lease) == "task2"
    claimed(store, 2, after="task1")


def test_it_does_not_wait_for_ever(store, clock):
    assert claim(store, 2, after="task1", wait_s=60) == Parked()
    clock.advance(59.9)
    assert store.due(limit=10, hold_s=15) == []
    assert claim(store, 2, after="task1", wait_s=60) == Parked()
    clock.advance(0.1)

    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task2"]
    claimed(store, 2, after="task1", wait_s=60)


def test_it_does_not_wait_for_one_that_is_done(store):
    store.finish(claimed(store, 1).lease, "SUCCESS")

    claimed(store, 2, after="task1")


def test_who_waited_for_a_message_that_has_its_place_behind_is_handed_out_by_its_coming(store):
    """It came before, and was written after: the clocks of DingTalk's servers differ a little."""
    assert claim(store, 2, after="task3") == Parked()

    coming = claim(store, 3)

    assert isinstance(coming, Parked)
    assert coming.next is not None
    assert coming.next.task_id == "task2"
    claimed(store, 2, after="task3")


def test_it_goes_at_once_when_the_one_it_waited_for_finds_the_lane_full(store):
    """That one has no place in the lane, so its end hands the turn to nobody."""
    assert claim(store, 2, after="task1", max_waiting=1) == Parked()

    crowded = claimed(store, 1, max_waiting=1)

    assert crowded.crowded
    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task2"]
    claimed(store, 2, after="task1", max_waiting=1)


# How many may wait.


def test_one_too_many_is_claimed_to_be_told_so(store):
    first = claimed(store, 1, max_waiting=1)
    assert claim(store, 2, max_waiting=1) == Parked()

    crowded = claimed(store, 3, max_waiting=1)

    assert crowded.crowded
    assert store.finish(crowded.lease, "DROPPED") is None
    assert next_id(store, first.lease) == "task2"
    assert not claimed(store, 2, max_waiting=1).crowded


def test_nobody_is_too_many_in_an_empty_lane(store):
    assert not claimed(store, 1, max_waiting=0).crowded
    assert claimed(store, 2, max_waiting=0).crowded


def test_that_it_was_one_too_many_is_remembered_over_a_takeover(store, clock):
    claimed(store, 1, max_waiting=0, lease_s=60)
    claimed(store, 2, max_waiting=0, lease_s=15)
    clock.advance(15)

    assert claimed(store, 2, max_waiting=0).crowded


# Merging.


def test_what_waited_becomes_part_of_the_last_ones_turn(store):
    first = claimed(store, 1, merge=True)
    for number in (2, 3, 4):
        assert claim(store, number, merge=True) == Parked()
    assert next_id(store, first.lease) == "task2"

    merged = claim(store, 2, merge=True)

    assert isinstance(merged, Merged)
    assert merged.next.task_id == "task4"
    assert merged.messages == (("task2", "msg2"), ("task3", "msg3"))
    turn_of_all = claimed(store, 4, merge=True)
    assert turn_of_all.envelope["earlier"] == [
        {"message_id": "msg2", "text": "text 2"},
        {"message_id": "msg3", "text": "text 3"},
    ]
    for number in (2, 3):
        assert claim(store, number, merge=True) == Finished("CANCELLED")
    assert store.finish(turn_of_all.lease, "SUCCESS") is None


def test_a_turn_that_was_merged_may_be_merged_again(store):
    first = claimed(store, 1, merge=True)
    claim(store, 2, merge=True)
    claim(store, 3, merge=True)
    store.finish(first.lease, "SUCCESS")
    assert isinstance(claim(store, 2, merge=True), Merged)
    claim(store, 4, merge=True)

    again = claim(store, 3, merge=True)

    assert isinstance(again, Merged)
    earlier = claimed(store, 4, merge=True).envelope["earlier"]
    assert [each["message_id"] for each in earlier] == ["msg2", "msg3"]


def test_only_messages_of_one_sender_become_one_turn(store):
    first = claimed(store, 1, merge=True, sender="alice")
    for number, sender in ((2, "alice"), (3, "alice"), (4, "bob"), (5, "alice")):
        claim(store, number, merge=True, sender=sender)
    store.finish(first.lease, "SUCCESS")

    merged = claim(store, 2, merge=True, sender="alice")

    assert isinstance(merged, Merged)
    assert merged.next.task_id == "task3"
    third = claimed(store, 3, merge=True, sender="alice")
    assert next_id(store, third.lease) == "task4"


def test_nothing_is_merged_over_a_message_that_is_still_to_come(store):
    """A worker died with it in its hands; its turn is before the one that was written after it."""
    first = claimed(store, 1, merge=True)
    claim(store, 2, merge=True, after="task1")
    claim(store, 3, merge=True, after="task2")
    claim(store, 5, merge=True, after="task4")
    store.finish(first.lease, "SUCCESS")

    merged = claim(store, 2, merge=True, after="task1")

    assert isinstance(merged, Merged)
    assert merged.next.task_id == "task3"
    third = claimed(store, 3, merge=True)
    assert claim(store, 4, merge=True, after="task3") == Parked()
    assert next_id(store, third.lease) == "task4"


def test_a_merged_turn_that_is_missed_shows_all_of_it(store):
    first = claimed(store, 1, merge=True)
    claim(store, 2, merge=True)
    claim(store, 3, merge=True)
    store.finish(first.lease, "SUCCESS")
    claim(store, 2, merge=True)
    third = claimed(store, 3, merge=True)

    store.miss(third.lease, state="FAILURE", reason=Reason.AGENT_FAILED, errcode=None, detail="")

    [missed] = store.missed()
    assert missed.envelope["earlier"] == [{"message_id": "msg2", "text": "text 2"}]


# Parts, and posts in doubt.


def test_who_takes_over_knows_which_parts_arrived_and_that_one_is_in_doubt(store, clock):
    first = claimed(store, 1, lease_s=15)
    assert (first.sent, first.in_doubt) == (0, False)
    store.keep_answer(first.lease, "answer")
    store.sending(first.lease, sent=2)
    clock.advance(15)

    second = claimed(store, 1)

    assert (second.sent, second.in_doubt) == (2, True)
    store.release(second.lease, due_in_s=0, attempts=1, sent=3, in_doubt=False)
    third = claimed(store, 1)
    assert (third.sent, third.in_doubt, third.attempts) == (3, False, 1)


def test_a_message_given_back_as_it_is_keeps_its_doubt(store):
    first = claimed(store, 1)
    store.sending(first.lease, sent=0)
    store.release(first.lease, due_in_s=0)

    assert claimed(store, 1).in_doubt


# Kept answers of a conversation.


def keep(store: Store, number: int, *, reason=Reason.EXPIRED_RUNNING, answer="a", **more) -> None:
    lease = claimed(store, number, lane=f"lane{number}").lease
    if answer is not None:
        store.keep_answer(lease, f"{answer}{number}")
    store.miss(lease, state="FLAGGED", reason=reason, errcode=7, detail="why", **more)


def take(store: Store, conversation_id: str = "cid1", bot: str = "robot", limit: int = 10):
    return store.take_missed(bot, conversation_id, owner="me", lease_s=15, limit=limit)


def test_kept_answers_of_a_conversation_are_taken_oldest_first_and_once(store, clock):
    for number in (1, 2, 3):
        keep(store, number)
        clock.advance(1)

    [first, second] = take(store, limit=2)

    assert [first[1].answer, second[1].answer] == ["a1", "a2"]
    assert (first[1].reason, first[1].errcode, first[1].detail) == (
        Reason.EXPIRED_RUNNING,
        7,
        "why",
    )
    assert [missed.message_id for missed in store.missed()] == ["msg3"]
    assert store.find_missed("msg1") is None
    assert [missed.answer for _, missed in take(store)] == ["a3"]
    assert take(store) == []


def test_what_was_taken_is_finished_or_missed_again(store):
    keep(store, 1)
    keep(store, 2)
    [(one, _), (two, missed)] = take(store)

    store.finish(one, "SUCCESS")
    store.miss(two, state=missed.state, reason=missed.reason, errcode=None, detail="again")

    assert claim(store, 1) == Finished("SUCCESS")
    assert [m.detail for m in store.missed()] == ["again"]
    assert [m.task_id for _, m in take(store)] == ["task2"]


def test_another_conversation_and_another_bot_get_nothing(store):
    keep(store, 1)

    assert take(store, conversation_id="cid2") == []
    assert take(store, bot="robot2") == []


@pytest.mark.parametrize(
    "more",
    [{"reason": Reason.AGENT_FAILED}, {"answer": None}, {"in_doubt": True}],
    ids=["refused", "no answer", "in doubt"],
)
def test_what_may_not_be_sent_later_stays_with_the_operator(store, more):
    keep(store, 1, **more)

    assert take(store) == []
    assert [m.message_id for m in store.missed()] == ["msg1"]


def test_a_worker_that_dies_with_taken_answers_leaves_them_to_the_sweep(store, clock):
    keep(store, 1)
    [(lease, _)] = take(store)
    store.sending(lease, sent=0)
    clock.advance(15)

    [message] = store.due(limit=10, hold_s=15)

    assert message.has_answer
    again = store.claim("task1", owner="other", lease_s=15, envelope=None)
    assert isinstance(again, Claimed)
    assert (again.answer, again.in_doubt) == ("a1", True)


def test_a_doubt_that_was_settled_is_not_remembered(store, clock):
    """DingTalk said no to that post, so what comes later starts without a doubt."""
    lease = claimed(store, 1).lease
    store.keep_answer(lease, "a1")
    store.sending(lease, sent=0)
    store.miss(lease, state="FLAGGED", reason=Reason.THROTTLED, errcode=1, detail="")
    take(store)
    clock.advance(15)

    again = store.claim("task1", owner="other", lease_s=15, envelope=None)

    assert isinstance(again, Claimed)
    assert not again.in_doubt


# Many at once.


def test_however_many_claim_at_once_one_of_a_lane_runs_and_all_do_in_order(store_place):
    """The order in which workers come is chance; the order of places is not."""
    count = 40
    store = store_place.open()
    store.prepare()
    started: list[int] = []
    running, together, lock = set(), set(), threading.Lock()
    ready = list(range(1, count + 1))
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            with lock:
                number = ready.pop() if ready else None
            if number is None:
                done.wait(0.001)
                continue
            after = f"task{number - 1}" if number > 1 else None
            found = claim(store, number, after=after)
            assert isinstance(found, Claimed | Parked | Held)
            if not isinstance(found, Claimed):
                continue
            with lock:
                running.add(number)
                started.append(number)
                together.add(len(running))
            with lock:
                running.discard(number)
            following = store.finish(found.lease, "SUCCESS")
            with lock:
                if following is not None:
                    ready.append(int(following.task_id[4:]))
            if number == count:
                done.set()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    store.close()

    assert started == list(range(1, count + 1))
    assert together == {1}


# An outage of the store.


def test_after_an_outage_owners_get_a_lease_to_renew_what_ran_out(store, clock):
    """Else their messages are taken over while they have the posted reply in hand."""
    store.due(limit=10, hold_s=15)
    lease = claimed(store, 1, lease_s=15).lease
    clock.advance(20)  # in which the store answers nobody

    assert claim(store, 1) == Held("me")
    assert store.due(limit=10, hold_s=15) == []
    clock.advance(7)
    assert store.due(limit=10, hold_s=15) == []
    assert claim(store, 1) == Held("me")
    assert store.finish(lease, "SUCCESS") is None


def test_after_it_what_nobody_renewed_is_taken_over(store, clock):
    store.due(limit=10, hold_s=15)
    claimed(store, 1, lease_s=15)
    clock.advance(20)
    seconds = 0
    while not store.due(limit=10, hold_s=15):
        clock.advance(1)
        seconds += 1

    assert seconds == 15
    assert claimed(store, 1).takeovers == 1


def test_a_retry_and_a_turn_do_not_wait_for_it(store, clock):
    store.due(limit=10, hold_s=15)
    store.release(claimed(store, 1).lease, due_in_s=1)
    clock.advance(20)

    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task1"]


def test_a_store_that_is_swept_all_the_time_was_never_away(store, clock):
    claimed(store, 1, lease_s=15)
    for _ in range(14):
        assert store.due(limit=10, hold_s=15) == []
        clock.advance(1)
    clock.advance(1)

    assert [message.task_id for message in store.due(limit=10, hold_s=15)] == ["task1"]
