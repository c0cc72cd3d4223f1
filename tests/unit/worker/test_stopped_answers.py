"""A message that is stopped: its agent ends, nothing more is said, and its worker is free."""

import asyncio
import logging
import threading
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest

from contract.routing import task_id
from dingwire.errors import WebhookBusyError
from tests.servers import wait_for
from tests.unit.worker.answering_parts import LEASE_S, START, Desk, envelope
from tests.unit.worker.thinking_parts import ADD, RECALL, RecordingApi
from worker.outcome import LEASE_LOST, FinalState, Outcome
from worker.patience import PatientStore
from worker.stopping import Stopped, Stopping
from worker.store import Claimed
from worker.thinking import CardSettings
from worker.words import CARD_STOPPED

TASK = task_id("robot1", "msg1")
STOP = envelope(message_id="stop", text="/stop", created_at=START + timedelta(seconds=9))
ENDED = Outcome(FinalState.CANCELLED, duplicate=True, detail="stopped", facts={"age_s": 0.0})


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr("worker.leases._LOOK_EVERY_S", 0.02)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def api() -> RecordingApi:
    return RecordingApi()


class Blocking:
    """Agents that never return by themselves; ``ended`` says how the async one did."""

    def __init__(self) -> None:
        self.runs = 0
        self.ended: list[str] = []
        self.gate = threading.Event()

    def plain(self, message: Any) -> str:
        self.runs += 1
        self.gate.wait(120)
        return "too late"

    async def awaiting(self, message: Any) -> str:
        self.runs += 1
        try:
            await asyncio.sleep(120)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        return "too late"


@pytest.fixture
def blocking():
    blocking = Blocking()
    yield blocking
    blocking.gate.set()


def stop(desk: Desk) -> Stopped:
    store = PatientStore(desk.store, desk.published.append)
    return Stopping(
        store, hold_s=LEASE_S, tell=lambda task_id, outcome: desk.told.append((task_id, outcome))
    ).stop(STOP)


def started(desk: Desk, worker, blocking: Blocking) -> Future[Outcome]:
    at_work = desk.start(worker)
    wait_for(lambda: blocking.runs == 1, what="the agent to run")
    return at_work


@pytest.mark.parametrize("kind", ["plain", "awaiting"])
def test_the_agent_is_called_off_and_its_worker_is_free_at_once(desk, blocking, kind):
    at_work = started(desk, desk.worker(getattr(blocking, kind)), blocking)

    assert stop(desk) == Stopped(running=1, waiting=0)

    assert at_work.result(120) == ENDED
    assert desk.webhook.attempts == 0
    assert desk.record()["outcome"] == "CANCELLED"
    assert desk.missed() is None
    assert [told for told, _ in desk.told] == [TASK]
    if kind == "awaiting":
        wait_for(lambda: blocking.ended == ["cancelled"], what="the agent's end")


def test_a_thread_that_is_left_behind_is_counted_and_says_nothing_when_it_returns(desk, blocking):
    worker = desk.worker(blocking.plain)
    at_work = started(desk, worker, blocking)
    stop(desk)
    at_work.result(120)

    blocking.gate.set()

    runner = worker._bots.of(envelope()).runner
    assert runner.abandoned == 1
    assert desk.webhook.attempts == 0


def test_neither_a_failure_nor_a_lost_lease_is_told(desk, blocking, caplog):
    caplog.set_level(logging.INFO)
    at_work = started(desk, desk.worker(blocking.awaiting), blocking)
    stop(desk)
    at_work.result(120)

    actions = [getattr(record, "action", None) for record in caplog.records]
    assert [action for action in actions if action] == ["reply_cancelled", "duplicate_dropped"]


def test_the_next_message_of_the_conversation_is_answered(desk, blocking):
    worker = desk.worker(blocking.awaiting)
    at_work = started(desk, worker, blocking)
    later = envelope(message_id="msg2", created_at=START + timedelta(seconds=10))
    assert desk.answer(worker, later).parked

    stop(desk)
    at_work.result(120)

    [published] = desk.published
    other = desk.worker(desk.agent("an answer"))
    outcome = desk.work_on(other, published.task_id, published.envelope)
    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["an answer"]


def test_a_message_that_was_stopped_while_on_the_broker_is_not_begun(desk):
    stop(desk)

    outcome = desk.answer(desk.worker())

    assert desk.agent_calls == []
    assert outcome.state is FinalState.CANCELLED
    assert not outcome.duplicate
    assert outcome.summary() == {
        "state": "CANCELLED",
        "detail": "stopped by message stop",
        "outcome": "stopped",
        "was": "queued",
    }
    assert desk.webhook.attempts == 0


