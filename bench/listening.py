"""The listener alone: no worker runs, so that nothing but taking in and enqueueing is measured.

Each round starts every contender anew: processor time until it registers, a burst, its memory after
that, then a steady load. Peers (a) and (c) answer before they acknowledge, as they have no queue.
"""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

import redis

from bench.contenders import CELERY, IN_PROCESS, OURS, Contender, contenders
from bench.load import Load, percentile
from bench.place import Place
from bench.rows import Goal, Row
from tests.processes import ROOT

__all__ = ["WAITING", "run"]

# The goals are those on Redis; on the others fewer frames show as much.
BURSTS = {"redis": 5000, "rabbitmq": 2000, "embedded": 2000}
PER_S, STEADY = 200, 400
CONVERSATIONS = 500
PRODUCER = "bare producer"
BATCH = 200

# A row that docs/scaling.md is reckoned from (bench/scaling.py).
WAITING = "bytes of a message that waits on the broker"

_Figures = dict[str, dict[str, list[float]]]


def run(place: Place) -> Iterator[Row]:
    """Measure on each broker."""
    for broker in ("redis", "rabbitmq", "embedded"):
        yield from _on(place, broker)


def _on(place: Place, broker: str) -> Iterator[Row]:
    found: _Figures = defaultdict(lambda: defaultdict(list))
    with place.load() as load:
        all_of_them = contenders(place, load, broker)
        for _ in range(place.rounds):
            for contender in all_of_them:
                _measure(place, load, contender, broker, found)
            if broker != "embedded":
                found["frames"][PRODUCER].append(_producer(place.broker(broker), BURSTS[broker]))
    yield from _rows(broker, found)


def _measure(place: Place, load: Load, contender: Contender, broker: str, found: _Figures) -> None:
    count = BURSTS[broker]

    def note(what: str, figure: float) -> None:
        found[what][contender.name].append(figure)

    load.hold_registrations(is_held=True)
    with contender.listening(place) as process:
        load.until_registering()
        note("start", process.cpu_s())
        load.hold_registrations(is_held=False)
        load.until_connected(contender.bot)
        note("connected", process.rss_mb())
        held = _used_bytes(place)
        burst = load.give(
            contender.bot, count, conversations=CONVERSATIONS, wants_replies=False, limit_s=180
        )
        note("frames", count / burst.took_s)
        note("memory", process.rss_mb())
        if contender.name not in (OURS, CELERY):
            return
        if broker == "redis":
            note("waiting", (_used_bytes(place) - held) / count)
        steady = load.give(
            contender.bot, STEADY, conversations=CONVERSATIONS, per_s=PER_S, wants_replies=False
        )
        note("p50", percentile(steady.acks_s, 50) * 1000)
        note("p99", percentile(steady.acks_s, 99) * 1000)


def _used_bytes(place: Place) -> int:
    with redis.Redis.from_url(place.broker("redis")) as client:
        return int(client.info("memory")["used_memory"])


def _producer(url: str, count: int) -> float:
    command = [sys.executable, "-m", "bench.peers.kombu_producer", url, str(count), str(BATCH)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _rows(broker: str, found: _Figures) -> Iterator[Row]:
    def row(what: str, unit: str, figures: str, goal: Goal | None, note: str = "") -> Row:
        its = found[figures]
        peers = {name: values for name, values in its.items() if name != OURS}
        return Row.of(what, broker, unit, its[OURS], peers, goal=goal, note=note)

    count = BURSTS[broker]
    burst = f"listener: burst of {count} frames, first push to last ack"
    yield row(burst, "frames/s", "frames", Goal(">=", 2.5, CELERY))
    if broker != "embedded":
        yield row(
            f"{burst}, to the practical limit", "frames/s", "frames", Goal(">=", 0.8, PRODUCER)
        )
    steady = f"listener: {PER_S} messages/s, push to ack"
    yield row(f"{steady}, p50", "ms", "p50", Goal("<=", 0.8, CELERY))
    yield row(f"{steady}, p99", "ms", "p99", Goal("<=", 1.0, CELERY))
    memory = f"listener: resident memory after {count} messages"
    yield row(memory, "MB", "memory", Goal("<=", 0.75, CELERY))
    if broker == "redis":
        yield row(f"{memory}, to an SDK bot", "MB", "memory", Goal("<=", 1.0, IN_PROCESS))
        yield row("listener: resident memory, connected", "MB", "connected", None)
        yield row(WAITING, "bytes", "waiting", None)
    yield row(
        "listener: start to first registration, processor time", "s", "start", Goal("<=", 0.5)
    )
