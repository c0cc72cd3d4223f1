"""Reckons what a bot needs as it grows, from what ``make bench`` measured.

``python -m bench.scaling`` reads ``bench/results.json`` and writes what stands between the markers
of docs/scaling.md; ``make bench`` calls it at its end.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from bench.answering import COSTS
from bench.listening import WAITING
from bench.pages import RESULTS, write_between
from bench.rush import Rush, play
from bench.store_growth import FINISHED
from tests.processes import ROOT

__all__ = ["main", "reckon"]

PAGE = ROOT / "docs" / "scaling.md"
RATES = (1, 10, 100, 1000, 10_000)
BUSY = 0.7  # of a core; above it, what waits grows quickly
AGENT_S, SLOTS = 10, 500  # a language model's answer; WORKER_CONCURRENCY for an async agent
RUSHES = (
    Rush(quiet_per_s=1, busy_per_s=10, busy_s=600, agent_s=AGENT_S, slots=50),
    Rush(quiet_per_s=5, busy_per_s=100, busy_s=600, agent_s=AGENT_S, slots=SLOTS),
    Rush(quiet_per_s=5, busy_per_s=100, busy_s=600, agent_s=AGENT_S, slots=8),
)


@dataclass(frozen=True)
class Costs:
    """What one message costs: processor time in ms, memory in bytes."""

    listener_ms: float
    workers_ms: float
    redis_ms: float
    waiting_bytes: float  # on Redis, until a worker takes it
    finished_bytes: Mapping[str, float]  # in each store, for a day

    @classmethod
    def measured(cls, rows: list[dict[str, Any]]) -> Self:
        """Read those on Redis, and what each store keeps."""
        on_redis = {row["what"]: row["ours"] for row in rows if row["broker"] == "redis"}
        stored = {row["broker"]: row["ours"] for row in rows if row["what"] == FINISHED}
        listener, workers, itself = (
            on_redis[f"{COSTS}: {whose}"] for whose in ("listener", "workers", "redis")
        )
        return cls(listener, workers, itself, on_redis[WAITING], stored)


def reckon(rows: list[dict[str, Any]]) -> str:
    """Return the measured part of the page, from the rows of the results."""
    costs = Costs.measured(rows)
    tables = (_carries(costs), _needs(costs), _a_million(costs), _rushes())
    return "\n\n".join("\n".join(table) for table in tables)


def _carries(costs: Costs) -> Iterator[str]:
    yield f"| one … | ms of processor time a message | messages/s at {BUSY:.0%} of a core |"
    yield "|---|---|---|"
    for name, each_ms in _parts(costs):
        yield f"| {name} | {each_ms:.2f} | {BUSY * 1000 / each_ms:,.0f} |"


def _parts(costs: Costs) -> tuple[tuple[str, float], ...]:
    return (
        ("listener", costs.listener_ms),
        ("worker process", costs.workers_ms),
        ("Redis, as broker and store", costs.redis_ms),
    )


def _needs(costs: Costs) -> Iterator[str]:
    yield (
        "| messages/s | listeners | workers, by processor | "
        f"workers, by slots ({AGENT_S} s agent, {SLOTS} slots) | cores of Redis |"
    )
    yield "|---|---|---|---|---|"
    for per_s in RATES:
        listeners, workers, redis = (per_s * each_ms / 1000 for _, each_ms in _parts(costs))
        yield (
            f"| {per_s:,} | {math.ceil(listeners / BUSY)} | {math.ceil(workers / BUSY)} | "
            f"{math.ceil(per_s * AGENT_S / SLOTS)} | {redis:.2g} |"
        )


def _a_million(costs: Costs) -> Iterator[str]:
    yield "| a million messages | |"
    yield "|---|---|"
    for name, each_ms in _parts(costs):
        yield f"| processor time: {name} | {each_ms * 1000 / 3600:.2g} h |"
    yield f"| memory of Redis while they wait | {costs.waiting_bytes * 1e6 / 2**30:.1f} GiB |"
    for store, each in costs.finished_bytes.items():
        yield f"| {store} as the store, for the day it knows them | {each * 1e6 / 2**30:.1f} GiB |"


def _rushes() -> Iterator[str]:
    yield (
        "| rush of 10 min | agent, slots of a worker | workers before → at most | longest wait | "
        "caught up after |"
    )
    yield "|---|---|---|---|---|"
    for rush in RUSHES:
        story = play(rush)
        yield (
            f"| {rush.quiet_per_s:g} → {rush.busy_per_s:g} messages/s | "
            f"{rush.agent_s} s, {rush.slots} | {story.workers_before} → {story.most_workers} | "
            f"{story.longest_wait_s} s | {story.caught_up_after_s} s |"
        )


def main() -> int:
    """Reckon, print and write."""
    text = reckon(json.loads(RESULTS.read_text(encoding="utf-8"))["rows"])
    write_between(PAGE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
