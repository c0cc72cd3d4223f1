"""What an agent says before its answer: in order, at the pace, and not after its time."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.routing import task_id
from dingwire.errors import WebhookRefusedError, WebhookUnreachableError
from tests.servers import wait_for
from tests.unit.worker.answering_parts import SECRET_WORDS, START, Desk, envelope
from worker.agents import Image
from worker.outcome import FinalState
from worker.store import Reason

TASK = task_id("robot1", "msg1")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def talking(*replies, answer="the answer"):
    def agent(_message, context):
        for reply in replies:
            context.say(reply)
        return answer

    return agent


def test_it_arrives_before_the_answer_in_order_and_the_story_tells_of_it(desk):
    outcome = desk.answer(desk.worker(talking("one", "two")))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["one", "two", "the answer"]
    assert desk.webhook.uuids == [f"{TASK}-said-1-1", f"{TASK}-said-2-1", TASK]
    story = desk.store.story("msg1")
    assert story is not None
    names = [step.name for step in story.steps]
    assert names[names.index("agent_started") :][:4] == [
        "agent_started",
        "said",
        "said",
        "agent_ended",
    ]


def test_an_async_agent_says_it_without_blocking_the_others(desk):
    async def agent(_message, context):
        await context.asay("one")
        return "the answer"

    desk.answer(desk.worker(agent))
    assert desk.webhook.posted == ["one", "the answer"]


def test_what_is_not_awaited_is_still_before_the_answer(desk):
    posting = threading.Event()
    desk.webhook.at_post = posting.set

    async def agent(_message, context):
        task = asyncio.create_task(context.asay("one"))
        await asyncio.to_thread(posting.wait, 60)
        task.cancel()
        return "the answer"

    desk.answer(desk.worker(agent))
    assert desk.webhook.posted == ["one", "the answer"]


def test_any_reply_can_be_said_and_its_media_are_uploaded(desk):
    desk.answer(desk.worker(talking(Image(data=b"\x89PNG\r\n\x1a\n"))))
    assert len(desk.uploads.uploaded) == 1
    assert desk.proactive.sent == [("user", "robot1", "staff1", "[image]")]
    assert desk.webhook.posted == ["the answer"]


def test_what_is_no_reply_fails_the_agent(desk):
    outcome = desk.answer(desk.worker(talking(7), failed_notice=False))
    assert (outcome.reason, outcome.detail) == (Reason.AGENT_FAILED, "TypeError")
    assert desk.webhook.attempts == 0


def test_what_dingtalk_does_not_take_is_tried_again(desk):
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=False)]
    desk.answer(desk.worker(talking("one")))
    assert desk.webhook.posted == ["one", "the answer"]


def test_what_dingtalk_refuses_is_logged_without_its_words_and_fails_nobody(desk, caplog):
    desk.webhook.answers = [WebhookRefusedError(300005, "no")]

    outcome = desk.answer(desk.worker(talking(SECRET_WORDS)))

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["the answer"]
    (line,) = [r for r in caplog.records if getattr(r, "action", "") == "say_failed"]
    assert SECRET_WORDS not in line.getMessage()


@pytest.mark.parametrize(
    "fields",
    [{"session_webhook": None}, {"deadline": START + timedelta(seconds=5)}],
    ids=["without a webhook", "after the deadline"],
)
def test_what_cannot_arrive_is_not_sent(desk, fields):
    def agent(_message, context):
        desk.clock.advance(10)
        context.say("one")
        return

    outcome = desk.answer(desk.worker(agent), envelope(**fields))
    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.attempts == 0


def test_nothing_is_said_of_a_message_that_another_worker_has(desk):
    def agent(_message, context):
        desk.clock.advance(60)
        claim = desk.store.claim(TASK, owner="other", lease_s=60, envelope=None)
        assert claim
        worker._heartbeat._renew(list(worker._heartbeat._held))
        context.say("one")
        return "the answer"

    worker = desk.worker(agent)
    outcome = desk.answer(worker)
    assert outcome.duplicate
    assert desk.webhook.attempts == 0


def test_what_an_abandoned_agent_says_later_is_dropped(desk):
    may_go_on, ended = threading.Event(), threading.Event()
    seen = []

    def agent(_message, context):
        may_go_on.wait(60)
        seen.append(context.cancelled)
        context.say("too late")
        ended.set()

    outcome = desk.answer(desk.worker(agent, agent_timeout_s=0.05, failed_notice=False))
    may_go_on.set()
    wait_for(ended.is_set, what="the agent to end")

    assert outcome.reason is Reason.AGENT_TIMEOUT
    assert (seen, desk.webhook.attempts) == ([True], 0)


def test_it_keeps_the_pace_of_the_conversation(desk):
    """With one a minute the answer waits for its time, as any second post does."""
    outcome = desk.answer(desk.worker(talking("one"), replies_per_minute=1))
    assert desk.webhook.posted == ["one"]
    assert outcome.is_paced


def test_an_operators_second_run_sends_the_answer_alone(desk):
    desk.answer(desk.worker(desk.agent(RuntimeError()), failed_notice=False))
    due = desk.store.rerun(TASK, hold_s=15)
    assert due is not None
    desk.work_on(desk.worker(talking("one")), TASK, due.envelope)
    assert not any("one" in posted for posted in desk.webhook.posted)
    assert len(desk.webhook.posted) + len(desk.proactive.sent) == 1


def test_in_the_main_thread_of_a_pool_process_it_is_sent_by_another_one(desk):
    """An agent is interrupted there anywhere, and must not be while it has a connection in hand."""
    posted_by = list[bool]()

    def at_post() -> None:
        posted_by.append(threading.current_thread() is threading.main_thread())

    desk.webhook.at_post = at_post
    message = envelope()
    outcome = desk.worker(talking("one")).work(TASK, message.to_wire())
    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["one", "the answer"]
    assert posted_by == [False, True]

    refused = desk.worker(talking(7), failed_notice=False)
    outcome = refused.work(
        task_id("robot1", "msg2"), envelope(message_id="msg2", conversation_id="cid2").to_wire()
    )
    assert outcome.detail == "TypeError"


def test_an_agent_is_told_how_long_it_has_until_the_deadline(desk):
    left = list[float]()

    def agent(_message, context):
        left.append(context.remaining_s())

    desk.answer(desk.worker(agent), envelope(deadline=START + timedelta(seconds=40)))
    desk.answer(desk.worker(agent, agent_timeout_s=20), envelope(message_id="msg2"))
    assert left[0] == 40
    assert 0 < left[1] <= 20
