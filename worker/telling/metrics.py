"""What a worker process counts for Prometheus, all of it from how the work on a message ended.

``worker/answering.py`` calls :func:`observe` where it logs an outcome, ``worker/wiring.py`` calls
:func:`thread_lost`. Without ``METRICS_PORT`` nobody calls :func:`switch_on`, and both do nothing.

The library keeps its numbers in files that the processes of one worker share
(``worker/telling/metrics_server.py``), so that prefork children count as well.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.pushes import PUSHES
from dingwire.verdicts import Verdict, classify
from worker.outcome import LEASE_LOST, FinalState, Outcome
from worker.store.base import Reason

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PREFIX", "VARIABLE", "Instruments", "observe", "pushed", "switch_on", "thread_lost"]

logger = logging.getLogger(__name__)

PREFIX = "dingtalk_worker"
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library's

_MISSED = frozenset({FinalState.FLAGGED, FinalState.DROPPED, FinalState.FAILURE})
_SENT = frozenset({FinalState.SUCCESS, FinalState.RESCUED})
_ROUTES = ("webhook", "proactive", "card")
_PUSHED = ("success", "unhandled", "failure", "retried", "duplicate")

_MOMENTS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_POST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)
# A session webhook lives for 90 minutes. Up to 0 it was too late.
_SPARE_S = (-600, -60, -10, 0, 2, 5, 10, 30, 60, 300, 900, 1800, 3600, 5400)


class Instruments:
    """The counters and histograms; every label has few values, and those are there from the start.

    Else a rate would not see the first of a kind.
    """

    def __init__(self, registry: "CollectorRegistry | None") -> None:
        """Make them; ``registry`` is None when they are read from the shared files."""
        from prometheus_client import Counter, Histogram

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Any:
            return Histogram(f"{PREFIX}_{name}_seconds", text, buckets=buckets, registry=registry)

        self._messages = counter("messages", "Messages finished, by how.", "state", "reason")
        self._missed = counter("missed", "Replies that missed their webhook.", "reason")
        self._sends = counter("sends", "Messages sent, by route: calls DingTalk bills.", "route")
        self._retries = counter("retries", "Deliveries put off, by what DingTalk said.", "cause")
        self._pushes = counter("pushes", "Card buttons and events, by how.", "task", "state")
        self._duplicates = counter("duplicates", "Copies of messages that were dropped.")
        self._parked = counter("parked", "Messages that had to wait for their turn.")
        self._leases_lost = counter("leases_lost", "Messages another worker took over from us.")
        self._threads_lost = counter("threads_lost", "Threads lost to agents that never return.")
        self._calls = counter("model_calls", "Calls of language models.", "model", "tokens")
        self._tokens = counter(
            "model_tokens", "Tokens that language models used.", "model", "direction"
        )
        self._queued = histogram("queue_age", "From the listener to a worker.", _WAITS_S)
        self._handler = histogram("handler", "What a handler took.", _MOMENTS_S)
        self._agent = histogram("agent", "What an agent took.", _MOMENTS_S)
        self._post = histogram("post", "What a post to DingTalk took.", _POST_S)
        self._reply = histogram("reply", "From the listener to the reply in the chat.", _WAITS_S)
        self._spare = histogram("spare", "Left of the webhook's life when a reply went.", _SPARE_S)
        for task in PUSHES:
            for state in _PUSHED:
                self._pushes.labels(task, state)
        for reason in Reason:
            self._missed.labels(reason.value)
        for route in _ROUTES:
            self._sends.labels(route)
        for cause in ("throttled", "paced", "busy", "unreachable", "proactive", "other"):
            self._retries.labels(cause)

    def observe(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if outcome.duplicate:
            is_lost = outcome.detail == LEASE_LOST
            (self._leases_lost if is_lost else self._duplicates).inc()
        elif outcome.parked:
            self._parked.inc()
        else:
            self._worked_on(outcome)

    def _worked_on(self, outcome: Outcome) -> None:
        facts = outcome.facts
        _add(self._queued, facts.get("queued_s"))
        _add(self._agent, facts.get("agent_s"))
        _add(self._post, facts.get("post_s"))
        for usage in facts.get("usage") or ():
            self._used(usage)
        if outcome.state is None:
            self._retries.labels(_cause(outcome)).inc()
            return
        how = outcome.reason or facts.get("outcome") or "none"
        self._messages.labels(outcome.state.value, str(how)).inc()
        if outcome.state in _MISSED and outcome.reason is not None:
            self._missed.labels(outcome.reason.value).inc()
        if outcome.state in _SENT and facts.get("route"):
            self._count_sends(facts)
            _add(self._reply, facts.get("age_s"))
        _add(self._spare, facts.get("spare_s"))

    def _used(self, usage: Mapping[str, Any]) -> None:
        model, tokens = usage["model"], (usage["input_tokens"], usage["output_tokens"])
        is_told = None not in tokens
        self._calls.labels(model, "told" if is_told else "untold").inc(usage["calls"])
        for direction, count in zip(("input", "output"), tokens, strict=True):
            if count is not None:
                self._tokens.labels(model, direction).inc(count)

    def _count_sends(self, facts: Mapping[str, Any]) -> None:
        parts = facts.get("parts") or 1
        if facts["route"] in _ROUTES:
            self._sends.labels(facts["route"]).inc(parts)
            return
        by_api = facts.get("proactive_parts", 0)
        self._sends.labels("proactive").inc(by_api)
        self._sends.labels("webhook").inc(parts - by_api)

    def pushed(self, task: str, outcome: Outcome) -> None:
        """Count how the work on a card button or an event ended."""
        state = "duplicate" if outcome.duplicate else outcome.state or "retried"
        is_unhandled = outcome.facts.get("outcome") == "no handler"
        self._pushes.labels(task, "unhandled" if is_unhandled else str(state).lower()).inc()
        _add(self._handler, outcome.facts.get("handler_s"))

    def thread_lost(self) -> None:
        """Count a thread that an agent keeps for ever."""
        self._threads_lost.inc()


def _add(histogram: Any, value: object) -> None:
    if isinstance(value, int | float):
        histogram.observe(value)


def _cause(outcome: Outcome) -> str:
    """Return why a delivery was put off, in one of few words."""
    if outcome.is_paced:
        return "paced"
    if outcome.reason is not None:  # only a rescue that is put off has one
        return "proactive"
    if outcome.errcode is None:
        return "unreachable" if "attempts" in outcome.facts else "other"  # nothing was tried
    verdict = classify(outcome.errcode)
    return {Verdict.THROTTLED: "throttled", Verdict.RETRY: "busy"}.get(verdict, "other")


_instruments: Instruments | None = None


def switch_on(folder: Path) -> None:
    """Count from now on, in files of ``folder``; before the pool forks.

    Celery has imported the library by now, with Flower, so its variable alone comes too late.
    """
    global _instruments
    os.environ[VARIABLE] = str(folder)
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    _instruments = Instruments(None)


def observe(outcome: Outcome) -> None:
    """Count how the work on a message ended, if anything is counted here; never raises."""
    if _instruments is None:
        return
    try:
        _instruments.observe(outcome)
    except Exception as error:  # noqa: BLE001, a number less is no reason to lose a reply
        logger.warning("cannot count an outcome: %s", type(error).__name__)


def pushed(task: str, outcome: Outcome) -> None:
    """Count how the work on a push ended, if anything is counted here; never raises."""
    if _instruments is None:
        return
    try:
        _instruments.pushed(task, outcome)
    except Exception as error:  # noqa: BLE001, a number less is no reason to lose a push
        logger.warning("cannot count an outcome: %s", type(error).__name__)


def thread_lost() -> None:
    """Count a thread that an agent keeps for ever, if anything is counted here."""
    if _instruments is not None:
        _instruments.thread_lost()
