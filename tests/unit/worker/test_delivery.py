"""A kept answer on its way out: what is tried again, for how long, and what is not."""

import json
from datetime import timedelta
from itertools import pairwise

import pytest

from contract.routing import task_id
from contract.turn import Order
from dingwire.errors import (
    OpenApiThrottledError,
    WebhookBusyError,
    WebhookExpiredError,
    WebhookNotAllowedError,
    WebhookRefusedError,
    WebhookThrottledError,
    WebhookUnreachableError,
)
from dingwire.replies import Text
from tests.unit.worker.answering_parts import START, Desk, envelope
from worker.outcome import FinalState
from worker.sending.api_gate import PACED
from worker.sending.budget import ApiBudgetUsedUpError
from worker.sending.pacing import Pacing
from worker.store import Claimed, Reason
from worker.turns import Turns

UNREACHABLE = WebhookUnreachableError("no connection")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_an_unreachable_webhook_is_tried_again_under_the_same_id(desk):
    desk.webhook.answers = [UNREACHABLE]
    worker = desk.worker()

    first = desk.answer(worker)
    second = desk.deliver_when_due(worker, first)

    assert (first.state, first.action) == (None, "reply_retried")
    assert 1 <= first.retry_in_s <= 1.5
    assert (second.state, second.facts["attempts"]) == (FinalState.SUCCESS, 2)
    assert desk.webhook.posted == ["an answer"]
    assert len(desk.agent_calls) == 1


def test_the_waits_grow_until_the_deadline_and_then_the_answer_is_flagged(desk):
    desk.webhook.answer_always = UNREACHABLE
    worker = desk.worker()

    outcome, waits = desk.answer(worker), []
    while outcome.retry_in_s is not None:
        waits.append(outcome.retry_in_s)
        outcome = desk.deliver_when_due(worker, outcome)

    assert all(a < b for a, b in pairwise(waits[:7]))
    assert max(waits) <= 90
    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)
    assert "no connection" in outcome.detail
    assert len(desk.agent_calls) == 1
    missed = desk.missed()
    assert missed is not None
    assert json.loads(missed.answer or "")["content"] == "an answer"


def test_the_last_seconds_of_a_webhook_are_used(desk):
    """A wait that would outlast the deadline is shortened instead of given up."""
    desk.webhook.answer_always = UNREACHABLE
    worker = desk.worker()

    outcome = desk.answer(worker)
    while outcome.retry_in_s is not None:
        outcome = desk.deliver_when_due(worker, outcome)

    left_s = (START + timedelta(minutes=20) - desk.clock.now).total_seconds()
    assert 0 < left_s < 2


def test_a_retry_that_comes_too_late_is_flagged_without_a_post(desk):
    desk.webhook.answers = [UNREACHABLE]
    worker = desk.worker()
    outcome = desk.answer(worker)
    desk.clock.advance(20 * 60)

    outcome = desk.deliver_when_due(worker, outcome)

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)
    assert desk.webhook.attempts == 1


@pytest.mark.parametrize("error", [UNREACHABLE, WebhookBusyError(-1, "busy")])
def test_whoever_is_busy_is_asked_again_soon(desk, error):
    desk.webhook.answers = [error]

    outcome = desk.answer(desk.worker())

    assert outcome.errcode == error.errcode
    assert 1 <= outcome.retry_in_s <= 1.5


def test_a_throttled_reply_waits_as_long_as_dingtalk_says(desk):
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]
    worker = desk.worker()

    first = desk.answer(worker)
    second = desk.deliver_when_due(worker, first)

    assert first.retry_in_s >= 60
    assert first.errcode == 130101
    assert second.state is FinalState.SUCCESS
    assert len(desk.agent_calls) == 1


def test_a_throttle_longer_than_the_webhook_lives_is_flagged_at_once(desk):
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]

    outcome = desk.answer(desk.worker(), envelope(deadline=START + timedelta(seconds=30)))

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.THROTTLED)
    assert outcome.errcode == 130101
    missed = desk.missed()
    assert missed is not None
    assert (missed.reason, missed.errcode) == (Reason.THROTTLED, 130101)


def test_a_session_that_is_over_is_not_asked_again(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]

    outcome = desk.answer(desk.worker())

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)
    assert outcome.errcode == 300001
    assert desk.due() == []


def test_a_refused_reply_is_a_failure_with_its_code(desk):
    desk.webhook.answers = [WebhookRefusedError(430101, "unsafe link")]

    outcome = desk.answer(desk.worker())

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.REJECTED_BY_DINGTALK)
    assert outcome.errcode == 430101
    missed = desk.missed()
    assert missed is not None
    assert (missed.state, missed.errcode) == ("FAILURE", 430101)
    assert json.loads(missed.answer or "")["content"] == "an answer"


def test_a_host_that_is_not_allowed_any_more_is_not_posted_to(desk):
    desk.webhook.answers = [WebhookNotAllowedError("oapi.dingtalk.com")]

    outcome = desk.answer(desk.worker())

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.WEBHOOK_NOT_ALLOWED)


