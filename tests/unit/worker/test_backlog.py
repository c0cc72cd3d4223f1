"""How many workers the backlog needs: the reckoning, without a broker or a store."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.turn import Order
from worker.running.queues import Queue
from worker.store import Note, Pace, Unfinished
from worker.telling.backlog import Backlog, Known, estimate

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TEN_SECONDS_EACH = Pace(finished=6, work_s=60.0, over_s=300.0)


def message(
    age_s: float = 0.0, *, spare_s: float | None = 3600.0, to: str = "", offset_s: float = 0.0
) -> dict[str, Any]:
    deadline = None
    if spare_s is not None:
        deadline = (NOW + timedelta(seconds=spare_s + offset_s)).isoformat()
    return {
        "bot": "robot",
        "conversation_id": to or f"cid{age_s}",
        "received_at": (NOW - timedelta(seconds=age_s)).isoformat(),
        "deadline": deadline,
        "clock_offset_s": offset_s,
    }


def queues(depth: int, *oldest: dict[str, Any], turns: int = 0, shown: bool = True) -> Any:
    return {
        "messages": Queue(depth, oldest if shown else None),
        "turns": Queue(turns, () if shown else None),
        "replies": Queue(0, () if shown else None),
        "events": Queue(5, () if shown else None),
        "commands": Queue(0, () if shown else None),
    }


def kept(state: str, *envelopes: dict[str, Any]) -> list[Unfinished]:
    return [Unfinished(f"{state}{n}", state, each) for n, each in enumerate(envelopes)]


def reckon(
    waiting: Any,
    unfinished: list[Unfinished] | None = None,
    *,
    pace: Pace = TEN_SECONDS_EACH,
    workers: tuple[int, ...] = (4,),
    **more: Any,
) -> Backlog:
    options: dict[str, Any] = {"now": NOW, "slots_of_a_worker": 4, **more}
    notes = [Note(f"w{n}", {"concurrency": c}, 1.0) for n, c in enumerate(workers)]
    known = Known(unfinished or [], pace, notes)
    return estimate(waiting, known, **options)


def test_what_waits_is_done_within_the_time_asked_for():
    """30 messages of 10 s each in 60 s are 5 at once: two workers of 4 slots."""
    found = reckon(queues(30, message(20.0)))

    assert found.waiting == 30
    assert found.seconds_per_message == 10
    assert found.work_s == 300
    assert found.drain_s == 75
    assert found.workers_needed == 2
    assert reckon(queues(30), within_s=600).workers_needed == 1
    assert reckon(queues(30), within_s=15).workers_needed == 5


def test_the_first_deadline_is_kept_when_it_comes_sooner():
    """300 s of work in 20 s: 15 at once."""
    found = reckon(queues(30, message(20.0, spare_s=20.0), message(10.0)))

    assert found.smallest_spare_s == 20
    assert found.workers_needed == 4


def test_nothing_is_asked_for_that_more_workers_cannot_do():
    """A deadline sooner than one message takes, or over already, wants no worker a message."""
    too_soon = reckon(queues(8, message(20.0, spare_s=1.0)))
    over = reckon(queues(8, message(20.0, spare_s=-5.0)))

    assert too_soon.workers_needed == 2
    assert over.smallest_spare_s == -5
    assert over.workers_needed == 1


def test_the_deadline_is_read_on_dingtalks_clock():
    found = reckon(queues(1, message(1.0, spare_s=50.0, offset_s=300.0)))

    assert found.smallest_spare_s == 50


def test_those_at_work_keep_their_slots():
    """A scaler that stopped their worker would make their people wait anew."""
    found = reckon(queues(0), kept("running", *[message(1.0)] * 9))

    assert found.waiting == 0
    assert found.running == 9
    assert found.workers_needed == 3


def test_an_empty_backlog_needs_the_one_worker_that_retries_and_alerts():
    found = reckon(queues(0), pace=Pace(0, 0.0, 3600.0), workers=())

    assert found.workers_needed == 1
    assert found.why is None
    assert found.work_s == 0
    assert found.oldest_age_s is None
    assert found.oldest_age_from is None


def test_a_conversation_that_waits_for_its_turns_wants_no_more_workers():
    """One message of a conversation is answered at a time, however many workers there are."""
    parked = kept("parked", *[message(5.0, to="one")] * 40)

    assert reckon(queues(0), parked).workers_needed == 1
    assert reckon(queues(0), parked, order=Order.NONE).workers_needed == 2
    assert reckon(queues(0), parked).parked == 40


def test_what_is_in_the_store_and_in_the_queue_of_turns_is_one_message():
    found = reckon(queues(2, turns=3), kept("waiting", *[message(1.0)] * 5))

    assert found.waiting == 7


def test_events_are_no_messages():
    assert reckon(queues(0)).waiting == 0
    assert reckon(queues(0)).queues["events"] == 5


def test_without_a_pace_the_need_is_not_known_and_it_says_why():
    found = reckon(queues(3, message(20.0)), pace=Pace(0, 0.0, 3600.0))

    assert found.workers_needed is None
    assert found.why is not None
    assert "no message was finished" in found.why
    assert found.work_s is found.drain_s is found.seconds_per_message is None
    assert found.oldest_age_s == 20


def test_slots_are_those_of_the_workers_that_are_there_else_our_own():
    many = queues(60)

    assert reckon(many, workers=(2, 2)).workers_needed == 5
    assert reckon(many, workers=(16,)).workers_needed == 1
    assert reckon(many, workers=()).workers_needed == 3
    assert reckon(many, workers=()).drain_s is None


@pytest.mark.parametrize(
    ("parked_age_s", "expected"), [(10.0, (40.0, "queue")), (90.0, (90.0, "store"))]
)
def test_the_oldest_is_named_with_who_has_it(parked_age_s, expected):
    found = reckon(queues(3, message(40.0), message(2.0)), kept("parked", message(parked_age_s)))

    assert (found.oldest_age_s, found.oldest_age_from) == expected


def test_where_a_queue_shows_nothing_the_last_one_taken_stands_for_the_first_that_waits():
    """RabbitMQ only counts; the message behind the one taken last is hardly younger."""
    running = kept("running", message(30.0), message(12.0, spare_s=100.0), message(25.0))
    found = reckon(queues(3, shown=False), running)

    assert (found.oldest_age_s, found.oldest_age_from) == (12.0, "store")
    assert found.smallest_spare_s == 100

    nothing_waits = reckon(queues(0, shown=False), running)
    assert nothing_waits.oldest_age_s is None


@pytest.mark.parametrize(
    "damaged",
    [{}, {"received_at": 5, "deadline": "soon"}, {"received_at": "2026-01-01T11:00:00"}],
)
def test_an_envelope_without_times_is_counted_and_hurts_nothing(damaged):
    found = reckon(queues(1, damaged), kept("waiting", damaged))

    assert found.waiting == 2
    assert found.oldest_age_s is None
    assert found.smallest_spare_s is None


def test_all_of_it_is_plain_json():
    shown = reckon(queues(3, message(1 / 3))).as_json()

    assert json.loads(json.dumps(shown)) == shown
    assert shown["oldest_age_s"] == 0.333
    assert shown["queues"]["messages"] == 3
