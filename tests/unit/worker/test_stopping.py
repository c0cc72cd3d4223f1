"""What is unfinished in a conversation is stopped, told once, and nobody else's is touched."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from contract.routing import task_id
from tests.unit.worker.answering_parts import LEASE_S, START, Desk, envelope
from worker.patience import PatientStore
from worker.stopping import OpenMessage, Stopped, Stopping
from worker.store import Claimed, Parked, StoppedMessage
from worker.turns import Turns


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def put_away() -> list[StoppedMessage]:
    return []


@pytest.fixture
def stopping(desk, put_away) -> Stopping:
    return Stopping(
        PatientStore(desk.store, desk.published.append),
        hold_s=LEASE_S,
        tell=lambda task_id, outcome: desk.told.append((task_id, outcome)),
        observe=desk.outcomes.append,
        put_away=put_away.append,
    )


def written(number: int, **more: Any):
    at = START + timedelta(seconds=number)
    return envelope(message_id=f"msg{number}", created_at=at, **more)


def claim(desk: Desk, number: int, **more: Any):
    data = written(number, **more).to_wire()
    turns = Turns()
    return desk.store.claim(
        task_id("robot1", f"msg{number}"),
        owner="worker1",
        lease_s=LEASE_S,
        envelope=data,
        turn=turns.of(data),
        written=turns.place_of(data),
    )


def test_what_was_written_before_is_stopped_and_told_to_flower_log_and_metrics(
    desk, stopping, caplog
):
    caplog.set_level(logging.INFO)
    assert isinstance(claim(desk, 1), Claimed)
    assert isinstance(claim(desk, 2), Parked)

    assert stopping.stop(written(3, text="/stop")) == Stopped(running=1, waiting=1)

    ids = [task_id("robot1", "msg1"), task_id("robot1", "msg2")]
    assert [id_ for id_, _ in desk.told] == ids
    assert [outcome for _, outcome in desk.told] == desk.outcomes
    assert [outcome.summary() for outcome in desk.outcomes] == [
        {
            "state": "CANCELLED",
            "detail": "stopped by message msg3",
            "outcome": "stopped",
            "was": was,
        }
        for was in ("running", "parked")
    ]
    logged = [vars(record) for record in caplog.records if hasattr(record, "action")]
    assert [(each["action"], each["message_id"]) for each in logged] == [
        ("reply_cancelled", "msg1"),
        ("reply_cancelled", "msg2"),
    ]


def test_the_next_in_line_is_published(desk, stopping):
    claim(desk, 1)
    claim(desk, 5)

    stopping.stop(written(3))

    assert [message.message_id for message in desk.published] == ["msg5"]


def test_the_message_that_asks_is_not_stopped(desk, stopping):
    claimed = claim(desk, 3)

    assert stopping.stop(written(3)) == Stopped(0, 0)

    desk.store.finish(claimed.lease, "SUCCESS")


def test_without_a_conversation_nothing_is_stopped(desk, stopping):
    claim(desk, 1, conversation_id="")

    assert stopping.stop(written(3, conversation_id="")) == Stopped(0, 0)
    assert stopping.status(written(3, conversation_id="")).messages == ()


def test_what_a_living_worker_shows_is_left_to_it(desk, stopping, put_away):
    claim(desk, 1)
    claim(desk, 2)

    stopping.stop(written(3))

    assert [(each.message_id, each.state) for each in put_away] == [("msg2", "parked")]


def test_what_a_dead_worker_showed_is_put_away(desk, stopping, put_away):
    claim(desk, 1)
    desk.clock.advance(LEASE_S)

    assert stopping.stop(written(3)) == Stopped(running=0, waiting=1)

    assert [each.message_id for each in put_away] == ["msg1"]


def test_an_operator_stops_one_message_and_is_named(desk, stopping):
    claim(desk, 1)
    claim(desk, 2)

    one = task_id("robot1", "msg2")
    stopping.end("robot1", "cid1", before=(2**50, 0), facts={"by": "anna@run-7"}, task_id=one)

    [(told, outcome)] = desk.told
    assert (told, outcome.detail) == (one, "stopped by anna@run-7")


def test_the_status_tells_positions_and_what_is_ones_own(desk, stopping):
    claim(desk, 1)
    claim(desk, 2, sender_staff_id="staff2")
    claim(desk, 3)
    desk.clock.advance(2)

    status = stopping.status(written(9))

    assert status.messages == (
        OpenMessage(task_id("robot1", "msg1"), 0, 2.0, is_own=True),
        OpenMessage(task_id("robot1", "msg2"), 1, None, is_own=False),
        OpenMessage(task_id("robot1", "msg3"), 2, None, is_own=True),
    )
    assert [each.position for each in status.running] == [0]
    assert [each.position for each in status.waiting] == [1, 2]


def test_the_status_leaves_out_the_message_that_asks(desk, stopping):
    claim(desk, 1)

    assert stopping.status(written(1)).messages == ()
