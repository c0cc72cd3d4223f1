"""What becomes of a reply that its webhook cannot carry: each policy, each route."""

import json
import logging
from datetime import timedelta

import pytest

from contract.routing import task_id
from dingwire.errors import (
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
    WebhookExpiredError,
    WebhookUnreachableError,
)
from tests.unit.worker.answering_parts import START, Desk, envelope
from worker.outcome import FinalState
from worker.store import Claimed, Reason


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.webhook.answer_always = WebhookExpiredError(300001)
    yield desk
    desk.close()


def answer_of(missed) -> str:
    return str(json.loads(missed.answer)["content"])


def test_drop_forgets_the_reply_and_says_why(desk):
    outcome = desk.answer(desk.worker(policy="drop"))

    assert (outcome.state, outcome.reason) == (FinalState.DROPPED, Reason.EXPIRED_AT_SEND)
    assert outcome.action == "reply_dropped"
    assert desk.missed() is None
    assert desk.record()["answer"] is None


def test_drop_does_not_hide_a_message_that_never_had_a_route(desk):
    outcome = desk.answer(desk.worker(policy="drop"), envelope(session_webhook=None, deadline=None))

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.NO_ROUTE)
    assert desk.missed() is not None


def test_flag_keeps_the_reply_with_reason_and_code(desk):
    outcome = desk.answer(desk.worker(policy="flag"))

    assert outcome.action == "reply_flagged"
    missed = desk.missed()
    assert missed is not None
    assert (missed.state, missed.reason, missed.errcode) == (
        "FLAGGED",
        Reason.EXPIRED_AT_SEND,
        300001,
    )
    assert answer_of(missed) == "an answer"


def test_a_rescue_reaches_one_person_by_staff_id(desk):
    outcome = desk.answer(desk.worker(policy="rescue"))

    assert (outcome.state, outcome.reason) == (FinalState.RESCUED, Reason.EXPIRED_AT_SEND)
    assert desk.proactive.sent == [("user", "robot1", "staff1", "an answer")]
    assert desk.missed() is None


def test_a_rescue_in_a_group_goes_to_the_group_and_not_to_its_member(desk):
    desk.answer(desk.worker(policy="rescue"), envelope(conversation="group"))

    assert desk.proactive.sent == [("group", "robot1", "cid1", "an answer")]


def test_an_answer_that_outlived_its_webhook_is_rescued_unposted(desk):
    worker = desk.worker(desk.agent("late", takes_s=3600), policy="rescue", agent_timeout_s=7200)

    outcome = desk.answer(worker)

    assert (outcome.state, outcome.reason) == (FinalState.RESCUED, Reason.EXPIRED_RUNNING)
    assert desk.webhook.attempts == 0
    assert desk.proactive.sent == [("user", "robot1", "staff1", "late")]


def test_a_message_without_webhook_can_be_rescued(desk):
    outcome = desk.answer(
        desk.worker(policy="rescue"), envelope(session_webhook=None, deadline=None)
    )

    assert (outcome.state, outcome.reason) == (FinalState.RESCUED, Reason.NO_ROUTE)


def test_a_refused_rescue_is_flagged_with_what_dingtalk_said(desk):
    desk.proactive.answers = [OpenApiRefusedError("Forbidden.AccessDenied", "no permission")]

    outcome = desk.answer(desk.worker(policy="rescue"))

    assert outcome.state is FinalState.FLAGGED
    missed = desk.missed()
    assert missed is not None
    assert missed.detail == (
        "rescue failed: DingTalk API call failed: Forbidden.AccessDenied, 'no permission'"
    )
    assert answer_of(missed) == "an answer"


def test_a_person_without_staff_id_cannot_be_rescued(desk):
    outcome = desk.answer(desk.worker(policy="rescue"), envelope(sender_staff_id=None))

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)
    assert outcome.detail == (
        "no rescue: a proactive message needs the sender's staff id, which is not known"
    )
    assert desk.missed() is not None


def test_without_credentials_there_is_no_rescue(desk):
    outcome = desk.answer(desk.worker(policy="rescue", proactive=None))

    assert outcome.state is FinalState.FLAGGED
    assert outcome.detail == (
        "no rescue: a proactive message needs DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"
    )


def test_a_rescue_that_meets_a_bad_moment_is_tried_again(desk):
    desk.proactive.answers = [OpenApiUnavailableError("http 502")]
    worker = desk.worker(policy="rescue")

    first = desk.answer(worker)
    second = desk.deliver_when_due(worker, first)

    assert (first.state, first.action) == (None, "reply_retried")
    assert second.state is FinalState.RESCUED
    assert len(desk.agent_calls) == len(desk.proactive.sent) == 1


