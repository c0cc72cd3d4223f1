"""What a person is told of an agent that failed, and what becomes of one that asks for a rerun."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.routing import task_id
from contract.turn import Order
from dingwire.errors import WebhookUnreachableError
from tests.unit.worker.answering_parts import LEASE_S, START, Desk, envelope
from worker.agents import AgentError, Retry
from worker.commands.telling import in_words
from worker.outcome import FinalState, Outcome
from worker.store import Reason
from worker.turns import Turns
from worker.words import FAILED, TOO_SLOW

TASK = task_id("robot1", "msg1")
SORRY = FAILED.in_("en")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def steps(desk: Desk) -> list[str]:
    story = desk.store.story("msg1")
    assert story is not None
    return [step.name for step in story.steps]


def run_again(desk: Desk, worker, outcome: Outcome) -> Outcome:
    """What a sweep does when the time of the next run has come."""
    assert outcome.retry_in_s is not None
    desk.clock.advance(outcome.retry_in_s + 0.001)
    (message,) = desk.due()
    assert not message.has_answer
    return desk.work_on(worker, message.task_id, message.envelope)


def asking_again(times: int, after_s: float = 5):
    """An agent that answers at the run after so many."""
    runs = [0]

    def agent(_message):
        runs[0] += 1
        if runs[0] <= times:
            raise Retry(after_s)
        return f"answered at run {runs[0]}"

    return agent


# Notices.


def test_the_person_gets_one_line_and_the_operator_the_missed_reply(desk):
    outcome = desk.answer(desk.worker(desk.agent(RuntimeError()), language="en"))

    assert desk.webhook.posted == [SORRY]
    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    missed = desk.missed()
    assert missed is not None
    assert (missed.reason, missed.answer) == (Reason.AGENT_FAILED, None)
    assert steps(desk)[-3:] == ["agent_ended", "notice", "finished"]


def test_who_waited_too_long_is_told_so(desk):
    async def never(_message):
        await asyncio.Event().wait()

    desk.answer(desk.worker(never, agent_timeout_s=0.05, language="en"))
    assert desk.webhook.posted == [TOO_SLOW.in_("en")]


def test_nobody_is_told_where_that_is_off(desk):
    desk.answer(desk.worker(desk.agent(RuntimeError()), failed_notice=False))
    assert desk.webhook.attempts == 0
    assert "notice" not in steps(desk)


@pytest.mark.parametrize(
    "fields",
    [{"deadline": START + timedelta(seconds=2.5)}, {"session_webhook": None}],
    ids=["in the last seconds", "without a webhook"],
)
def test_nobody_is_told_who_cannot_be_reached_in_time(desk, fields):
    outcome = desk.answer(desk.worker(desk.agent(RuntimeError())), envelope(**fields))
    assert outcome.reason is Reason.AGENT_FAILED
    assert desk.webhook.attempts == 0


def test_nobody_is_told_after_the_deadline(desk):
    outcome = desk.answer(desk.worker(desk.agent(RuntimeError(), takes_s=1300)))
    assert outcome.reason is Reason.AGENT_FAILED
    assert desk.webhook.attempts == 0


def test_a_message_whose_worker_died_after_the_notice_is_not_told_again(desk):
    class DyingError(Exception):
        pass

    def post(*_args, **_more):
        raise DyingError

    desk.webhook.at_post = post
    worker = desk.worker(desk.agent(RuntimeError()))
    with pytest.raises(DyingError):
        desk.answer(worker)
    desk.webhook.at_post = lambda: None
    desk.clock.advance(LEASE_S + 1)

    outcome = desk.answer(desk.worker(desk.agent(RuntimeError()), owner="worker2"))

    assert outcome.reason is Reason.AGENT_FAILED
    assert desk.webhook.attempts == 1


def test_a_message_that_kills_its_workers_is_told_of_as_well(desk):
    for number in range(3):
        desk.store.claim(
            TASK, owner=f"dead{number}", lease_s=LEASE_S, envelope=envelope().to_wire()
        )
        desk.clock.advance(LEASE_S + 1)

    outcome = desk.answer(desk.worker(language="en"))

    assert outcome.detail == "its worker died 3 times"
    assert desk.webhook.posted == [SORRY]


def test_a_notice_that_does_not_arrive_changes_nothing_else(desk):
    desk.webhook.answer_always = WebhookUnreachableError("no answer", ambiguous=False)
    outcome = desk.answer(desk.worker(desk.agent(RuntimeError())))
    assert outcome.reason is Reason.AGENT_FAILED
    assert desk.missed() is not None


# Another run.


def test_an_agent_is_run_again_when_it_asks_for_it_by_any_worker(desk):
    agent = asking_again(2)
    first = desk.worker(agent, agent_retries=2)
    outcome = desk.answer(first)
    assert (outcome.state, outcome.retry_in_s, outcome.facts["runs"]) == (None, 5, 1)
    second = desk.worker(agent, agent_retries=2, owner="worker2")
    outcome = run_again(desk, second, outcome)
    assert outcome.facts["runs"] == 2

    outcome = run_again(desk, first, outcome)

    assert outcome.state is FinalState.SUCCESS
    assert outcome.facts["attempts"] == 1  # of the delivery, which are counted apart
    assert desk.webhook.posted == ["answered at run 3"]
    story = desk.store.story("msg1")
    assert story is not None
    words = [in_words(step) for step in story.steps]
    assert words.count("the agent asks for another run; in 5 s") == 2


@pytest.mark.parametrize(("retries", "runs"), [(0, "1 run"), (1, "2 runs")])
def test_an_agent_that_has_no_run_left_has_failed(desk, retries, runs):
    worker = desk.worker(asking_again(9), agent_retries=retries, language="en")
    outcome = desk.answer(worker)
    for _ in range(retries):
        outcome = run_again(desk, worker, outcome)

    assert outcome.reason is Reason.AGENT_FAILED
    assert outcome.detail == f"asked for another run after {runs}: AGENT_RETRIES={retries}"
    assert desk.webhook.posted == [SORRY]


def test_no_agent_is_run_again_beyond_the_deadline(desk):
    worker = desk.worker(asking_again(1, after_s=60), agent_retries=5)
    outcome = desk.answer(worker, envelope(deadline=START + timedelta(seconds=40)))

    assert outcome.reason is Reason.AGENT_FAILED
    assert outcome.detail == "asked for another run in 60 s, and 40 s were left"


def test_why_it_asked_for_another_run_is_told_if_it_may_be_shown(desk):
    def agent(_message):
        raise Retry from AgentError("the model is overloaded")

    outcome = desk.answer(desk.worker(agent))
    words = "the model is overloaded; asked for another run after 1 run: AGENT_RETRIES=0"
    assert outcome.detail == words


@pytest.mark.parametrize("after_s", [-1, float("inf"), float("nan")])
def test_a_pause_that_is_none_is_refused(after_s):
    with pytest.raises(ValueError, match="after_s"):
        Retry(after_s)


def test_a_message_keeps_its_turn_while_its_agent_is_to_run_again(desk):
    turns = Turns(Order.CONVERSATION)
    worker = desk.worker(asking_again(1), agent_retries=1, turns=turns)
    outcome = desk.answer(worker)

    later = envelope(message_id="msg2")
    assert desk.answer(worker, later).parked
    assert run_again(desk, worker, outcome).state is FinalState.SUCCESS
    assert [message.message_id for message in desk.published] == ["msg2"]
