"""From the frame to the reply, with everything on: claims, order, kept answers, late replies.

All contenders stay connected for the whole run and take turns; one that has nothing to do costs
next to nothing. Ours has two workers, peer (b) one with two children.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

from bench.contenders import CELERY, OURS, Contender, contenders
from bench.load import Load, percentile
from bench.place import Place
from bench.rows import Goal, Row

__all__ = ["run"]

PER_S, STEADY = 50, 200
BURST, CONVERSATIONS = 2000, 500
WORKERS = 2

_Figures = dict[str, dict[str, list[float]]]


def run(place: Place) -> Iterator[Row]:
    """Measure on each broker."""
    for broker in ("redis", "rabbitmq", "embedded"):
        found: _Figures = defaultdict(lambda: defaultdict(list))
        with place.load() as load, ExitStack() as running:
            all_of_them = contenders(place, load, broker)
            for contender in all_of_them:
                running.enter_context(contender.working(place, workers=WORKERS))
                running.enter_context(contender.listening(place))
                load.until_connected(contender.bot)
                # Whatever is set up by the first messages.
                load.give(contender.bot, 50, conversations=50, wants_replies=True)
            for _ in range(place.rounds):
                for contender in all_of_them:
                    _measure(load, contender, found)
        yield from _rows(broker, found)


def _measure(load: Load, contender: Contender, found: _Figures) -> None:
    steady = load.give(contender.bot, STEADY, conversations=STEADY, per_s=PER_S, wants_replies=True)
    found["p50"][contender.name].append(percentile(steady.replies_s, 50) * 1000)
    found["p99"][contender.name].append(percentile(steady.replies_s, 99) * 1000)
    burst = load.give(contender.bot, BURST, conversations=CONVERSATIONS, wants_replies=True)
    found["replies"][contender.name].append(BURST / burst.replied_in_s)


def _rows(broker: str, found: _Figures) -> Iterator[Row]:
    def row(what: str, unit: str, figures: str, goal: Goal) -> Row:
        peers = {name: values for name, values in found[figures].items() if name != OURS}
        return Row.of(what, broker, unit, found[figures][OURS], peers, goal=goal)

    steady = f"{PER_S} messages/s, echo, frame to reply"
    yield row(f"{steady}, p50", "ms", "p50", Goal("<=", 1.0, CELERY))
    yield row(f"{steady}, p99", "ms", "p99", Goal("<=", 1.0, CELERY))
    burst = f"burst of {BURST} messages in {CONVERSATIONS} conversations, {WORKERS} workers"
    yield row(burst, "replies/s", "replies", Goal(">=", 1.5, CELERY))
