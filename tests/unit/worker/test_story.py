"""A worker tells the story of a message: each step, its facts, and nothing anybody wrote."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.routing import task_id
from dingwire.errors import WebhookExpiredError, WebhookUnreachableError
from tests.unit.worker.answering_parts import SECRET_WORDS, SESSION, START, Desk, envelope
from worker.agents import AgentError, Retry, Usage
from worker.store import Story

ONE = task_id("robot1", "msg1")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def story(desk: Desk, id_: str = ONE) -> Story:
    found = desk.store.story(id_)
    assert found is not None
    return found


def told(desk: Desk, id_: str = ONE) -> list[str]:
    return [step.name for step in story(desk, id_).steps]


def facts(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [step.facts for step in story(desk).steps if step.name == name]


def test_an_answered_message_tells_all_of_its_way(desk):
    message = envelope(
        spooled_at=START + timedelta(seconds=1), enqueued_at=START + timedelta(seconds=9)
    )
    desk.clock.advance(10)

    desk.answer(desk.worker(desk.agent("the answer")), message)

    assert told(desk) == [
        "received", "spooled", "enqueued", "taken", "agent_started", "agent_ended", "sending",
        "finished",
    ]  # fmt: skip
    times = [step.at for step in story(desk).steps]
    assert times[:4] == [START + timedelta(seconds=s) for s in (0, 1, 9, 10)]
    [received] = facts(desk, "received")
    assert received == {
        "bot": "robot1",
        "message_id": "msg1",
        "conversation_id": "cid1",
        "conversation": "private",
        "sender_staff_id": "staff1",
        "kind": "text",
        "deadline": (START + timedelta(minutes=20)).isoformat(),
        "clock_offset_s": 0.0,
    }
    assert facts(desk, "taken") == [{"owner": "worker1"}]
    assert facts(desk, "sending") == [{"part": 1, "of": 1, "route": "webhook"}]
    [finished] = facts(desk, "finished")
    assert (finished["state"], finished["spare_s"], finished["parts"]) == ("SUCCESS", 1190.0, 1)
    assert [each["outcome"] for each in facts(desk, "agent_ended")] == ["answered"]


def test_a_story_holds_nothing_anybody_wrote(desk):
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=False)]
    worker = desk.worker(desk.agent("a private answer"))
    desk.answer(worker, envelope())
    desk.clock.advance(60)
    desk.answer(worker, envelope())

    text = repr(story(desk))

    assert "finished" in text
    for private in (SECRET_WORDS, SESSION, "a private answer", "Alice"):
        assert private not in text


def test_every_retry_is_told_with_its_reason_and_wait(desk):
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=False)]
    worker = desk.worker()
    outcome = desk.answer(worker, envelope())
    desk.clock.advance(60)
    desk.answer(worker, envelope())

    [retried] = facts(desk, "retried")

    assert retried["retry_in_s"] == outcome.retry_in_s
    assert "no answer" in retried["detail"]
    assert [name for name in told(desk) if name in {"retried", "taken", "finished"}] == [
        "taken", "retried", "taken", "finished",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "ended"), [(RuntimeError("boom"), "failed"), ("", "silent"), (None, "silent")]
)
def test_it_says_how_the_agent_ended(desk, reply, ended):
    desk.answer(desk.worker(desk.agent(reply)), envelope())

    assert [each["outcome"] for each in facts(desk, "agent_ended")] == [ended]
    assert told(desk)[-1] == "finished"


@pytest.mark.parametrize("policy", ["drop", "flag", "rescue"])
def test_what_came_too_late_says_why(desk, policy):
    desk.webhook.answers = [WebhookExpiredError(300001)]

    outcome = desk.answer(desk.worker(policy=policy), envelope())

    [finished] = facts(desk, "finished")
    assert (finished["state"], finished["reason"]) == (outcome.state, "expired_at_send")
    routes = [each["route"] for each in facts(desk, "sending")]
    assert routes == ["webhook", *(["proactive"] if policy == "rescue" else [])]


def test_a_kept_answer_that_was_handed_over_says_by_whom(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]
    desk.answer(desk.worker(), envelope())
    fresh = envelope(message_id="fresh", deadline=desk.clock.now + timedelta(hours=1))

    desk.answer(desk.worker(hands_over=True), fresh)

    assert facts(desk, "handed_over") == [{"by_message_id": "fresh"}]
    counted = [outcome.facts.get("outcome") for outcome in desk.outcomes]
    assert counted == [None, "handed_over", "on_time"]
    assert story(desk).outcome == "SUCCESS"


def test_one_that_goes_back_when_its_worker_ends_says_so(desk):
    workers: list[Any] = []
    workers.append(desk.worker(lambda _: workers[0]._heartbeat.release_all()))

    desk.answer(workers[0], envelope())

    assert told(desk)[-1] == "given_back"


def test_outcomes_are_observed_with_what_metrics_need(desk):
    desk.clock.advance(3)
    desk.answer(desk.worker(desk.agent("hello", takes_s=2)), envelope())

    [outcome] = desk.outcomes

    assert (outcome.facts["queued_s"], outcome.facts["route"]) == (3.0, "webhook")
    assert outcome.facts["age_s"] == 5.0
    assert {"post_s", "spare_s", "agent_s", "attempts", "parts"} <= outcome.facts.keys()


@pytest.mark.parametrize(
    "end",
    ["the answer", "", AgentError("no"), Retry(1)],
    ids=["answered", "silent", "failed", "again"],
)
def test_what_the_agent_used_of_models_is_told_however_it_ends(desk, end):
    def agent(_message, context):
        context.used(Usage("qwen-plus", 500, 60))
        context.used(Usage("qwen-plus", 600, 70))
        if isinstance(end, Exception):
            raise end
        return end

    outcome = desk.answer(desk.worker(agent, agent_retries=1))

    used = {"model": "qwen-plus", "calls": 2, "input_tokens": 1100, "output_tokens": 130}
    [ended] = facts(desk, "agent_ended")
    assert ended["usage"] == [used]
    assert outcome.facts["usage"] == [used]


def test_of_an_agent_that_used_none_nothing_is_told(desk):
    outcome = desk.answer(desk.worker(desk.agent("the answer")))
    assert "usage" not in facts(desk, "agent_ended")[0]
    assert "usage" not in outcome.facts
