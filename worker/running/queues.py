"""What waits on the broker: how many messages in each queue, and the oldest of them, if it shows.

Read by ``celery -A worker backlog`` and, at each scrape, by a worker's metrics. Nothing is taken
from a queue: Redis and the embedded broker let one look, RabbitMQ only tells the count.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import kombu

from contract.broker import Broker
from contract.broker_check import connection_to, words_of
from contract.routing import QUEUES

__all__ = ["BrokerAwayError", "Queue", "read_queues"]

_PEEK = 100


class BrokerAwayError(Exception):
    """The broker cannot be asked; the text holds no address with a password."""


@dataclass(frozen=True)
class Queue:
    """One queue.

    ``oldest`` are the envelopes of its oldest messages, in order; None when the broker cannot show
    them, and without those that carry none.
    """

    depth: int
    oldest: tuple[dict[str, Any], ...] | None = field(default=None, repr=False)


def read_queues(broker: Broker, *, peek: int = _PEEK) -> dict[str, Queue]:
    """Return every queue of ours by name; looks at the ``peek`` oldest messages of each.

    Raises:
        BrokerAwayError: It cannot be reached, or does not answer.
    """
    if broker.is_embedded:
        return _embedded(Path(broker.transport_options["folder"]), peek)
    try:
        with connection_to(broker) as connection:
            connection.ensure_connection(errback=_give_up)
            ask = _redis if connection.transport.driver_type == "redis" else _amqp
            return ask(connection, peek)
    except Exception as error:  # noqa: BLE001, each transport has errors of its own
        raise BrokerAwayError(words_of(error, broker)[0]) from None


def _give_up(error: Exception, _: float) -> None:
    raise error


def _embedded(folder: Path, peek: int) -> dict[str, Queue]:
    if not folder.is_dir():
        raise BrokerAwayError(f"no embedded broker at {folder}: nothing was ever queued here")
    found = {}
    for name in QUEUES:
        files = sorted((folder / "queues" / name).glob("*.msg"))  # their names begin with the time
        texts = (_text_of(file) for file in islice(files, peek))
        found[name] = Queue(len(files), _envelopes(texts))
    return found


def _text_of(file: Path) -> str:
    with suppress(OSError):  # somebody took it
        return file.read_text(encoding="utf-8")
    return ""


def _redis(connection: kombu.Connection, peek: int) -> dict[str, Queue]:
    client: Any = connection.default_channel.client  # type: ignore[attr-defined]
    found = {}
    for name in QUEUES:
        # Written at the left, read from the right.
        depth, oldest = client.llen(name), client.lrange(name, -peek, -1)
        found[name] = Queue(depth, _envelopes(reversed(oldest)))
    return found


def _amqp(connection: kombu.Connection, _: int) -> dict[str, Queue]:
    errors: tuple[type[BaseException], ...] = connection.channel_errors
    return {name: Queue(_depth(connection.channel, name, errors)) for name in QUEUES}


def _depth(channel: Callable[[], Any], name: str, errors: Sequence[type[BaseException]]) -> int:
    """Ask on a channel of its own, which RabbitMQ closes when there is no such queue yet."""
    try:
        with channel() as asked:
            return int(asked.queue_declare(name, passive=True).message_count)
    except tuple(errors):
        return 0


def _envelopes(messages: Iterable[str | bytes]) -> tuple[dict[str, Any], ...]:
    return tuple(found for found in map(_envelope, messages) if found is not None)


def _envelope(message: str | bytes) -> dict[str, Any] | None:
    """Return what a Celery message carries; what is private in it may be sealed."""
    try:
        task = json.loads(message)
        body = task["body"]
        if task.get("properties", {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        _, named, _ = json.loads(body)
        envelope = named.get("envelope")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return envelope if isinstance(envelope, dict) else None
