"""One message, from its task to its end: who works on it, and what is left when it goes wrong."""

import asyncio
import json
import logging
import threading
from datetime import timedelta
from typing import Any

import pytest

from contract.envelope import Envelope
from contract.routing import task_id
from dingwire.errors import WebhookUnreachableError
from tests.servers import wait_for
from tests.unit.worker.answering_parts import (
    LEASE_S,
    SECRET_WORDS,
    SESSION,
    START,
    Desk,
    envelope,
)
from worker.agents.runner import AgentRunner
from worker.bots import BotParts, Bots
from worker.outcome import FinalState
from worker.settings import WorkerSettings
from worker.store import Claimed, Held, Reason, StoreUnavailableError

TASK = task_id("robot1", "msg1")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_a_message_is_answered_once_and_its_record_forgets_what_was_said(desk):
    worker = desk.worker(desk.agent("an answer", takes_s=2))

    outcome = desk.answer(worker)

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["an answer"]
    assert outcome.facts["outcome"] == "on_time"
    assert (outcome.facts["age_s"], outcome.facts["spare_s"]) == (2.0, 1198.0)
    record = desk.record()
    assert (record["state"], record["outcome"]) == ("done", "SUCCESS")
    assert (record["envelope"], record["answer"]) == (None, None)


def test_the_answer_is_kept_before_it_is_posted(desk):
    """A worker that dies while it posts leaves the answer to others."""
    seen = []
    desk.webhook.at_post = lambda: seen.append(desk.record())

    desk.answer(desk.worker())

    assert [(row["state"], json.loads(json.loads(row["answer"]))) for row in seen] == [
        ("running", {"kind": "text", "content": "an answer"})
    ]


class CountingStore:
    """A store that knows what it was asked for."""

    def __init__(self, store: Any) -> None:
        self._store, self.asked = store, list[str]()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        def asked(*args: Any, **facts: Any) -> Any:
            self.asked.append(name)
            return found(*args, **facts)

        return asked


def asked_of_the_store(desk, **how: Any) -> list[str]:
    counting = CountingStore(desk.store)
    real, desk.store = desk.store, counting
    worker = desk.worker(hands_over=True, **how)
    desk.store = real
    desk.answer(worker)
    return counting.asked


def test_a_plain_answer_asks_the_store_three_times(desk):
    """Each is a round trip that the person waits for."""
    asked = asked_of_the_store(desk)

    assert asked == ["claim", "sending", "finish"]
    assert desk.webhook.attempts == 1
    assert desk.proactive.sent == []


def test_memory_costs_one_round_trip(desk):
    asked = asked_of_the_store(desk, history={"history_turns": 5})

    assert asked == ["claim", "exchanges", "sending", "finish"]


def test_an_envelope_is_read_once_as_it_came_and_once_as_the_store_has_it(desk, monkeypatch):
    """The store may have more: an earlier copy, or what was merged."""
    read, from_wire = list[object](), Envelope.from_wire

    def count(data: object) -> Envelope:
        read.append(data)
        return from_wire(data)

    monkeypatch.setattr(Envelope, "from_wire", count)
    desk.answer(desk.worker())

    assert len(read) == 2


def test_every_post_of_a_message_carries_the_same_id(desk):
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=True)]
    worker = desk.worker()

    desk.deliver_when_due(worker, desk.answer(worker))

    assert desk.webhook.uuids == [TASK, TASK]


# Somebody else has it.


def test_a_second_copy_of_an_answered_message_is_dropped(desk):
    worker = desk.worker()
    desk.answer(worker)

    outcome = desk.answer(desk.worker(owner="worker2"))

    assert (outcome.state, outcome.duplicate) == (FinalState.SUCCESS, True)
    assert outcome.action == "duplicate_dropped"
    assert len(desk.agent_calls) == len(desk.webhook.posted) == 1


def test_a_second_copy_of_a_missed_message_is_dropped_and_the_first_story_stays(desk):
    desk.answer(desk.worker(desk.agent(RuntimeError()), failed_notice=False))

    outcome = desk.answer(desk.worker(owner="worker2"))

    assert (outcome.state, outcome.duplicate) == (FinalState.FAILURE, True)
    assert desk.webhook.attempts == 0
    missed = desk.missed()
    assert missed is not None
    assert missed.reason is Reason.AGENT_FAILED


