"""A fresh webhook delivers what its conversation missed, first, marked and never twice."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.routing import task_id
from dingwire.errors import WebhookExpiredError, WebhookUnreachableError
from dingwire.replies import Text
from tests.unit.worker.answering_parts import START, Desk, envelope
from worker.outcome import FinalState


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def miss(desk: Desk, number: int = 1, **more) -> None:
    """Have an answer kept, because its webhook was dead when the agent was done."""
    text = f"question {number}"
    message = envelope(message_id=f"late{number}", text=text, **more)
    desk.webhook.answers = [WebhookExpiredError(300001)]
    worker = desk.worker(desk.agent(f"answer {number}"))
    assert desk.answer(worker, message).state is FinalState.FLAGGED


def fresh(desk: Desk, **more):
    facts = {
        "message_id": "fresh",
        "text": "again",
        "deadline": desk.clock.now + timedelta(hours=1),
    }
    return envelope(**facts | more)


def test_kept_answers_go_before_the_new_one_in_the_order_they_were_missed(desk):
    miss(desk, 1)
    desk.clock.advance(60)
    miss(desk, 2)

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh(desk))

    assert desk.webhook.posted == [
        "补发 · Late answer to: 「question 1」\nanswer 1",
        "补发 · Late answer to: 「question 2」\nanswer 2",
        "new",
    ]
    assert desk.store.missed() == []
    ids = [task_id("robot1", f"late{number}") for number in (1, 2)]
    assert [(id_, outcome.state) for id_, outcome in desk.told] == [
        (ids[0], FinalState.SUCCESS),
        (ids[1], FinalState.SUCCESS),
    ]


def test_they_are_sent_once(desk):
    miss(desk)
    worker = desk.worker(desk.agent("new"), hands_over=True)

    desk.answer(worker, fresh(desk))
    desk.answer(worker, fresh(desk, message_id="fresh2"))

    assert [text.endswith("answer 1") for text in desk.webhook.posted] == [True, False, False]


@pytest.mark.parametrize("other", [{"conversation_id": "cid2"}, {"bot": "robot2"}])
def test_nothing_goes_to_another_conversation_or_by_another_bot(desk, other):
    miss(desk)

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh(desk, **other))

    assert desk.webhook.posted == ["new"]
    assert len(desk.store.missed()) == 1


def test_one_that_may_have_arrived_stays_with_the_operator(desk):
    """Its post was cut off, and then its webhook was over."""
    desk.webhook.answers = [WebhookUnreachableError("cut off", True), WebhookExpiredError(300001)]
    worker = desk.worker(desk.agent("answer"))
    outcome = desk.answer(worker, envelope())
    assert desk.deliver_when_due(worker, outcome).state is FinalState.FLAGGED

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh(desk))

    assert desk.webhook.posted == ["new"]
    assert len(desk.store.missed()) == 1


def test_when_the_webhook_takes_none_all_are_kept_again_with_their_reason(desk):
    miss(desk, 1)
    miss(desk, 2)
    desk.webhook.answer_always = WebhookExpiredError(300001)

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh(desk))

    kept = {m.message_id: (m.reason, m.answer is not None) for m in desk.store.missed()}
    assert {"late1", "late2"} <= set(kept)
    assert kept["late1"] == kept["late2"] == ("expired_at_send", True)
    assert desk.webhook.attempts == 2 + 1 + 1, "two that were missed, one tried, and the new one"


def test_one_of_which_the_handing_over_is_in_doubt_is_not_handed_over_again(desk):
    miss(desk)
    desk.webhook.answers = [WebhookUnreachableError("cut off", True)]
    worker = desk.worker(desk.agent("new"), hands_over=True)
    desk.answer(worker, fresh(desk))

    desk.answer(worker, fresh(desk, message_id="fresh2"))

    assert desk.webhook.posted == ["new", "new"]
    [missed] = desk.store.missed()
    assert "it may have arrived" in missed.detail or "may have arrived" in missed.detail


def test_what_arrived_before_a_part_that_is_paced_is_not_sent_again(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]
    message = envelope(message_id="late1", text="question")
    desk.answer(desk.worker(desk.agent([Text(content="one"), Text(content="two")])), message)
    paced = desk.worker(desk.agent("new"), hands_over=True, replies_per_minute=1)
    desk.deliver_when_due(paced, desk.answer(paced, fresh(desk)))
    desk.clock.advance(60)

    desk.answer(paced, fresh(desk, message_id="fresh2"))

    mark = "补发 · Late answer to: 「question」"
    assert desk.webhook.posted == [f"{mark}\none", "new", f"{mark}\ntwo"]


def test_those_that_wait_for_a_slow_one_are_not_taken_yet(desk):
    """Nobody would renew their leases, and a worker that dies would take them all along."""
    miss(desk, 1)
    desk.clock.advance(60)
    miss(desk, 2)
    waiting: list[list[str]] = []
    desk.webhook.at_post = lambda: waiting.append([m.message_id for m in desk.store.missed()])

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh(desk))

    assert waiting == [["late2"], [], []]


def test_a_long_question_is_cut_and_set_on_one_line(desk):
    message = envelope(message_id="late1", text="a\nb " + "x" * 100)
    desk.webhook.answers = [WebhookExpiredError(300001)]
    desk.answer(desk.worker(desk.agent("answer")), message)

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh(desk))

    mark, _, answer = desk.webhook.posted[0].partition("\n")
    assert mark == f"补发 · Late answer to: 「a b {'x' * 56}…」"
    assert answer == "answer"


def test_a_message_that_is_too_late_itself_hands_nothing_over(desk):
    miss(desk)

    desk.answer(desk.worker(hands_over=True), fresh(desk, deadline=START - timedelta(seconds=1)))

    assert desk.webhook.posted == []
    assert len(desk.store.missed()) == 2
