"""The practical limit of a listener: kombu publishing from memory, in batches, and nothing else.

``python -m bench.peers.kombu_producer BROKER_URL COUNT BATCH`` prints how many messages a second
the broker has confirmed. They are the tasks that our listener would publish; making them is not
part of the time.
"""

import sys
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

import kombu

from contract.envelope import Envelope
from listener.task_message import answer_task

__all__ = ["main"]

QUEUE = "producer"


class _Task(NamedTuple):
    """What is handed to kombu."""

    identity: str
    headers: dict[str, Any]
    body: list[Any]


def _task(number: int) -> _Task:
    now = datetime.now(UTC)
    made = answer_task(
        Envelope(
            bot="bench", client_id="bench", message_id=f"msg{number:032}", push_id=f"{number:024}",
            conversation_id=f"cid{number % 500}", sender_id=f"$:LWCP_v1:$sender{number % 500:08}",
            sender_staff_id=f"bench-{number % 500}", sender_nick=f"bench-{number % 500}",
            text=f"n{number}x how much is left of the budget of this quarter?",
            session_webhook=f"http://127.0.0.1:10000/robot/sendBySession?session={number % 500}",
            webhook_expires_at=now, deadline=now, created_at=now, received_at=now,
        )
    )  # fmt: skip
    return _Task(made.task_id, made.headers, made.body)


class _Producer:
    """kombu's, and on RabbitMQ a count of what was confirmed."""

    def __init__(self, connection: kombu.Connection) -> None:
        self._connection = connection
        channel: Any = connection.default_channel
        self._producer: Any = kombu.Producer(channel, serializer="json")
        self._is_amqp = connection.transport.driver_type == "amqp"
        self._sent = self._confirmed = 0
        if self._is_amqp:
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._confirmed = max(self._confirmed, tag) if multiple else self._confirmed + 1

    def publish(self, tasks: list[_Task]) -> None:
        """Publish one batch and wait until the broker has it."""
        if not self._is_amqp:
            with self._producer.batch():
                for task in tasks:
                    self._send(task)
            return
        for task in tasks:
            self._send(task)
        while self._confirmed < self._sent:
            self._connection.drain_events(timeout=30)

    def _send(self, task: _Task) -> None:
        self._sent += 1
        self._producer.publish(
            task.body,
            exchange="",
            routing_key=QUEUE,
            headers=task.headers,
            correlation_id=task.identity,
            delivery_mode=2,
        )


def main() -> None:
    """Measure once."""
    url, count, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tasks = [_task(number) for number in range(count)]
    with kombu.Connection(url) as connection:
        queue = kombu.Queue(QUEUE)(connection.default_channel)
        queue.declare()
        producer = _Producer(connection)
        producer.publish(tasks[:batch])  # whatever is set up by the first
        started = time.perf_counter()
        for start in range(0, count, batch):
            producer.publish(tasks[start : start + batch])
        took_s = time.perf_counter() - started
        queue.purge()
    print(count / took_s)


if __name__ == "__main__":
    main()
