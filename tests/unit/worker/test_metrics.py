"""What a worker counts: everything from the outcome of the work on a message."""

import logging
import math
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from worker.agents import Usage
from worker.agents.usage import summed
from worker.outcome import FinalState, Outcome
from worker.store import Reason
from worker.telling import metrics
from worker.telling.metrics import Instruments


class Counting:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.instruments = Instruments(self._registry)

    def observe(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self.instruments.observe(outcome)

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"dingtalk_worker_{name}", labels)

    def up_to(self, name: str, bound: float) -> float | None:
        le = "+Inf" if math.isinf(bound) else str(float(bound))
        return self.value(f"{name}_seconds_bucket", le=le)


@pytest.fixture
def counting() -> Counting:
    return Counting()


POSTED = Outcome(
    FinalState.SUCCESS,
    facts={
        "outcome": "on_time",
        "attempts": 1,
        "parts": 3,
        "route": "webhook",
        "queued_s": 0.3,
        "agent_s": 4.0,
        "post_s": 0.2,
        "age_s": 8.0,
        "spare_s": 3.5,
    },
)


def test_parts_that_went_both_ways_are_counted_by_each(counting):
    facts = {"parts": 5, "route": "proactive+webhook", "proactive_parts": 2}

    counting.observe(Outcome(FinalState.SUCCESS, facts=facts))

    assert counting.value("sends_total", route="webhook") == 3
    assert counting.value("sends_total", route="proactive") == 2


def test_what_agents_used_of_models_is_counted(counting):
    """What was not told is not counted as nothing."""
    told = Usage("qwen-plus", 500, 60)
    failed = {"usage": summed([told, Usage("other")])}

    counting.observe(Outcome(FinalState.SUCCESS, facts={"usage": summed([told, told])}))
    counting.observe(Outcome(FinalState.FAILURE, Reason.AGENT_FAILED, facts=failed))

    assert counting.value("model_tokens_total", model="qwen-plus", direction="input") == 1500
    assert counting.value("model_tokens_total", model="qwen-plus", direction="output") == 180
    assert counting.value("model_calls_total", model="qwen-plus", tokens="told") == 3
    assert counting.value("model_calls_total", model="other", tokens="untold") == 1
    assert counting.value("model_tokens_total", model="other", direction="input") is None


def test_what_an_agent_tells_that_is_no_count_breaks_nothing():
    odd: Any = "many"
    told = summed([Usage("m", -1, odd, calls=-2), Usage("m", 3, 4)])
    assert told == [{"model": "m", "calls": 1, "input_tokens": None, "output_tokens": None}]


def test_a_posted_reply_is_counted_with_all_that_is_known_of_it(counting):
    counting.observe(POSTED)

    assert counting.value("messages_total", state="SUCCESS", reason="on_time") == 1
    assert counting.value("sends_total", route="webhook") == 3
    for name, below, within in (
        ("queue_age", 0.25, 0.5),
        ("agent", 2.5, 5),
        ("post", 0.1, 0.25),
        ("reply", 5, 10),
        ("spare", 2, 5),
    ):
        assert counting.up_to(name, below) == 0, name
        assert counting.up_to(name, within) == 1, name


def test_a_rescued_reply_is_a_proactive_send_and_no_missed_one(counting):
    facts = {"route": "proactive", "parts": 2, "age_s": 5401.0}
    counting.observe(Outcome(FinalState.RESCUED, Reason.EXPIRED_RUNNING, facts=facts))

    assert counting.value("messages_total", state="RESCUED", reason="expired_running") == 1
    assert counting.value("sends_total", route="proactive") == 2
    assert counting.value("sends_total", route="webhook") == 0
    assert counting.value("missed_total", reason="expired_running") == 0
    assert counting.value("reply_seconds_count") == 1


@pytest.mark.parametrize("state", [FinalState.FLAGGED, FinalState.DROPPED, FinalState.FAILURE])
def test_a_missed_reply_is_counted_by_its_reason_and_not_as_sent(counting, state):
    facts = {"agent_s": 700.0, "age_s": 800.0, "spare_s": -3.0, "parts": 1}
    counting.observe(Outcome(state, Reason.EXPIRED_AT_SEND, 300001, facts=facts))

    assert counting.value("missed_total", reason="expired_at_send") == 1
    assert counting.value("messages_total", state=state.value, reason="expired_at_send") == 1
    assert counting.value("reply_seconds_count") == 0
    assert counting.value("sends_total", route="webhook") == 0
    assert counting.up_to("spare", -10) == 0
    assert counting.up_to("spare", 0) == 1
    assert counting.up_to("agent", 600) == 0
    assert counting.up_to("agent", math.inf) == 1


def test_silence_is_a_success_and_no_reply(counting):
    counting.observe(Outcome(FinalState.SUCCESS, facts={"outcome": "silent", "age_s": 1.0}))

    assert counting.value("messages_total", state="SUCCESS", reason="silent") == 1
    assert counting.value("reply_seconds_count") == 0


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (Outcome(None, errcode=130101, retry_in_s=60), "throttled"),
        (Outcome(None, errcode=-1, retry_in_s=1), "busy"),
        (Outcome(None, errcode=999999, retry_in_s=1), "other"),
        (Outcome(None, retry_in_s=1, facts={"attempts": 2}), "unreachable"),
        (Outcome(None, Reason.EXPIRED_AT_SEND, 300001, retry_in_s=1), "proactive"),
        (Outcome(None, detail="sealed with another key", retry_in_s=5), "other"),
    ],
)
def test_a_retry_is_counted_by_one_of_few_causes(counting, outcome, cause):
    counting.observe(outcome)

    assert counting.value("retries_total", cause=cause) == 1
    assert counting.value("duplicates_total") == 0


def test_what_this_worker_did_not_finish_is_no_finished_message(counting):
    counting.observe(
        Outcome(None, duplicate=True),
        Outcome(FinalState.SUCCESS, duplicate=True),
        Outcome(None, duplicate=True, detail="lease lost"),
        Outcome(None, parked=True),
    )

    assert counting.value("duplicates_total") == 2
    assert counting.value("leases_lost_total") == 1
    assert counting.value("parked_total") == 1
    assert counting.value("messages_total", state="SUCCESS", reason="none") is None


def test_every_reason_route_and_cause_is_there_before_its_first(counting):
    """A rate cannot see the first of a kind that was not there before."""
    assert {counting.value("missed_total", reason=reason.value) for reason in Reason} == {0}
    assert counting.value("sends_total", route="proactive") == 0
    assert counting.value("retries_total", cause="throttled") == 0


def test_without_a_port_nothing_is_counted():
    metrics.observe(POSTED)
    metrics.thread_lost()

    assert metrics._instruments is None


def test_what_cannot_be_counted_hurts_nobody(counting, monkeypatch, caplog):
    monkeypatch.setattr(metrics, "_instruments", counting.instruments)
    facts = {"route": "webhook", "parts": "secret words"}

    with caplog.at_level(logging.WARNING):
        metrics.observe(Outcome(FinalState.SUCCESS, facts=facts))
        metrics.observe(POSTED)

    assert "cannot count an outcome" in caplog.text
    assert "secret words" not in caplog.text
    assert counting.value("sends_total", route="webhook") == 3