def test_a_throttled_rescue_waits_as_long_as_dingtalk_says(desk):
    desk.proactive.answers = [OpenApiThrottledError("too.many.requests", retry_after_s=75)]

    outcome = desk.answer(desk.worker(policy="rescue"))

    assert outcome.retry_in_s >= 75


def test_a_rescue_is_not_tried_for_ever(desk):
    desk.proactive.answers = [OpenApiUnavailableError("http 502")] * 50
    worker = desk.worker(policy="rescue")

    outcome, tries = desk.answer(worker), 1
    while outcome.retry_in_s is not None:
        outcome, tries = desk.deliver_when_due(worker, outcome), tries + 1

    assert outcome.state is FinalState.FLAGGED
    assert 3 <= tries <= 10
    assert len(desk.agent_calls) == 1


def test_a_rescue_that_may_have_arrived_is_not_sent_again(desk):
    """Unlike a webhook's post it has no key by which DingTalk could know it again."""
    desk.proactive.answers = [OpenApiUnavailableError("unreachable", "timeout", ambiguous=True)]

    outcome = desk.answer(desk.worker(policy="rescue"))

    assert outcome.state is FinalState.FLAGGED
    missed = desk.missed()
    assert missed is not None
    assert missed.detail == (
        "rescue failed, it may have arrived: DingTalk API call failed: unreachable, 'timeout'"
    )
    assert answer_of(missed) == "an answer"


def test_a_rescue_after_a_worker_died_in_the_middle_of_a_post_is_in_doubt(desk, caplog):
    """People may read it twice, and the operator can see how often that is."""
    message = envelope()
    id_ = task_id(message.bot, message.message_id)
    claim = desk.store.claim(id_, owner="dead", lease_s=15, envelope=message.to_wire())
    assert isinstance(claim, Claimed)
    desk.store.keep_answer(claim.lease, '{"kind": "text", "content": "an answer"}')
    desk.store.sending(claim.lease, sent=0)
    desk.clock.advance(3600)

    with caplog.at_level(logging.WARNING):
        outcome = desk.answer(desk.worker(policy="rescue"), message)

    assert outcome.state is FinalState.RESCUED
    assert "reply_in_doubt" in {getattr(r, "action", "") for r in caplog.records}


def test_a_rescue_has_its_own_tries_after_many_of_the_webhook(desk):
    """A webhook that was down for minutes must not use up the patience of its rescue."""
    desk.webhook.answer_always = WebhookUnreachableError("no connection")
    worker = desk.worker(policy="rescue")
    outcome = desk.answer(worker)
    while desk.clock.now < START + timedelta(minutes=15):
        outcome = desk.deliver_when_due(worker, outcome)
    desk.webhook.answer_always = WebhookExpiredError(300001)
    desk.proactive.answers = [OpenApiUnavailableError("http 502")]

    outcome = desk.deliver_when_due(worker, outcome)
    outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.RESCUED


@pytest.mark.parametrize("policy", ["drop", "flag", "rescue"])
@pytest.mark.parametrize("was_posting", [False, True])
def test_one_whose_operator_died_over_sending_it_is_what_it_was(desk, policy, was_posting):
    """No policy applies: it may have been sent, and an operator had it in hand."""
    desk.answer(desk.worker(policy="flag"))
    kept = desk.missed()
    taken = desk.store.take_missed_one(kept.task_id, owner="operator", lease_s=5)
    if was_posting:
        desk.store.sending(taken[0], sent=0)
    desk.clock.advance(6)
    desk.store.due(limit=9, hold_s=0.1)
    desk.clock.advance(1)

    outcome = desk.worker(policy=policy, owner="worker2").work(kept.task_id, None)

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)
    again = desk.missed()
    assert (again.answer, again.missed_at) == (kept.answer, kept.missed_at)
    assert again.in_doubt is was_posting
    assert desk.proactive.sent == []


def test_one_that_was_sent_before_stays_sent_when_its_operator_dies_over_sending_it_again(desk):
    desk.answer(desk.worker(policy="flag"))
    id_ = desk.missed().task_id
    desk.store.settle(desk.store.take_missed_one(id_, owner="o", lease_s=5)[0], "RESCUED")
    desk.store.take_missed_one(id_, owner="operator", lease_s=5)
    desk.clock.advance(6)
    desk.store.due(limit=9, hold_s=0.1)
    desk.clock.advance(1)

    outcome = desk.worker(owner="worker2").work(id_, None)

    assert outcome.state is FinalState.RESCUED
    assert desk.store.missed() == []
    assert [missed.task_id for missed in desk.store.missed(handled=True)] == [id_]
    assert desk.store.take_missed("robot1", "cid1", owner="w", lease_s=5, limit=9) == []
