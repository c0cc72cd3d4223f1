"""Do twice as many workers answer twice as much, while the processor has room?

Agents take half a second, eight at once in each worker. What one worker answers in a second, times
the workers, is the line that the others are held against. Counted is between the first wave and the
last, while all slots are taken: a burst's beginning and its end are as long for many as for one.
"""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

import psutil

from bench.place import Place
from bench.rows import Goal, Plot, Row

__all__ = ["run"]

CALL_S, SLOTS, WAVES = 0.5, 8, 5
WORKERS = (1, 2, 4, 8)
BOT = "more-workers"
FULL = 90.0  # percent of the machine's processors


def run(place: Place) -> Iterator[Row | Plot]:
    """Start one after the other, and measure in between."""
    rates, busy = dict[int, list[float]](), dict[int, list[float]]()
    with place.load() as load, ExitStack() as running:
        environment = place.environment(
            load, place.broker("redis"), bot=BOT, AGENT="bench.agents:awaiting",
            BENCH_AGENT_S=str(CALL_S), WORKER_CONCURRENCY=str(SLOTS),
        )  # fmt: skip
        running.enter_context(place.listener(environment))
        load.until_connected(BOT)
        started = 0
        for workers in WORKERS:
            for _ in range(workers - started):
                running.enter_context(place.worker(environment))
            started = workers
            load.give(BOT, workers * SLOTS, conversations=workers * SLOTS, wants_replies=True)
            rates[workers], busy[workers] = [], []
            for _ in range(place.rounds):
                count = workers * SLOTS * WAVES
                psutil.cpu_percent()
                taken = load.give(BOT, count, conversations=count, wants_replies=True)
                busy[workers].append(psutil.cpu_percent())
                rates[workers].append(_steady(taken.replied_at_s, wave=workers * SLOTS))
    for workers in WORKERS:
        line = [rate * workers for rate in rates[1]]
        taken_up = statistics.median(busy[workers])
        is_judged = workers > 1 and taken_up < FULL
        yield Row.of(
            f"agents of {CALL_S:g} s, {SLOTS} slots each, {workers} workers",
            "redis", "replies/s", rates[workers],
            {"line": line} if workers > 1 else {},
            goal=Goal(">=", 0.9, "line") if is_judged else None,
            note=f"the machine's processors were {taken_up:.0f} % busy"
            + ("" if taken_up < FULL else ", which is full: no goal"),
        )  # fmt: skip
    measured = [(float(each), statistics.median(rates[each])) for each in WORKERS]
    yield Plot(
        "workers", f"Agents of {CALL_S:g} s, {SLOTS} slots in each worker", "workers", "replies/s",
        {"ours": measured, "line": [(each, each * measured[0][1]) for each, _ in measured]},
    )  # fmt: skip


def _steady(replied_at_s: list[float], *, wave: int) -> float:
    """Return replies a second, from the end of the first wave to the beginning of the last."""
    between = sorted(replied_at_s)[wave - 1 : -wave]
    return (len(between) - 1) / (between[-1] - between[0])
