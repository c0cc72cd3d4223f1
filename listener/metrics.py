"""What Prometheus reads of the listener; made anew at each scrape by ``health_server.py``.

The numbers are those of :class:`~listener.vitals.Vitals`: nothing is counted here, so that a
listener without ``HEALTH_PORT`` needs none of this.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from listener.health import problems
from listener.tally import MESSAGE_ACTIONS, PUSH_ACTIONS, Histogram
from listener.vitals import Vitals

__all__ = ["registry_of"]

PREFIX = "dingtalk_listener"


# Of the process, whose bots have them in common.
SHARED = frozenset(
    f"{PREFIX}_{name}"
    for name in (
        *("build", "spool_dropped", "broker_up", "waiting_messages", "spool_messages"),
        *("spool_bytes", "spool_limit_bytes", "event_loop_lag_seconds"),
    )
)


def registry_of(bots: Sequence[Vitals]) -> CollectorRegistry:
    """Return a registry with the metrics of this listener and of its process.

    With several bots, what is a bot's own has the label ``bot``.
    """
    registry = CollectorRegistry()
    registry.register(_Listener(bots[0]) if len(bots) == 1 else _Listeners(bots))
    ProcessCollector(registry=registry)
    return registry


class _Listeners(Collector):
    def __init__(self, bots: Sequence[Vitals]) -> None:
        self._each = [(vitals.bot, _Listener(vitals)) for vitals in bots]

    def collect(self) -> Iterator[Metric]:
        names = [bot for bot, _ in self._each]
        for families in zip(*(listener.collect() for _, listener in self._each), strict=True):
            if families[0].name not in SHARED:
                families[0].samples = [
                    sample._replace(labels={"bot": bot, **sample.labels})
                    for bot, family in zip(names, families, strict=True)
                    for sample in family.samples
                ]
            yield families[0]


class _Listener(Collector):
    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            f"{PREFIX}_build", "The release at work.", {"version": self._vitals.release}
        )
        yield from self._counters()
        yield _histogram(
            "ack_seconds", "From a message's frame to its ack.", self._vitals.tally.acks
        )
        for name, (text, value) in self._gauges().items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value)

    def _counters(self) -> Iterator[Metric]:
        tally = self._vitals.tally
        messages = {word: tally.messages[action] for action, word in MESSAGE_ACTIONS.items()}
        yield _counter("frames", "Frames from DingTalk.", "type", tally.frames)
        yield _counter("messages", "Chat messages by what happened.", "action", messages)
        yield _pushes(tally.pushes)
        yield _counter(
            "denied", "What was not let in: messages, card buttons.", "reason", tally.denials
        )
        yield _counter(
            "reconnects", "Connections replaced, and failed attempts.", "reason", tally.reconnects
        )
        for name, text, value in (
            ("quota_used_up", "Messages without text.", tally.messages["quota_used_up"]),
            ("spool_dropped", "Messages that did not fit the spool.", self._vitals.spool.dropped),
        ):
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, value)

    def _gauges(self) -> dict[str, tuple[str, float]]:
        vitals = self._vitals
        enqueuer, spool = vitals.enqueuer, vitals.spool
        return {
            "healthy": ("Whether /healthz is 200.", not problems(vitals)),
            "connections_up": ("Connections that DingTalk is heard on.", vitals.connections_up),
            "connections_wanted": ("CONNECTIONS.", vitals.connections_wanted),
            "last_frame_age_seconds": (
                "Since the last frame; since the start when none has come.",
                vitals.quiet_s,
            ),
            "broker_up": ("Whether the broker took the last it was given.", enqueuer.is_broker_up),
            "waiting_messages": ("Messages in memory, unacknowledged.", enqueuer.waiting),
            "spool_messages": ("Messages on the disk.", spool.backlog),
            "spool_bytes": ("Bytes of the spool in use.", spool.size),
            "spool_limit_bytes": ("SPOOL_MAX_MB, in bytes.", spool.max_bytes),
            "event_loop_lag_seconds": (
                "How late the event loop was, at most, in the last minute.",
                vitals.loop_lag_s,
            ),
            "clock_offset_seconds": (
                "DingTalk's clock minus ours, when last measured.",
                vitals.tally.clock_offset_s or 0.0,
            ),
        }


def _counter(name: str, text: str, label: str, values: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value)], count)
    return family


def _pushes(counts: Mapping[tuple[str, str], int]) -> CounterMetricFamily:
    text = "Card buttons and events by what happened."
    family = CounterMetricFamily(f"{PREFIX}_pushes", text, labels=["kind", "action"])
    for (kind, action), word in PUSH_ACTIONS.items():
        family.add_metric([kind, word], counts[kind, action])
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(list(histogram.counts)), strict=True))
    return HistogramMetricFamily(f"{PREFIX}_{name}", text, buckets, histogram.sum)
