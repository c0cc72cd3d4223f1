"""What a bot costs that nobody writes to: listener and worker, the broker a folder of files.

Processor time of both together, over windows of some seconds, once what follows a start is over;
beside them the same on Redis, for comparison.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.place import Place, Running
from bench.rows import Goal, Row

__all__ = ["run"]

SETTLES_S = 6.0
WINDOWS, WINDOW_S = 6, 10.0


def run(place: Place) -> Iterator[Row]:
    """Measure them at the same time, as they do nothing."""
    running = dict[str, tuple[Running, Running]]()
    windows, window_s = (WINDOWS, WINDOW_S) if place.rounds > 1 else (2, WINDOW_S)
    with place.load() as load, ExitStack() as exits:
        for broker in ("embedded", "redis"):
            bot = f"idle-{broker}"
            environment = place.environment(load, place.broker(broker), bot=bot)
            worker = exits.enter_context(place.worker(environment))
            running[broker] = worker, exits.enter_context(place.listener(environment))
            load.until_connected(bot)
        time.sleep(SETTLES_S)
        spent = {broker: [_spent(both)] for broker, both in running.items()}
        for _ in range(windows):
            time.sleep(window_s)
            for broker, both in running.items():
                spent[broker].append(_spent(both))
    for broker, seen in spent.items():
        shares = [_share(then, now, window_s) for then, now in itertools.pairwise(seen)]
        of_worker, of_listener = _share(seen[0], seen[-1], windows * window_s)
        yield Row.of(
            "idle: listener and worker", broker, "% of a core", [sum(each) for each in shares],
            goal=Goal("<=", 2.0) if broker == "embedded" else None,
            note=f"worker {of_worker:.2f}, listener {of_listener:.2f}",
        )  # fmt: skip


def _spent(both: tuple[Running, Running]) -> tuple[float, float]:
    return both[0].cpu_s(), both[1].cpu_s()


def _share(
    then: tuple[float, float], now: tuple[float, float], over_s: float
) -> tuple[float, float]:
    """Return what worker and listener took of a core, in percent."""
    worker, listener = (
        100 * (after - before) / over_s for before, after in zip(then, now, strict=True)
    )
    return worker, listener