def test_a_message_with_a_living_claim_is_left_to_its_worker(desk):
    claim = desk.store.claim(TASK, owner="another", lease_s=60, envelope=envelope().to_wire())
    assert isinstance(claim, Claimed)

    outcome = desk.answer(desk.worker())

    assert (outcome.state, outcome.duplicate) == (None, True)
    assert desk.agent_calls == []
    desk.store.keep_answer(claim.lease, "theirs still")


def test_a_delivery_nobody_knows_anything_about_is_dropped(desk):
    outcome = desk.work(desk.worker(), None)

    assert (outcome.state, outcome.duplicate) == (None, True)
    assert desk.webhook.attempts == 0


def test_an_answer_of_a_dead_worker_is_delivered_without_a_second_run(desk):
    claim = desk.store.claim(TASK, owner="dead", lease_s=15, envelope=envelope().to_wire())
    assert isinstance(claim, Claimed)
    desk.store.keep_answer(claim.lease, '{"kind": "text", "content": "from before"}')
    desk.clock.advance(15)

    outcome = desk.answer(desk.worker())

    assert outcome.state is FinalState.SUCCESS
    assert desk.webhook.posted == ["from before"]
    assert desk.agent_calls == []


def test_a_message_that_killed_three_workers_is_not_tried_again(desk):
    for _ in range(3):
        claim = desk.store.claim(TASK, owner="dead", lease_s=1, envelope=envelope().to_wire())
        assert isinstance(claim, Claimed)
        desk.clock.advance(1)

    outcome = desk.answer(desk.worker())

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    assert outcome.detail == "its worker died 3 times"
    assert desk.agent_calls == []


def test_two_dead_workers_are_not_yet_enough(desk):
    for _ in range(2):
        desk.store.claim(TASK, owner="dead", lease_s=1, envelope=envelope().to_wire())
        desk.clock.advance(1)

    assert desk.answer(desk.worker()).state is FinalState.SUCCESS


def test_a_worker_that_lost_its_lease_while_the_agent_ran_posts_nothing(desk):
    def another_takes_over(_):
        desk.clock.advance(LEASE_S)
        assert isinstance(
            desk.store.claim(TASK, owner="another", lease_s=60, envelope=None), Claimed
        )
        return "too late"

    outcome = desk.answer(desk.worker(desk.agent(another_takes_over)))

    assert (outcome.state, outcome.duplicate) == (None, True)
    assert desk.webhook.attempts == 0
    assert isinstance(desk.store.claim(TASK, owner="third", lease_s=1, envelope=None), Held)


# Time.


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        ("flag", FinalState.FLAGGED),
        ("drop", FinalState.DROPPED),
        ("rescue", FinalState.FLAGGED),
    ],
)
def test_a_message_that_expired_in_its_queue_costs_no_agent(desk, policy, state):
    desk.clock.advance(20 * 60)

    outcome = desk.answer(desk.worker(policy=policy))

    assert (outcome.state, outcome.reason) == (state, Reason.EXPIRED_IN_QUEUE)
    assert desk.agent_calls == []
    assert desk.webhook.attempts == 0
    assert desk.proactive.sent == []
    assert (desk.missed() is None) == (policy == "drop")


def test_the_deadline_is_judged_on_dingtalks_clock(desk):
    """DingTalk's clock is a minute ahead of ours, so its deadline comes a minute early."""
    desk.clock.advance(19 * 60)

    outcome = desk.answer(desk.worker(), envelope(clock_offset_s=60))

    assert outcome.reason is Reason.EXPIRED_IN_QUEUE


def test_an_answer_that_outlives_its_webhook_is_kept_and_not_posted(desk):
    """The deadline is judged again after the agent, not only before it."""
    outcome = desk.answer(desk.worker(desk.agent("late", takes_s=3600), agent_timeout_s=7200))

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, Reason.EXPIRED_RUNNING)
    assert desk.webhook.attempts == 0
    missed = desk.missed()
    assert missed is not None
    assert json.loads(missed.answer or "") == {"kind": "text", "content": "late"}


def test_a_broken_promise_is_posted_with_a_note_and_is_a_success(desk):
    message = envelope(promise_at=START + timedelta(seconds=5))

    outcome = desk.answer(desk.worker(desk.agent("an answer", takes_s=6)), message)

    assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "late")
    assert desk.webhook.posted == ["抱歉让您久等了 · Sorry for the wait\nan answer"]
    assert desk.missed() is None


# The agent.


