"""How many slow calls one worker process holds at once: ``WORKER_CONCURRENCY`` of them, in threads.

Messages are pushed as fast as the socket takes them, each in a conversation of its own, through the
listener and Redis to one worker. Timed from the first push to the last reply; a worker without any
work of its own would take what one call takes. With the same memory, peer (b) forks as many
children as fit: its processes are counted with what they share counted once.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from bench.contenders import CELERY, contenders
from bench.load import Load
from bench.place import MIB, Place
from bench.rows import Goal, Row

__all__ = ["run"]

CALL_S = 2.0
PEER_WAVES = 2


@dataclass(frozen=True)
class _Kind:
    name: str
    agent: str
    count: int
    within: float  # times what a call takes
    memory_mb: float


_KINDS = (
    _Kind("async", "bench.agents:awaiting", 500, 1.25, 150),
    _Kind("sync", "bench.agents:blocking", 200, 1.2, 130),
)


def run(place: Place) -> Iterator[Row]:
    """Measure async agents, then blocking ones."""
    with place.load() as load:
        rates = list[float]()
        for kind in _KINDS:
            took, memory, cpu_ms = _ours(place, load, kind)
            rates = rates or [kind.count / each for each in took]
            what = f"{kind.count} {kind.name} calls of {CALL_S:g} s in one worker process"
            yield Row.of(
                f"{what}: first push to last reply", "redis", "s", took,
                goal=Goal("<=", kind.within * CALL_S), note=_limit(kind, cpu_ms),
            )  # fmt: skip
            bound = Goal("<=", kind.memory_mb)
            yield Row.of(f"{what}: resident memory", "redis", "MiB", memory, goal=bound)
        children, peer = _peer(place, load)
        yield Row.of(
            f"calls of {CALL_S:g} s that {_KINDS[0].memory_mb:g} MiB hold",
            "redis", "calls/s", rates, {CELERY: peer}, note=f"(b): {children} children",
        )  # fmt: skip


def _limit(kind: _Kind, cpu_ms: list[float]) -> str:
    """Say what keeps it from taking no longer than a call does."""
    each = statistics.median(cpu_ms)
    return (
        f"{each:.1f} ms of processor a message, {each * kind.count / 1000:.1f} s for all, and one "
        "thread at a time runs Python"
    )


def _ours(place: Place, load: Load, kind: _Kind) -> tuple[list[float], list[float], list[float]]:
    """Return of each round the seconds, the MiB after it, and a message's processor time in ms."""
    bot = f"in-flight-{kind.name}"
    environment = place.environment(
        load, place.broker("redis"), bot=bot, AGENT=kind.agent, BENCH_AGENT_S=str(CALL_S),
        WORKER_CONCURRENCY=str(kind.count),
    )  # fmt: skip
    took, memory, cpu_ms = list[float](), list[float](), list[float]()
    with place.worker(environment) as worker, place.listener(environment):
        load.until_connected(bot)
        for _ in range(place.rounds):
            before_s = worker.cpu_s()
            taken = load.give(bot, kind.count, conversations=kind.count, wants_replies=True)
            took.append(taken.replied_in_s)
            memory.append(worker.rss_mb())
            cpu_ms.append((worker.cpu_s() - before_s) * 1000 / kind.count)
    return took, memory, cpu_ms


def _peer(place: Place, load: Load) -> tuple[int, list[float]]:
    """Return how many children of peer (b) fit, and their calls per second in each round."""
    (contender,) = (c for c in contenders(place, load, "redis") if c.name == CELERY)
    environment = {**contender.environment, "PEER_AGENT_S": str(CALL_S)}
    command = contender.worker_line

    def start(children: int) -> str:
        return f"{command} --concurrency {children}"

    with place.running(start(2), **environment) as process:
        process.until_logged(" ready.")
        parent, *children = sorted(process.members(), key=lambda each: each.ppid())
        fit = round((_KINDS[0].memory_mb - _alone_mb(parent)) / max(map(_alone_mb, children)))
    rates = list[float]()
    with place.running(start(fit), **environment) as process, contender.listening(place):
        process.until_logged(" ready.")
        load.until_connected(contender.bot)
        count = fit * PEER_WAVES
        for _ in range(min(2, place.rounds)):
            taken = load.give(contender.bot, count, conversations=count, wants_replies=True)
            rates.append(count / taken.replied_in_s)
    return fit, rates


def _alone_mb(process: psutil.Process) -> float:
    """Return a process's share of the memory: what others have, too, is divided."""
    return float(process.memory_full_info().pss) / MIB
