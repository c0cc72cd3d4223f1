"""What a worker tells Prometheus of all processes together; asked anew at each scrape.

Every worker says the same of the broker, the store and the listeners, so a dashboard takes the
maximum. Broker and store have ``LIMIT_S`` to answer: what they did not say is left out, and
``dingtalk_fleet_scrape_error`` says who it was.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from contract.routing import QUEUES
from contract.turn import Order
from worker.running.presence import are_reports_held_up
from worker.running.queues import Queue
from worker.sending.budget import calls_made
from worker.settings import WorkerSettings
from worker.store import Note, Reason, Store
from worker.telling.backlog import Backlog, Known, ask, estimate
from worker.telling.metrics import PREFIX

__all__ = ["FLEET", "FleetMetrics", "Told", "read_store"]

FLEET = "dingtalk_fleet"
LIMIT_S = 1.5

_T = TypeVar("_T")


@dataclass(frozen=True)
class Told:
    """What the store said."""

    known: Known
    missed: Mapping[str, int]
    listeners: list[Note]
    calls_left: Mapping[str, int] = field(default_factory=dict)  # of API_BUDGET, by client id


def read_store(store: Store, settings: WorkerSettings, now: datetime) -> Told:
    """Ask the store all that is shown of it."""
    reasons = Counter(reply.reason.value for reply in store.missed_briefly())
    left = {
        bot.client_id: max(0, bot.api_budget - calls_made(store, bot.client_id, now))
        for bot in settings.of_bots
        if bot.client_id and bot.api_budget is not None
    }
    return Told(ask(store), reasons, store.remembered("listener"), left)


class _Question(Generic[_T]):
    """Asked in a thread of its own, which may take longer than anybody waits."""

    def __init__(self, ask: Callable[[], _T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Future[_T] | None = None

    def put(self) -> "Future[_T]":
        """Ask, unless an earlier question is still open, and return what will be the answer."""
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer = Future()
                arguments = (self._answer,)
                threading.Thread(
                    target=self._run, args=arguments, name="scrape", daemon=True
                ).start()
            return self._answer

    def _run(self, answer: "Future[_T]") -> None:
        try:
            answer.set_result(self._ask())
        except Exception as error:  # noqa: BLE001, whatever it is, there is no answer
            answer.set_exception(error)


class FleetMetrics(Collector):
    """Gauges that nobody counts, but somebody knows."""

    def __init__(
        self,
        *,
        queues: Callable[[], Mapping[str, Queue]],
        store: Callable[[], Told],
        clock: Callable[[], datetime],
        order: Order,
        slots: int,
        in_flight: Callable[[], int],
        limit_s: float = LIMIT_S,
    ) -> None:
        """Prepare.

        Args:
            queues: Asks the broker; may raise and may take long.
            store: Asks the store; may raise and may take long.
            clock: Returns the time, aware UTC.
            order: Which messages can be worked on at once.
            slots: How many this worker works on at once.
            in_flight: Returns how many it works on now.
            limit_s: What broker and store have together.
        """
        self._queues, self._store = _Question(queues), _Question(store)
        self._clock, self._order = clock, order
        self._slots, self._in_flight = slots, in_flight
        self._limit_s = limit_s

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; called at each scrape."""
        yield _gauge(f"{PREFIX}_in_flight", "Messages this worker works on.", self._in_flight())
        yield _gauge(f"{PREFIX}_slots", "How many it can work on at once.", self._slots)
        end = time.monotonic() + self._limit_s
        asked_queues, asked_store = self._queues.put(), self._store.put()
        queues, told = _until(asked_queues, end), _until(asked_store, end)
        silent = {"broker": queues is None, "store": told is None}
        yield _labelled("scrape_error", "Whether it did not answer.", "source", silent)
        if queues is not None:
            depths = {name: queues[name].depth for name in QUEUES}
            yield _labelled("queue_messages", "Messages in a queue.", "queue", depths)
        if told is not None:
            yield from _of_store(told)
        if queues is not None and told is not None:
            yield from self._backlog(queues, told)

    def _backlog(self, queues: Mapping[str, Queue], told: Told) -> Iterator[Metric]:
        backlog = estimate(
            queues,
            told.known,
            now=self._clock(),
            order=self._order,
            slots_of_a_worker=self._slots,
        )
        for name, (text, value) in _shown(backlog).items():
            if value is not None:
                yield _gauge(f"{FLEET}_{name}", text, value)


def _until(answer: "Future[_T]", end: float) -> _T | None:
    try:
        return answer.result(max(0.0, end - time.monotonic()))
    except Exception:  # noqa: BLE001, the gauge tells
        return None


def _of_store(told: Told) -> Iterator[Metric]:
    missed = {reason.value: told.missed.get(reason.value, 0) for reason in Reason}
    yield _labelled(
        "missed_open", "Missed replies nobody has sent yet, up to 1000.", "reason", missed
    )
    states = Counter(each.state for each in told.known.unfinished)
    unfinished = {state: states[state] for state in ("running", "waiting", "parked")}
    yield _labelled("unfinished", "Messages the store has to see done.", "state", unfinished)
    if told.calls_left:
        text = "API calls of API_BUDGET that a bot may still make this month."
        yield _labelled("api_calls_left", text, "bot", told.calls_left)
    if told.listeners or not are_reports_held_up(told.known.workers):
        yield from _of_listeners(told)


def _of_listeners(told: Told) -> Iterator[Metric]:
    listeners = [note for note in told.listeners if not note.facts.get("stopped")]
    up = sum(_number(note.facts.get("connections_up")) for note in listeners)
    processes = {note.facts.get("listener", note.key) for note in listeners}  # of several bots
    yield _gauge(f"{FLEET}_listeners", "Listeners that reported lately.", len(processes))
    yield _gauge(f"{FLEET}_connections", "Their connections to DingTalk.", up)
    ages = [
        _number(age) + note.age_s
        for note in listeners
        if (age := note.facts.get("last_frame_age_s")) is not None
    ]
    if ages:
        text = "Since DingTalk sent anything to any of them."
        yield _gauge(f"{FLEET}_last_frame_age_seconds", text, min(ages))


def _shown(backlog: Backlog) -> dict[str, tuple[str, float | None]]:
    return {
        "workers": ("Workers that are there.", backlog.workers),
        "slots": ("How many messages they can work on at once.", backlog.slots),
        "backlog_messages": ("Messages that wait for a worker.", backlog.waiting),
        "backlog_oldest_age_seconds": ("How long the first has waited.", backlog.oldest_age_s),
        "backlog_smallest_spare_seconds": (
            "Left until the first deadline among them.",
            backlog.smallest_spare_s,
        ),
        "backlog_work_seconds": ("What they will take altogether.", backlog.work_s),
        "backlog_drain_seconds": ("What they will take these workers.", backlog.drain_s),
        "backlog_workers_needed": ("Workers that finish it in a minute.", backlog.workers_needed),
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{FLEET}_{name}", text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
