"""Are the queues there, and does somebody take from each?

RabbitMQ counts consumers itself. Redis and the embedded broker do not, so the workers' own notes
in the store are read, and the workers are asked when it cannot be read.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqp.exceptions import NotFound

from contract.broker import Broker
from contract.broker_check import connection_to, words_of
from contract.checks import Check
from contract.routing import COMMANDS, QUEUES
from worker.doctor.processes import Notes

__all__ = ["check_queues"]

NAME = "queues"
NOTES_LIMIT_S = 15.0
ASK_S = 2.0


@dataclass(frozen=True)
class _Queue:
    """A queue as the broker knows it; ``consumers`` None where it does not count them."""

    name: str
    exists: bool
    waiting: int = 0
    consumers: int | None = None


def check_queues(broker: Broker, notes: "Future[Notes | None]") -> Check:
    """Return the check ``queues``; nothing is declared.

    Args:
        broker: One that could be connected to a moment ago.
        notes: What the workers say of themselves; None when the store cannot be read.
    """
    try:
        queues = list(_look(broker))
    except Exception as error:  # noqa: BLE001, each transport has errors of its own
        return Check.fail(NAME, *words_of(error, broker))
    if missing := [queue.name for queue in queues if not queue.exists]:
        return Check.fail(
            NAME,
            f"there is no queue {', '.join(missing)}",
            "start a listener or a worker, which make them",
        )
    waiting = sum(queue.waiting for queue in queues)
    if queues[0].consumers is not None:
        unattended = [queue.name for queue in queues if not queue.consumers]
    else:
        try:
            known = notes.result(NOTES_LIMIT_S)
        except TimeoutError:
            return Check.skip(
                NAME,
                f"all {len(queues)} are there, {waiting} waiting; whether a worker takes from them "
                "is not known: the store does not answer",
                "see store",
            )
        try:
            taken = _taken(known)
        except Exception as error:  # noqa: BLE001, as above
            return Check.fail(NAME, *words_of(error, broker))
        unattended = [queue.name for queue in queues if queue.name not in taken]
    if unattended:
        return Check.fail(
            NAME,
            f"nobody takes messages from {', '.join(unattended)} ({waiting} waiting in all)",
            "start a worker: celery -A worker worker"
            + ("" if len(unattended) == len(QUEUES) else f" -Q {','.join(unattended)}"),
        )
    return Check.ok(NAME, f"all {len(queues)} are there and have a worker; {waiting} waiting")


def _look(broker: Broker) -> Iterator[_Queue]:
    if broker.is_embedded:
        folder = Path(broker.transport_options["folder"]) / "queues"
        for name in QUEUES:
            waiting = len(list((folder / name).glob("*.msg")))
            yield _Queue(name, (folder / name).is_dir(), waiting)
        return
    with connection_to(broker) as connection:
        if connection.transport.driver_type == "redis":
            channel: Any = connection.default_channel
            for name in QUEUES:
                # An empty list is no key in Redis; that it was declared is kept elsewhere.
                declared = bool(channel.get_table(name))
                yield _Queue(name, declared, channel.client.llen(name))
            return
        for queue in broker.queues():
            yield _look_at(connection, queue)


def _look_at(connection: Any, queue: Any) -> _Queue:
    # One that is not there costs the channel.
    with connection.channel() as channel:
        try:
            found = queue(channel).queue_declare(passive=True)
        except NotFound:
            return _Queue(queue.name, False, consumers=0)
        return _Queue(queue.name, True, found.message_count, found.consumer_count)


def _taken(known: Notes | None) -> set[str]:
    """Return the queues that some worker takes from."""
    if known is not None:
        return {name for note in known.workers for name in note.facts.get("queues") or ()}
    from worker.celery import app

    answers = app.control.inspect(timeout=ASK_S).active_queues() or {}
    # A worker's lane of commands is none that Celery knows of.
    lane = {COMMANDS} if answers else set[str]()
    return lane.union(queue["name"] for queues in answers.values() for queue in queues)
