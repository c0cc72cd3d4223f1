"""Feeds a target inputs until their number or the time is used up; used by the command and a test.

An input fails when an exception leaves the target, or when it takes unduly long: a pattern that
backtracks holds up every thread of a process. A run fails when memory grows.
"""

import gc
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from random import Random

import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded

from tests.fuzz.mutator import Mutator
from tests.fuzz.targets import Target

__all__ = ["Failure", "Result", "check", "fuzz"]

SLOW_S = 0.25  # of CPU; what is slow at 8 kB never ends at megabytes
STRUCTURES = 500
WARM_UP = 2_000  # inputs after which caches are filled
GROWTH_MB = 16.0


@dataclass(frozen=True)
class Failure:
    """An input that must not do what it does."""

    raw: bytes
    what: str


@dataclass(frozen=True)
class Result:
    """What a run saw; sizes are resident MB, the first after warming up."""

    inputs: int
    seconds: float
    start_mb: float
    end_mb: float
    slowest_s: float
    failure: Failure | None

    @property
    def has_grown(self) -> bool:
        return self.end_mb - self.start_mb > GROWTH_MB


def check(target: Target, raw: bytes, slow_s: float = SLOW_S) -> tuple[float, Failure | None]:
    """Run one input; return its CPU seconds, and what is wrong."""
    started = time.thread_time()
    try:
        target.run(raw)
    except Exception:  # noqa: BLE001, this is what is looked for
        return time.thread_time() - started, Failure(raw, traceback.format_exc())
    took_s = time.thread_time() - started
    return took_s, Failure(raw, f"took {took_s:.1f} s") if took_s > slow_s else None


def fuzz(
    target: Target, *, seed: str, inputs: int, seconds: float, slow_s: float = SLOW_S
) -> Result:
    """Run up to ``inputs`` inputs, for up to ``seconds``; end at the first failure.

    One that takes more than ``slow_s`` of CPU is a failure; on a machine whose cores are shared,
    and whose collector of garbage may run at any time, it takes a larger one.
    """
    corpus = [*target.corpus(), *_structured(target, seed, min(STRUCTURES, inputs // 4))]
    mutator = Mutator(Random(seed), corpus)
    started = time.monotonic()
    done, slowest_s, failure = 0, 0.0, None
    start_mb = _resident_mb()
    for raw in chain(corpus, _endless(mutator)):
        if done >= inputs or time.monotonic() - started > seconds:
            break
        took_s, failure = check(target, raw, slow_s)
        done, slowest_s = done + 1, max(slowest_s, took_s)
        if failure:
            break
        if done == WARM_UP:
            start_mb = _resident_mb()
    return Result(
        done, time.monotonic() - started, start_mb, _resident_mb(), slowest_s, failure
    )  # fmt: skip


def _endless(mutator: Mutator) -> Iterator[bytes]:
    while True:
        yield mutator.next()


def _structured(target: Target, seed: str, count: int) -> list[bytes]:
    """Return examples of the target's strategy, the same ones for the same seed."""
    examples = list[bytes]()

    @seeded(seed)
    @settings(
        max_examples=max(1, count),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.structures)
    def collect(raw: bytes) -> None:
        examples.append(raw)

    collect()
    return examples


def _resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 2**20)
