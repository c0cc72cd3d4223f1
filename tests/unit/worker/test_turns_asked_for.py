"""Which turn a task's envelope asks the store for."""

from datetime import timedelta

from contract.routing import task_id
from contract.turn import Order
from tests.unit.worker.answering_parts import START, envelope
from worker.turns import Burst, Turns


def test_a_message_asks_for_its_conversations_turn_after_the_one_before_it():
    message = envelope(
        created_at=START, received_at=START + timedelta(seconds=1), previous_message_id="msg0"
    )

    turn = Turns(max_waiting=5, burst=Burst.MERGE).of(message.to_wire())

    assert turn is not None
    assert turn.lane == "robot1\ncid1"
    assert turn.place == (int(START.timestamp() * 1000), int((START.timestamp() + 1) * 1_000_000))
    assert turn.after == task_id("robot1", "msg0")
    assert (turn.max_waiting, turn.merge) == (5, True)


def test_without_order_nothing_is_asked_for():
    assert Turns(order=Order.NONE).of(envelope().to_wire()) is None


def test_what_the_store_knows_or_nobody_can_read_waits_for_nothing_new():
    assert Turns().of(None) is None
    assert Turns().of({"version": 1}) is None
    assert Turns().of(envelope().to_wire() | {"version": 99}) is None
