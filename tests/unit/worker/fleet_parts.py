"""What a fleet would say to a worker's scrape, for the tests of it."""

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Metric

from contract.turn import Order
from worker.running.queues import Queue
from worker.store import Note, Pace, Unfinished
from worker.telling.backlog import Known
from worker.telling.fleet_metrics import FleetMetrics, Told

__all__ = ["QUEUES", "Scrape", "listener", "told"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUES = {
    "messages": Queue(7, ()),
    "turns": Queue(1, ()),
    "replies": Queue(2),
    "events": Queue(0),
    "commands": Queue(0),
}


def told(*listeners: Note) -> Told:
    envelope = {
        "received_at": (NOW - timedelta(seconds=30)).isoformat(),
        "deadline": (NOW + timedelta(seconds=600)).isoformat(),
    }
    unfinished = [Unfinished("a", "running", {}), Unfinished("b", "parked", envelope)]
    workers = [Note("celery@one", {"concurrency": 4}, 1.0)]
    known = Known(unfinished, Pace(10, 50.0, 300.0), workers)
    return Told(known, {"agent_failed": 2}, list(listeners), {"ding1": 4})


def listener(name: str, *, age_s: float = 0.0, **facts: object) -> Note:
    return Note(name, {"connections_up": 1, "last_frame_age_s": 2.0} | facts, age_s)


class Scrape:
    def __init__(self, *, queues=lambda: QUEUES, store=told, limit_s: float = 5.0) -> None:
        self._registry = CollectorRegistry()
        fleet = FleetMetrics(
            queues=queues,
            store=store,
            clock=lambda: NOW,
            order=Order.CONVERSATION,
            slots=4,
            in_flight=lambda: 3,
            limit_s=limit_s,
        )
        self._registry.register(fleet)

    def families(self) -> list[Metric]:
        return list(self._registry.collect())

    def __call__(self) -> dict[tuple[str, ...], float]:
        samples = [sample for family in self.families() for sample in family.samples]
        return {(s.name.removeprefix("dingtalk_"), *s.labels.values()): s.value for s in samples}
