"""``celery -A worker backlog``: how much work waits, and how many workers it takes.

Registered as a Celery sub-command in ``pyproject.toml``; autoscalers read its JSON. Exit 0; 1 when
the broker or the store cannot be reached; 2 for settings and options.
"""

import json
import os
from collections.abc import Mapping

import click

from contract.broker import Broker
from worker.commands.opening import AS_JSON, fail, opened, read_settings
from worker.running.presence import THREADS
from worker.running.queues import BrokerAwayError, Queue, read_queues
from worker.settings import WorkerSettings
from worker.telling.backlog import WITHIN_S, Backlog, ask, estimate
from worker.wiring import clock

__all__ = ["backlog"]


@click.command("backlog")
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=1, max=86_400),
    metavar="S",
    default=WITHIN_S,
    show_default=True,
    help="Seconds in which what waits shall be done.",
)
@AS_JSON
def backlog(within_s: float, as_json: bool) -> None:
    """What waits for workers, how urgent it is, and how many workers it needs."""
    settings = read_settings()
    queues = _queues(settings)
    with opened(settings) as store:
        known = ask(store)
    found = estimate(
        queues,
        known,
        now=clock(),
        within_s=within_s,
        order=settings.order,
        slots_of_a_worker=_slots(settings),
    )
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return
    for name, words in _lines(found).items():
        click.echo(f"{name:16}{words}")


def _queues(settings: WorkerSettings) -> Mapping[str, Queue]:
    try:
        return read_queues(Broker.from_url(settings.broker_url, settings.data_dir))
    except BrokerAwayError as error:
        fail(f"cannot read the broker: {error}")


def _slots(settings: WorkerSettings) -> int:
    """Return how many messages a worker with our settings works on at once."""
    default = THREADS if settings.worker_pool == "threads" else os.cpu_count() or 1
    return settings.worker_concurrency or default


def _lines(found: Backlog) -> dict[str, str]:
    depths = ", ".join(f"{name} {depth}" for name, depth in found.queues.items())
    source = f" (by the {found.oldest_age_from})" if found.oldest_age_from else ""
    none = "unknown" if found.waiting else "none"
    pace = f"{found.finished} finished in the last {found.over_s / 60:g} min"
    if found.seconds_per_message is not None:
        pace += f", {found.seconds_per_message:.1f} s each"
    return {
        "waiting": f"{found.waiting}, of which {found.parked} for their turn ({depths})",
        "running": str(found.running),
        "oldest": _seconds(found.oldest_age_s, none) + source,
        "first deadline": _seconds(found.smallest_spare_s, none, before="in "),
        "pace": pace,
        "work": f"{_seconds(found.work_s)}; {_seconds(found.drain_s)} for these workers",
        "workers": f"{found.workers}, {found.slots} slots",
        "workers needed": found.why or f"{found.workers_needed}, within {found.within_s:g} s",
    }


def _seconds(value: float | None, none: str = "unknown", *, before: str = "") -> str:
    return none if value is None else f"{before}{value:.1f} s"
