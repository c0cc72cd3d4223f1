"""What a listener could not hand on is a missed reply, and how it does is remembered."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.envelope import Conversation, Envelope
from contract.report import ListenerStatus, LostMessage, Report
from contract.routing import task_id
from contract.turn import Order
from tests.unit.worker.answering_parts import Desk, envelope
from worker.patience import PatientStore
from worker.reports import record
from worker.store import Reason, StoreUnavailableError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _lost(number: int) -> LostMessage:
    return LostMessage(
        bot="ding1",
        message_id=f"msg{number}",
        conversation_id="cid1",
        conversation=Conversation.GROUP,
        sender_staff_id="u1",
        received_at=NOW,
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


def test_what_becomes_known_is_shown_and_told_once(desk, store):
    shown: list[Any] = []
    for numbers in ((1,), (1, 2)):
        record(
            store,
            _report(*numbers),
            Order.CONVERSATION,
            now=NOW,
            show=lambda *facts: shown.append(facts),
        )

    assert [(id_, message_id, outcome.state) for id_, message_id, outcome in shown] == [
        (task_id("ding1", "msg1"), "msg1", "FLAGGED"),
        (task_id("ding1", "msg2"), "msg2", "FLAGGED"),
    ]
    story = desk.store.story(task_id("ding1", "msg1"))
    assert [step.name for step in story.steps] == ["received", "taken", "finished"]
    assert story.steps[-1].facts["reason"] == "spool_full"


def test_every_message_of_a_report_becomes_a_missed_reply(desk, store):
    assert record(store, _report(1, 2, 3), Order.CONVERSATION, now=NOW) == 3

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
    record(store, _report(1, 2), Order.CONVERSATION, now=NOW)

    assert record(store, _report(1, 2, 3), Order.CONVERSATION, now=NOW) == 1
    assert len(desk.store.missed()) == 3


def test_a_message_that_was_answered_after_all_is_not_missed(desk, store):
    answered = envelope(bot="ding1", message_id="msg1")
    desk.answer(desk.worker(), answered)

    assert record(store, _report(1), Order.CONVERSATION, now=NOW) == 0
    assert desk.store.missed() == []


def test_a_message_that_comes_after_its_report_is_a_duplicate(desk, store):
    """Its copy was on the way when the spool gave it up."""
    record(store, _report(1), Order.CONVERSATION, now=NOW)

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

    record(store, _report(1, 2), Order.CONVERSATION, now=NOW)

    assert [message.message_id for message in desk.published] == ["msg3"]


@pytest.mark.parametrize("policy", ["drop", "flag", "rescue"])
def test_a_worker_that_dies_over_a_report_makes_no_agent_answer_nothing(desk, store, policy):
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    store.miss = dies
    with pytest.raises(KeyboardInterrupt):
        record(store, _report(1), Order.CONVERSATION, now=NOW)
    desk.clock.advance(60)

    (due,) = desk.due()
    desk.work(desk.worker(policy=policy), due.envelope, Envelope.from_wire(due.envelope))

    assert desk.agent_calls == []
    flagged = [m.message_id for m in desk.store.missed() if m.state == "FLAGGED"]
    assert flagged == ([] if policy == "drop" else ["msg1"])
    assert desk.due() == []


def _status(sent_at: datetime = NOW, **facts: Any) -> ListenerStatus:
    return ListenerStatus(
        listener="host:1", release="1", bot="ding1", started_at=NOW, sent_at=sent_at, **facts
    )


def _listeners(desk: Desk) -> list[dict[str, Any]]:
    return [note.facts for note in desk.store.remembered("listener")]


def test_how_a_listener_does_is_remembered_under_its_name(desk, store):
    assert record(store, _status(connections_up=1), Order.NONE, now=NOW) == 1

    (note,) = desk.store.remembered("listener")
    assert note.key == "host:1 ding1"
    assert note.facts == _status(connections_up=1).to_wire() | {"age_s": 0.0}


def test_the_last_status_counts_whichever_worker_is_slower(desk, store):
    record(store, _status(NOW, connections_up=1), Order.NONE, now=NOW)
    record(store, _status(NOW + timedelta(seconds=5), stopped=True), Order.NONE, now=NOW)
    assert record(store, _status(NOW + timedelta(seconds=4)), Order.NONE, now=NOW) == 0

    assert [facts["stopped"] for facts in _listeners(desk)] == [True]


@pytest.mark.parametrize("age_s", [130.0, 86_400.0, 0.0, -3600.0])
def test_a_listener_whose_clock_is_off_is_remembered_with_how_far(desk, store, age_s):
    """What waited in the queue looks the same; the doctor says both."""
    assert record(store, _status(), Order.NONE, now=NOW + timedelta(seconds=age_s)) == 1

    (facts,) = _listeners(desk)
    assert facts["age_s"] == age_s


def test_a_listener_that_is_silent_is_forgotten_two_minutes_after_its_last_report(desk, store):
    record(store, _status(), Order.NONE, now=NOW + timedelta(hours=1))

    desk.clock.advance(115)
    assert _listeners(desk)
    desk.clock.advance(10)
    assert _listeners(desk) == []


def test_a_status_does_not_wait_for_a_store_that_is_away(desk, store):
    """The next one comes in seconds; a queue of them would be of no use."""

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the store is away")

    desk.store.remember = away

    assert record(store, _status(), Order.NONE, now=NOW) == 0
