"""The way to Redis: what kombu would write there, built here; made by ``listener/publisher.py``.

kombu takes some 100 µs for each message, and with redis-py 10 MB of memory. A test compares what
both write, key by key. There is one write for a batch, whatever is in it::

    LPUSH <queue> <message> …               one for each queue, oldest message first
    LPUSH dingtalk:wake 1 …                 one entry for each message, see contract/redis_broker.py
"""

import itertools
import json
import uuid
from base64 import b64encode
from collections.abc import Iterable

from contract.broker_address import Broker
from contract.routing import QUEUES, wake_of
from listener.publisher import FLEETING_LIMIT, OPEN_LIMIT_S, Confirmed
from listener.redis_connection import RedisConnection, RedisError
from listener.task_message import TaskMessage

__all__ = ["RedisPublisher"]

_BINDING = "_kombu.binding.{}"
_SEPARATOR = "\x06\x16"


class RedisPublisher:
    """Publishes tasks; opened again by its owner after an error. Not for two threads at once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection: RedisConnection | None = None
        # Unlike task ids, these must differ each time the same task is published.
        self._tags = map(f"{uuid.uuid4().hex}-{{}}".format, itertools.count(1))

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was the last that happened."""
        return self._connection is not None

    def open(self) -> None:
        """Connect and declare the queues."""
        self.close()
        self._connection = RedisConnection(self._broker.url, timeout_s=OPEN_LIMIT_S)
        for name in QUEUES:
            member = _SEPARATOR.join((name, "", name))
            self._connection.ask("SADD", _BINDING.format(name), member)

    def close(self) -> None:
        """Let go of the connection without waiting for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def tend(self) -> None:
        """Open it again while idle, when Redis has closed it, as many do that are not spoken to."""
        if self._connection is not None and self._connection.is_dead:
            self.open()

    def publish(self, tasks: Iterable[TaskMessage], confirmed: Confirmed) -> None:
        """Publish and wait; ``confirmed`` is called with those that Redis has.

        Raises:
            RedisError: Redis refused some.
            OSError: The connection broke; what was not confirmed may be there or not.
        """
        by_queue = dict[str, list[TaskMessage]]()
        for task in tasks:
            by_queue.setdefault(task.queue, []).append(task)
        commands = list[list[bytes | str]]()
        for queue, its in by_queue.items():
            commands.append(["LPUSH", queue, *(self._message(task) for task in its)])
            commands.append(["LPUSH", wake_of([queue]), *("1" for _ in its)])
        answers = self._open_connection().call(commands)
        for its, answer in zip(by_queue.values(), answers[::2], strict=True):
            if not isinstance(answer, RedisError):
                confirmed(its)
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer

    def publish_fleeting(self, task: TaskMessage) -> None:
        """Publish what is soon out of date; where no worker takes it, it does not pile up.

        Raises:
            Exception: As :meth:`publish`.
        """
        length = self._open_connection().ask("LLEN", task.queue)
        if int(length) < FLEETING_LIMIT:
            self.publish([task], lambda _: None)

    def _open_connection(self) -> RedisConnection:
        self.tend()
        assert self._connection is not None  # noqa: S101, the owner opened it
        return self._connection

    def _message(self, task: TaskMessage) -> bytes:
        """Return a message as kombu's virtual transports have it."""
        properties = {
            "correlation_id": task.task_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": task.queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": next(self._tags),
        }
        body = b64encode(task.body_json.encode()).decode()
        rest = {
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": task.headers,
            "properties": properties,
        }
        return f'{{"body": "{body}", {json.dumps(rest)[1:]}'.encode()
