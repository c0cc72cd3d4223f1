"""A worker says that it is there: what the doctor, ``backlog`` and the metrics know of workers.

Kept by the store as a note of kind ``worker`` under the node's name, anew at each of the rounds of
``worker/running/process.py``; a worker that dies is forgotten ``TTL_S`` later. No secret is in it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from contract.broker import Broker
from contract.routing import EVENTS
from worker.settings import WorkerSettings
from worker.store import Note, Store

__all__ = ["KIND", "THREADS", "Presence", "agents_of", "are_reports_held_up", "facts_of"]

KIND = "worker"
THREADS = 64  # slots of a worker whose pool is threads, unless WORKER_CONCURRENCY says another
TTL_S = 40.0
_GONE_S = 0.001


class Presence:
    """Says it, and takes it back."""

    def __init__(
        self, store: Store, node: str, facts: dict[str, Any], *, in_flight: Callable[[], int]
    ) -> None:
        """Prepare; ``in_flight`` returns how many messages are being worked on."""
        self._store, self._node, self._facts = store, node, facts
        self._in_flight = in_flight

    def say_that_we_are_here(self) -> None:
        """Say it, for the next ``TTL_S``."""
        facts = self._facts | {"in_flight": self._in_flight()}
        self._store.remember(KIND, self._node, facts, ttl_s=TTL_S)

    def take_back(self) -> None:
        """Be forgotten, now."""
        self._store.remember(KIND, self._node, self._facts, ttl_s=_GONE_S)


def facts_of(
    settings: WorkerSettings,
    *,
    node: str,
    pid: int,
    release: str,
    pool: str,
    concurrency: int,
    queues: list[str],
    started_at: datetime,
) -> dict[str, Any]:
    """Return what a worker says of itself, as plain JSON."""
    broker = Broker.from_url(settings.broker_url, settings.data_dir)
    return {
        "node": node,
        "pid": pid,
        "release": release,
        "pool": pool,
        "concurrency": concurrency,
        "queues": queues,
        "agent": settings.agent,
        "dingtalk_bots": agents_of(settings),
        "card_action_handler": settings.card_action_handler,
        "event_handler": settings.event_handler,
        "agent_timeout_s": settings.agent_timeout_s,
        "lease_s": settings.lease_s,
        "late_policy": settings.late_policy,
        "order": settings.order.value,
        "shutdown_grace_s": settings.shutdown_grace_s,
        "broker": broker.name,
        "store": urlsplit(settings.store_address).scheme.partition("+")[0],
        "metrics_port": settings.metrics_port,
        "alerts": settings.alert_webhook is not None,
        "sealed": settings.envelope_key is not None,
        "key": settings.sealer.fingerprint,
        "started_at": started_at.isoformat(timespec="seconds"),
    }


def agents_of(settings: WorkerSettings) -> dict[str, str]:
    """Return which agent answers for which of several bots; nothing for one alone."""
    return {bot.client_id or "": bot.agent for name, bot in settings.named_bots if name}


def are_reports_held_up(workers: Sequence[Note]) -> bool:
    """Whether all workers that would take listeners' reports have no slot left for one."""
    takers = [note.facts for note in workers if EVENTS in note.facts.get("queues", (EVENTS,))]
    return bool(takers) and all(
        facts.get("in_flight", 0) >= facts.get("concurrency", 1) for facts in takers
    )
