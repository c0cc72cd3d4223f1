"""What an operator has run anew is answered by the best way there is, however late it is."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.routing import task_id
from dingwire.errors import OpenApiUnavailableError, WebhookExpiredError, WebhookUnreachableError
from tests.unit.worker.answering_parts import SECRET_WORDS, Desk, envelope
from worker.answering import Answering
from worker.outcome import FinalState, Outcome
from worker.store import Reason

ONE = task_id("robot1", "msg1")
MARK = f"补发 · Late answer to: 「{SECRET_WORDS}」\n"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def fail(desk: Desk, **more) -> None:
    """Have the agent fail, and a day pass."""
    outcome = desk.answer(
        desk.worker(desk.agent(RuntimeError("boom")), failed_notice=False), envelope(**more)
    )
    assert outcome.reason is Reason.AGENT_FAILED
    desk.clock.advance(86_000)


def worker_ends(desk: Desk) -> None:
    """Let this process end right after the answer is kept."""
    kept = desk.store.keep_answer

    def keep_answer(*facts, **more):
        kept(*facts, **more)
        raise KeyboardInterrupt

    desk.store.keep_answer = keep_answer  # type: ignore[method-assign]


def rerun(desk: Desk, worker: Answering) -> Outcome:
    due = desk.store.rerun(ONE, hold_s=15)
    assert due is not None
    return worker.work(ONE, due.envelope)


@pytest.mark.parametrize("policy", ["drop", "flag", "rescue"])
def test_the_agent_runs_although_the_deadline_is_over_and_the_answer_goes_proactively(desk, policy):
    fail(desk)

    outcome = rerun(desk, desk.worker(desk.agent("the answer"), policy=policy))

    assert outcome.state is FinalState.RESCUED
    assert desk.proactive.sent == [("user", "robot1", "staff1", f"{MARK}the answer")]
    assert desk.webhook.posted == []
    assert desk.store.missed() == []


def test_it_goes_by_the_fresh_webhook_of_its_conversation_if_there_is_one(desk):
    fail(desk)
    fresh = envelope(message_id="fresh", deadline=desk.clock.now + timedelta(hours=1))
    desk.answer(desk.worker(desk.agent("to the fresh one")), fresh)

    outcome = rerun(desk, desk.worker(desk.agent("the answer")))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["to the fresh one", f"{MARK}the answer"]
    assert desk.proactive.sent == []


def test_without_any_way_the_answer_is_kept_for_the_next_message(desk):
    fail(desk)

    outcome = rerun(desk, desk.worker(desk.agent("the answer"), proactive=None))

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_AT_SEND)
    assert "DINGTALK_CLIENT_ID" in outcome.detail
    fresh = envelope(message_id="fresh", deadline=desk.clock.now + timedelta(hours=1))
    desk.answer(desk.worker(desk.agent("new"), hands_over=True), fresh)
    assert desk.webhook.posted == [f"{MARK}the answer", "new"]


def test_one_that_may_have_arrived_is_not_handed_over(desk):
    fail(desk)
    desk.proactive.answers = [OpenApiUnavailableError("no answer", ambiguous=True)]

    outcome = rerun(desk, desk.worker(desk.agent("the answer")))

    assert outcome.state is FinalState.FLAGGED
    [missed] = desk.store.missed()
    assert (missed.in_doubt, missed.answer is not None) == (True, True)
    assert desk.store.take_missed("robot1", "cid1", owner="w", lease_s=15, limit=9) == []


def test_an_agent_that_fails_again_is_missed_again(desk):
    fail(desk)

    outcome = rerun(desk, desk.worker(desk.agent(RuntimeError("boom"))))

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    assert [missed.task_id for missed in desk.store.missed()] == [ONE]


def test_a_worker_that_dies_after_the_agent_leaves_only_the_sending(desk):
    fail(desk)

    def agent(_):
        worker_ends(desk)
        return "the answer"

    worker = desk.worker(agent)
    due = desk.store.rerun(ONE, hold_s=15)
    assert due is not None
    with pytest.raises(KeyboardInterrupt):
        worker.work(ONE, due.envelope)
    desk.clock.advance(20)
    desk.store.due(limit=9, hold_s=0.1)
    desk.clock.advance(1)

    outcome = desk.worker(owner="worker2").work(ONE, None)

    assert outcome.state is FinalState.RESCUED
    assert desk.proactive.sent[-1][-1] == f"{MARK}the answer"


def test_a_webhook_that_still_lives_is_used(desk):
    desk.answer(desk.worker(desk.agent(RuntimeError("boom")), failed_notice=False), envelope())
    desk.clock.advance(60)

    rerun(desk, desk.worker(desk.agent("the answer")))

    assert desk.webhook.posted == [f"{MARK}the answer"]


def test_a_post_that_hangs_is_not_followed_by_another_way(desk):
    desk.answer(desk.worker(desk.agent(RuntimeError("boom"))), envelope())
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=True)]

    outcome = rerun(desk, desk.worker(desk.agent("the answer")))

    assert outcome.state is FinalState.FLAGGED
    assert desk.proactive.sent == []


def test_one_whose_worker_died_in_the_middle_of_a_post_is_not_sent_again(desk):
    fail(desk)
    worker = desk.worker(desk.agent("the answer"))

    def die(*_):
        raise KeyboardInterrupt

    desk.proactive.send_to_user = die
    with pytest.raises(KeyboardInterrupt):
        rerun(desk, worker)
    del desk.proactive.send_to_user
    desk.clock.advance(20)
    desk.store.due(limit=9, hold_s=0.1)
    desk.clock.advance(1)

    outcome = desk.worker(owner="worker2").work(ONE, None)

    assert outcome.state is FinalState.FLAGGED
    assert "may have arrived" in outcome.detail
    assert desk.proactive.sent == []
    [missed] = desk.store.missed()
    assert missed.in_doubt


def test_it_lends_its_dead_webhook_to_nobody(desk):
    fail(desk)
    desk.webhook.answers = [WebhookExpiredError(300001)]
    other = envelope(message_id="other", deadline=desk.clock.now + timedelta(hours=1))
    assert desk.answer(desk.worker(), other).state is FinalState.FLAGGED
    desk.clock.advance(3601)
    posts = desk.webhook.attempts

    rerun(desk, desk.worker(desk.agent("the answer"), hands_over=True))

    assert desk.webhook.attempts == posts