def test_what_is_stopped_between_its_claim_and_its_agent_is_not_begun(desk):
    """Here while it is looked for what it quotes."""
    worker = desk.worker()

    def stop_first(_message):
        stop(desk)
        wait_for(lambda: not worker._heartbeat._held, what="the loss to be noticed")

    worker._asking._quoted_files.note = stop_first

    assert desk.answer(worker) == ENDED
    assert desk.agent_calls == []


def test_parts_that_are_not_posted_yet_are_not(desk):
    desk.webhook.at_post = lambda: stop(desk)
    worker = desk.worker(desk.agent(["one", "two", "three"]))

    assert desk.answer(worker) == ENDED
    assert desk.webhook.posted == ["one"]
    story = desk.store.story(TASK)
    assert story is not None
    assert story.steps[-1].facts["in_doubt"], "it says that one may have arrived"


def test_an_attempt_that_was_put_off_is_not_made(desk):
    desk.webhook.answers = [WebhookBusyError(-1, "system busy")]
    worker = desk.worker()
    again = desk.answer(worker)
    assert again.retry_in_s is not None

    assert stop(desk) == Stopped(running=0, waiting=1)
    desk.clock.advance(again.retry_in_s + 1)

    assert desk.due() == []
    assert desk.work(worker, None).state is FinalState.CANCELLED
    assert desk.webhook.posted == []


def test_an_agent_whose_message_another_worker_has_is_called_off(desk, blocking, caplog):
    """It was away for longer than a lease: what it would say is not wanted, and costs money."""
    at_work = started(desk, desk.worker(blocking.awaiting), blocking)
    desk.clock.advance(LEASE_S)
    theirs = desk.store.claim(TASK, owner="worker2", lease_s=600, envelope=None)
    assert isinstance(theirs, Claimed)

    have_them_look(desk)

    assert at_work.result(120) == Outcome(None, duplicate=True, detail=LEASE_LOST)
    wait_for(lambda: blocking.ended == ["cancelled"], what="the agent's end")
    desk.store.finish(theirs.lease, "SUCCESS")


def have_them_look(desk: Desk) -> None:
    """Have all workers look at their leases now, as they do by themselves three times a lease."""
    other = envelope(message_id="other", conversation_id="cid9", created_at=START)
    data = other.to_wire()
    desk.store.claim("other", owner="x", lease_s=600, envelope=data, written=(1, 0))
    desk.store.stop("robot1", "cid9", before=(2, 0), facts={"by": "anna"}, hold_s=15)


def test_a_reaction_is_taken_off(desk, api, blocking):
    worker = desk.worker(blocking.awaiting, thinking="reaction", api=api)
    at_work = started(desk, worker, blocking)
    api.until(lambda a: ADD in a.paths, "the reaction")

    stop(desk)
    at_work.result(120)

    api.until(lambda a: RECALL in a.paths, "it to be taken off")


def test_a_card_says_that_it_was_stopped(desk, api, blocking):
    def agent(_message):
        yield "so far"
        blocking.gate.wait(120)

    worker = desk.worker(agent, thinking="card", card=CardSettings("t", every_s=0.01), api=api)
    at_work = desk.start(worker)
    api.until(lambda a: "so far" in a.streamed, "the card")

    stop(desk)

    assert at_work.result(120) == ENDED
    said = f"so far\n\n{CARD_STOPPED.in_('en')}"
    api.until(lambda a: said in a.streamed, "the card to say so")
    assert desk.webhook.attempts == 0


def test_what_is_seen_of_a_message_that_nobody_has_is_put_away(desk, api):
    desk.webhook.answers = [WebhookBusyError(-1, "system busy")]
    worker = desk.worker(thinking="reaction", api=api)
    assert desk.answer(worker).retry_in_s is not None
    stop(desk)
    assert RECALL not in api.paths

    worker._thinking.put_away(TASK, envelope(), sent=0)

    api.until(lambda a: RECALL in a.paths, "it to be taken off")


def test_a_failure_right_after_it_was_stopped_is_told_to_nobody(desk):
    def agent(_message):
        stop(desk)
        raise ValueError

    worker = desk.worker(agent)
    worker._heartbeat._is_any_stopped = lambda: False  # nobody has told it yet

    assert desk.answer(worker) == ENDED
    assert desk.webhook.attempts == 0


def test_what_an_agent_would_say_after_it_was_stopped_is_not_sent(desk):
    def agent(_message, context):
        context.say("before")
        stop(desk)
        context.say("after")
        return "the answer"

    worker = desk.worker(agent)
    worker._heartbeat._is_any_stopped = lambda: False

    assert desk.answer(worker) == ENDED
    assert desk.webhook.posted == ["before"]
