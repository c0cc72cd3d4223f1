"""What a listener could not hand on is a missed reply that an operator sees."""

from datetime import UTC, datetime

import pytest

from contract.envelope import Conversation, Envelope
from contract.report import LostMessage, Report, ReportError
from contract.routing import task_id
from contract.turn import Order
from tests.unit.worker.answering_parts import Desk, envelope
from worker.patience import PatientStore
from worker.reports import record
from worker.store import Reason


def _lost(number: int) -> LostMessage:
    return LostMessage(
        bot="ding1",
        message_id=f"msg{number}",
        conversation_id="cid1",
        conversation=Conversation.GROUP,
        sender_staff_id="u1",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _report(*numbers: int) -> Report:
    return Report(reason="spool_full", messages=tuple(_lost(n) for n in numbers))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def store(desk):
    return PatientStore(desk.store, desk.published.append)


def test_every_message_of_a_report_becomes_a_missed_reply(desk, store):
    assert record(store, _report(1, 2, 3), Order.CONVERSATION) == 3

    missed = {m.message_id: m for m in desk.store.missed()}
    assert set(missed) == {"msg1", "msg2", "msg3"}
    one = missed["msg2"]
    assert (one.task_id, one.state, one.reason) == (
        task_id("ding1", "msg2"),
        "FLAGGED",
        Reason.SPOOL_FULL,
    )
    assert (one.conversation_id, one.envelope["sender_staff_id"]) == ("cid1", "u1")
    assert one.answer is None
    assert desk.due() == []


def test_a_report_that_comes_again_changes_nothing(desk, store):
    record(store, _report(1, 2), Order.CONVERSATION)

    assert record(store, _report(1, 2, 3), Order.CONVERSATION) == 1
    assert len(desk.store.missed()) == 3


def test_a_message_that_was_answered_after_all_is_not_missed(desk, store):
    answered = envelope(bot="ding1", message_id="msg1")
    desk.answer(desk.worker(), answered)

    assert record(store, _report(1), Order.CONVERSATION) == 0
    assert desk.store.missed() == []


def test_a_message_that_comes_after_its_report_is_a_duplicate(desk, store):
    """Its copy was on the way when the spool gave it up."""
    record(store, _report(1), Order.CONVERSATION)

    outcome = desk.answer(desk.worker(), envelope(bot="ding1", message_id="msg1"))

    assert outcome.duplicate
    assert desk.agent_calls == []


def test_a_message_that_waits_for_a_lost_one_has_its_turn_after_the_report(desk, store):
    """At once, not when it has waited in vain."""
    behind = envelope(
        bot="ding1", message_id="msg3", conversation_id="cid1", previous_message_id="msg2"
    )
    desk.answer(desk.worker(), behind)
    assert desk.agent_calls == []

    record(store, _report(1, 2), Order.CONVERSATION)

    assert [message.message_id for message in desk.published] == ["msg3"]


@pytest.mark.parametrize("policy", ["drop", "flag", "rescue"])
def test_a_worker_that_dies_over_a_report_makes_no_agent_answer_nothing(desk, store, policy):
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    store.miss = dies
    with pytest.raises(KeyboardInterrupt):
        record(store, _report(1), Order.CONVERSATION)
    desk.clock.advance(60)

    (due,) = desk.due()
    desk.work(desk.worker(policy=policy), due.envelope, Envelope.from_wire(due.envelope))

    assert desk.agent_calls == []
    flagged = [m.message_id for m in desk.store.missed() if m.state == "FLAGGED"]
    assert flagged == ([] if policy == "drop" else ["msg1"])
    assert desk.due() == []


@pytest.mark.parametrize("data", [None, [], {"reason": "spool_full"}, {"reason": "of tomorrow"}])
def test_what_is_no_report_is_refused_without_its_values(data):
    with pytest.raises(ReportError, match="not a report: ") as refused:
        Report.from_wire(data)

    assert "tomorrow" not in str(refused.value)


def test_a_report_survives_the_way_to_a_worker():
    assert Report.from_wire(_report(1, 2).to_wire()) == _report(1, 2)


def test_fields_of_a_later_release_do_no_harm():
    wire = _report(1).to_wire()
    wire["new"] = wire["messages"][0]["new"] = 1

    assert Report.from_wire(wire) == _report(1)
