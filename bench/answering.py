"""From the frame to the reply, with everything on: claims, order, kept answers, late replies.

All contenders stay connected for the whole run and take turns; one that has nothing to do costs
next to nothing. Ours has two workers, peer (b) one with two children.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.contenders import CELERY, OURS, Contender, contenders
from bench.load import Load, percentile
from bench.place import Place, Running
from bench.rows import Goal, Row

__all__ = ["COSTS", "run"]

PER_S, STEADY = 50, 150
# The goals are those on Redis; on the others fewer show as much.
BURSTS = {"redis": 2000, "rabbitmq": 1000, "embedded": 500}
CONVERSATIONS = 500
WORKERS = 2

# Rows that docs/scaling.md is reckoned from (bench/scaling.py).
COSTS = "processor time of a message"

_Figures = dict[str, dict[str, list[float]]]


def run(place: Place) -> Iterator[Row]:
    """Measure on each broker."""
    for broker in ("redis", "rabbitmq", "embedded"):
        found: _Figures = defaultdict(lambda: defaultdict(list))
        with place.load() as load, ExitStack() as running:
            all_of_them = contenders(place, load, broker)
            processes = dict[str, list[Running]]()
            for contender in all_of_them:
                workers = running.enter_context(contender.working(place, workers=WORKERS))
                listener = running.enter_context(contender.listening(place))
                processes[contender.name] = [listener, *workers]
                load.until_connected(contender.bot)
                # Whatever is set up by the first messages.
                load.give(contender.bot, 50, conversations=50, wants_replies=True)
            for _ in range(place.rounds):
                for contender in all_of_them:
                    if contender.name in (OURS, CELERY):
                        _steady(load, contender, found)
                    with _counted(place, broker, contender, processes[contender.name], found):
                        _burst(load, contender, broker, found)
        yield from _rows(broker, found)


def _steady(load: Load, contender: Contender, found: _Figures) -> None:
    steady = load.give(contender.bot, STEADY, conversations=STEADY, per_s=PER_S, wants_replies=True)
    found["p50"][contender.name].append(percentile(steady.replies_s, 50) * 1000)
    found["p99"][contender.name].append(percentile(steady.replies_s, 99) * 1000)


def _burst(load: Load, contender: Contender, broker: str, found: _Figures) -> None:
    count = BURSTS[broker]
    burst = load.give(contender.bot, count, conversations=CONVERSATIONS, wants_replies=True)
    found["replies"][contender.name].append(count / burst.replied_in_s)


@contextmanager
def _counted(
    place: Place, broker: str, contender: Contender, processes: list[Running], found: _Figures
) -> Iterator[None]:
    """Note what a message of the burst takes of the processor, in ms."""
    servers = [] if broker == "embedded" else sorted({broker, "redis"})

    def spent_s() -> list[float]:
        ours = [processes[0].cpu_s(), sum(each.cpu_s() for each in processes[1:])]
        return [*ours, *map(place.server_cpu_s, servers)]

    before = spent_s()
    yield
    for name, then, now in zip(("listener", "workers", *servers), before, spent_s(), strict=True):
        found[f"cpu of {name}"][contender.name].append((now - then) * 1000 / BURSTS[broker])


def _rows(broker: str, found: _Figures) -> Iterator[Row]:
    def row(what: str, unit: str, figures: str, goal: Goal | None) -> Row:
        peers = {name: values for name, values in found[figures].items() if name != OURS}
        return Row.of(what, broker, unit, found[figures][OURS], peers, goal=goal)

    steady = f"{PER_S} messages/s, echo, frame to reply"
    yield row(f"{steady}, p50", "ms", "p50", Goal("<=", 1.0, CELERY))
    yield row(f"{steady}, p99", "ms", "p99", Goal("<=", 1.0, CELERY))
    burst = f"burst of {BURSTS[broker]} messages, {CONVERSATIONS} conversations, {WORKERS} workers"
    yield row(burst, "replies/s", "replies", Goal(">=", 1.5, CELERY))
    for name in found:
        if name.startswith("cpu of "):
            whose = name.removeprefix("cpu of ")
            yield row(f"{COSTS}: {whose}", "ms", name, None)
