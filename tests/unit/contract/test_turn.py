"""What waits for what, and in which order."""

from datetime import UTC, datetime, timedelta

import pytest

from contract.envelope import Envelope
from contract.turn import Order, lane, place

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def envelope(**more) -> Envelope:
    facts = {"bot": "robot1", "message_id": "m1", "conversation_id": "cid1", "sender_id": "s1"}
    return Envelope(**{**facts, "received_at": START, **more})


@pytest.mark.parametrize(
    ("order", "other", "together"),
    [
        (Order.CONVERSATION, {"sender_id": "s2"}, True),
        (Order.CONVERSATION, {"conversation_id": "cid2"}, False),
        (Order.CONVERSATION, {"bot": "robot2"}, False),
        (Order.SENDER, {"message_id": "m2"}, True),
        (Order.SENDER, {"sender_id": "s2"}, False),
        (Order.SENDER, {"conversation_id": "cid2"}, False),
    ],
)
def test_who_shares_a_lane(order, other, together):
    assert (lane(envelope(), order) == lane(envelope(**other), order)) is together


def test_a_sender_without_id_is_told_apart_by_staff_id():
    one, two = (envelope(sender_id="", sender_staff_id=staff) for staff in ("a", "b"))

    assert lane(one, Order.SENDER) != lane(two, Order.SENDER)


def test_without_order_or_conversation_there_is_no_lane():
    assert lane(envelope(), Order.NONE) is None
    assert lane(envelope(conversation_id=""), Order.CONVERSATION) is None


def test_places_go_by_the_time_of_writing_then_by_the_time_of_receipt():
    early = envelope(created_at=START, received_at=START + timedelta(seconds=9))
    late = envelope(created_at=START + timedelta(milliseconds=1), received_at=START)
    twin = envelope(created_at=START, received_at=START + timedelta(seconds=9, microseconds=1))

    assert place(early) < place(twin) < place(late)


def test_a_message_without_time_of_writing_was_written_when_it_came_by_dingtalks_clock():
    """The listener's clock is 90 s behind, so it came later than it seems."""
    nameless = envelope(received_at=START, clock_offset_s=90)

    assert place(nameless)[0] == place(envelope(created_at=START + timedelta(seconds=90)))[0]