@pytest.mark.parametrize("silence", [None, "", " \n"])
def test_silence_is_an_answer(desk, silence):
    outcome = desk.answer(desk.worker(desk.agent(silence)))

    assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "silent")
    assert desk.webhook.attempts == 0
    assert desk.record()["state"] == "done"


def test_an_agent_that_raises_is_a_failure_that_quotes_nobody(desk, caplog):
    caplog.set_level(logging.DEBUG)
    worker = desk.worker(desk.agent(ValueError(f"cannot parse {SECRET_WORDS!r}")))

    outcome = desk.answer(worker)

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    assert outcome.detail == "ValueError"
    missed = desk.missed()
    assert missed is not None
    assert (missed.state, missed.detail, missed.answer) == ("FAILURE", "ValueError", None)
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "agent failed: ValueError" in logged
    assert "answering_parts.py" in logged  # the way to the line that raised
    assert "salary" not in logged
    assert "cannot parse" not in logged


def test_an_agent_past_its_time_is_recorded_and_its_later_answer_is_thrown_away(desk):
    may_return, returned = threading.Event(), threading.Event()

    def stubborn(_message):
        may_return.wait(60)
        returned.set()
        return "much too late"

    worker = desk.worker(stubborn, agent_timeout_s=0.05, failed_notice=False)
    outcome = desk.answer(worker)
    may_return.set()
    wait_for(returned.is_set, what="the agent to end")

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_TIMEOUT)
    assert outcome.detail == "no reply within 0.05 s"
    assert desk.webhook.attempts == 0
    missed = desk.missed()
    assert missed is not None
    assert missed.answer is None


def test_with_drop_an_agent_gets_no_more_time_than_its_webhook(desk):
    """Nobody would ever see a later answer, so it is not waited for."""
    limits = []

    class Runner:
        reads: frozenset[str] = frozenset()
        history_turns = 0
        history_tokens = None
        settings = None

        def run(self, _message, *, context, limit_s, on_piece):
            limits.append(limit_s)

        def cancel_all(self):
            raise AssertionError("nobody ends it")

    for policy in ("drop", "flag"):
        worker = desk.worker(policy=policy, agent_timeout_s=7200, runner=Runner())
        desk.answer(worker, envelope(message_id=policy))

    assert limits == [1200, 7200]


# What cannot be answered.


def test_a_message_to_a_bot_nobody_knows_here_is_kept_for_when_somebody_does(desk):
    stranger = envelope(bot="robot2", client_id="dingother")
    mine = BotParts(WorkerSettings.model_construct(client_id="dingmine"), AgentRunner(print), None)

    outcome = desk.answer(desk.worker(bots=Bots([mine], default=mine)), stranger)

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.NO_ROUTE)
    assert outcome.detail == "no bot dingother in this worker's settings"
    assert desk.agent_calls == desk.webhook.posted == []
    kept = desk.missed()
    assert kept.detail == outcome.detail

    assert desk.store.rerun(kept.task_id, hold_s=15) is not None
    assert desk.answer(desk.worker(), stranger).state is FinalState.SUCCESS
    assert [post.splitlines()[-1] for post in desk.webhook.posted] == ["an answer"]


def test_a_webhook_to_a_foreign_host_is_refused_before_any_money_is_spent(desk, caplog):
    caplog.set_level(logging.DEBUG)
    message = envelope(session_webhook=f"https://evil.example/robot?session={SESSION}")

    outcome = desk.answer(desk.worker(), message)

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.WEBHOOK_NOT_ALLOWED)
    assert "'evil.example' is not allowed" in outcome.detail
    assert desk.agent_calls == []
    assert desk.webhook.attempts == 0
    missed = desk.missed()
    assert missed is not None
    assert missed.envelope == message.to_wire()
    shown = outcome.detail + missed.detail + "".join(str(vars(r)) for r in caplog.records)
    assert SESSION not in shown


def test_a_message_without_a_webhook_is_answered_for_the_operator(desk):
    outcome = desk.answer(desk.worker(), envelope(session_webhook=None, deadline=None))

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.NO_ROUTE)
    missed = desk.missed()
    assert missed is not None
    assert json.loads(missed.answer or "")["content"] == "an answer"


def test_an_envelope_of_a_later_release_is_kept_whole(desk):
    data = envelope().to_wire() | {"version": 99, "new_field": {"a": 1}}

    outcome = desk.work(desk.worker(), data)

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.UNSUPPORTED_VERSION)
    assert outcome.detail == "envelope version 99 is newer than 1: deploy workers first"
    missed = desk.missed()
    assert missed is not None
    assert missed.envelope == data