def test_another_worker_delivers_what_the_first_could_not(desk):
    desk.webhook.answers = [UNREACHABLE]
    outcome = desk.answer(desk.worker())

    outcome = desk.deliver_when_due(
        desk.worker(desk.agent("never asked"), owner="worker2"), outcome
    )

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["an answer"]


def test_a_retry_after_the_promise_carries_the_note(desk):
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]
    worker = desk.worker()
    first = desk.answer(worker, envelope(promise_at=START + timedelta(seconds=5)))

    second = desk.deliver_when_due(worker, first)

    assert second.facts["outcome"] == "late"
    assert desk.webhook.posted[0].endswith("Sorry for the wait\nan answer")


# The pace of all workers.


def test_who_was_throttled_makes_every_worker_leave_the_conversation_alone(desk):
    one, other = (desk.worker(turns=Turns(Order.NONE)) for _ in range(2))
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]
    first = desk.answer(one)
    desk.clock.advance(10)

    second = desk.answer(other, envelope(message_id="msg2"))

    assert desk.webhook.attempts == 1
    assert (second.state, second.action, second.is_paced) == (None, "reply_retried", True)
    assert 49 < second.retry_in_s <= 50
    assert second.facts["attempts"] == 0
    assert second.errcode is None
    elsewhere = desk.answer(other, envelope(message_id="msg3", conversation_id="cid-other"))
    assert elsewhere.state is FinalState.SUCCESS
    assert first.retry_in_s >= 60


def test_a_reply_that_waits_for_its_time_goes_then_and_tells_why_it_waited(desk):
    worker = desk.worker(turns=Turns(Order.NONE))
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]
    desk.answer(worker)
    message = envelope(message_id="msg2")
    desk.answer(worker, message)
    desk.clock.advance(61)

    ended = [desk.work(worker, None, each) for each in (message, envelope())]

    assert [outcome.state for outcome in ended] == [FinalState.SUCCESS] * 2
    story = desk.store.story("msg2")
    assert story is not None
    names = [step.name for step in story.steps]
    assert names.index("paced") < names.index("sending")
    assert names.count("sending") == 1
    assert ended[0].facts["attempts"] == 1


def test_a_wait_beyond_the_deadline_is_a_throttled_reply(desk):
    worker = desk.worker(turns=Turns(Order.NONE))
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]
    desk.answer(worker)

    message = envelope(message_id="msg2", deadline=START + timedelta(seconds=30))
    outcome = desk.answer(worker, message)

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.THROTTLED)
    assert outcome.detail.startswith("paced: ")
    assert desk.webhook.attempts == 1


def test_a_long_answer_goes_on_with_the_part_that_had_to_wait(desk):
    parts = [Text(content=f"part {number}") for number in range(1, 6)]
    worker = desk.worker(desk.agent(parts), replies_per_minute=2)

    outcome, seen = desk.answer(worker), []
    while outcome.retry_in_s is not None:
        seen.append(len(desk.webhook.posted))
        outcome = desk.deliver_when_due(worker, outcome)

    assert seen == [2, 4]
    assert desk.webhook.posted == [part.content for part in parts]
    assert outcome.state is FinalState.SUCCESS
    assert len(desk.agent_calls) == 1


def test_a_worker_that_dies_while_a_reply_waits_leaves_no_doubt(desk):
    """Nothing was posted, so whoever takes it over has nothing to fear."""
    worker = desk.worker(turns=Turns(Order.NONE))
    desk.webhook.answers = [WebhookThrottledError(130101, 60)]
    desk.answer(worker)
    desk.answer(worker, envelope(message_id="msg2"))
    desk.clock.advance(61)

    claim = desk.store.claim(task_id("robot1", "msg2"), owner="x", lease_s=15, envelope=None)

    assert isinstance(claim, Claimed)
    assert (claim.in_doubt, claim.answer is None) == (False, False)


@pytest.mark.parametrize("times", [1, 8])
def test_a_rescue_that_has_to_wait_for_its_time_is_not_given_up(desk, times):
    desk.proactive.answers = [OpenApiThrottledError(PACED, "", 30)] * times
    desk.webhook.answer_always = WebhookExpiredError(300001)
    worker = desk.worker(policy="rescue")

    outcome = desk.answer(worker)
    for _ in range(times):
        assert outcome.is_paced
        assert outcome.retry_in_s == 30
        outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.RESCUED


def test_without_budget_a_rescue_is_flagged_and_says_why(desk):
    desk.proactive.answers = [ApiBudgetUsedUpError(5000, "2026-11")]
    desk.webhook.answer_always = WebhookExpiredError(300001)

    outcome = desk.answer(desk.worker(policy="rescue"))

    assert outcome.state is FinalState.FLAGGED
    assert "API_BUDGET is used up: all 5000 calls of 2026-11 are made" in outcome.detail


def test_an_answer_that_something_unexpected_keeps_from_its_post_is_kept(desk, monkeypatch):
    """Whoever has the message next delivers, and asks no agent again."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Pacing, "wait", fail)
    with pytest.raises(RuntimeError):
        desk.answer(desk.worker())

    assert json.loads(json.loads(desk.record()["answer"]))["content"] == "an answer"