@pytest.mark.parametrize(
    "data",
    [{"message_id": "msg1", "text": SECRET_WORDS}, {}, [SECRET_WORDS], SECRET_WORDS, 7],
    ids=["fields missing", "empty", "a list", "a text", "a number"],
)
def test_what_is_no_envelope_is_kept_and_quoted_nowhere(desk, caplog, data):
    caplog.set_level(logging.DEBUG)

    outcome = desk.work(desk.worker(), data)

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.UNSUPPORTED_VERSION)
    missed = desk.missed()
    assert missed is not None
    assert str(data).strip("{}[]'") in str(missed.envelope)
    shown = outcome.detail + missed.detail + "".join(str(vars(r)) for r in caplog.records)
    assert "salary" not in shown


def test_a_kept_answer_this_release_cannot_read_ends_instead_of_coming_back_for_ever(desk):
    claim = desk.store.claim(TASK, owner="newer", lease_s=1, envelope=envelope().to_wire())
    assert isinstance(claim, Claimed)
    desk.store.keep_answer(claim.lease, '{"kind": "hologram"}')
    desk.clock.advance(1)

    outcome = desk.work(desk.worker(), None)

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.UNSUPPORTED_VERSION)
    missed = desk.missed()
    assert missed is not None
    assert missed.answer == '{"kind": "hologram"}'
    assert desk.agent_calls == []


# A process that stops.


def test_an_agent_cancelled_by_the_end_of_the_process_has_not_failed(desk):
    """Even when its lease could not be given back, it runs out, and another worker takes over."""
    started = threading.Event()

    async def waiting(_message):
        started.set()
        await asyncio.Event().wait()

    worker = desk.worker(waiting)
    future = desk.start(worker)
    wait_for(started.is_set, what="the agent to start")
    worker._bots.cancel_all()
    outcome = future.result(60)

    assert (outcome.state, outcome.duplicate) == (None, True)
    assert desk.missed() is None
    assert desk.record()["state"] == "running"


def test_a_message_claimed_while_the_process_stops_goes_straight_back(desk):
    worker = desk.worker()
    worker._heartbeat.release_all()

    outcome = desk.answer(worker)

    assert outcome.state is None
    assert desk.agent_calls == []
    assert [m.task_id for m in desk.due()] == [TASK]


# A store that goes away for a moment.


class ForgetfulStore:
    """A store whose every answer to a final write is lost once, after it was carried out."""

    def __init__(self, store, write):
        self._store, self._write, self._lost = store, write, False

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name != self._write or self._lost:
            return method

        def carried_out_and_lost(*arguments, **options):
            self._lost = True
            method(*arguments, **options)
            raise StoreUnavailableError("connection lost")

        return carried_out_and_lost


@pytest.mark.parametrize(
    ("write", "agent_says", "state"),
    [
        ("finish", "an answer", FinalState.SUCCESS),
        ("miss", RuntimeError(), FinalState.FAILURE),
        ("keep_answer", "an answer", FinalState.SUCCESS),
    ],
)
def test_a_write_whose_answer_was_lost_still_counts(desk, write, agent_says, state):
    real = desk.store
    desk.store = ForgetfulStore(real, write)
    outcome = desk.answer(desk.worker(desk.agent(agent_says)))
    desk.store = real

    assert (outcome.state, outcome.duplicate) == (state, False)
    assert len(desk.agent_calls) == 1


def test_a_stopping_process_does_not_wait_for_its_store(desk):
    class Away:
        def claim(self, *_, **__):
            raise StoreUnavailableError("no connection")

    real, desk.store = desk.store, Away()
    worker = desk.worker()
    desk.store = real
    worker._store.stopping.set()

    with pytest.raises(StoreUnavailableError):
        desk.answer(worker)
    assert desk.agent_calls == []


def test_one_line_tells_how_it_ended(desk, caplog):
    caplog.set_level(logging.INFO)

    desk.answer(desk.worker())

    (line,) = (vars(r) for r in caplog.records if getattr(r, "action", "") == "reply_posted")
    assert line["message_id"] == "msg1"
    assert line["conversation_id"] == "cid1"
    assert line["task_id"] == TASK
    assert line["text_chars"] == len("an answer")
    everything = "".join(str(vars(r)) for r in caplog.records)
    assert "an answer" not in everything
    assert "salary" not in everything
    assert SESSION not in everything
