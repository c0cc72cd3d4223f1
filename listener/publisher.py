"""One connection to the broker, and batches that it confirmed; used by ``enqueue.py``'s thread.

What "confirmed" means: RabbitMQ acknowledged it after it was in the queue (publisher confirms,
waited for together), Redis answered the pipeline, the embedded broker synced the file.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import kombu

from contract.broker import Broker
from listener.task_message import TaskMessage

__all__ = ["NotConfirmedError", "Publisher"]

OPEN_LIMIT_S = 5.0
# Long enough for a broker that is busy: whatever is given up on is published once more.
CONFIRM_LIMIT_S = 30.0
HEARTBEAT_S = 30.0
# Of what is soon out of date, a broker keeps so many, or for so long.
FLEETING_LIMIT, FLEETING_S = 100, 120


class NotConfirmedError(Exception):
    """The broker read messages and did not take all of them."""

    def __init__(self, refused: int) -> None:
        super().__init__(refused)
        self.refused = refused

    def __str__(self) -> str:
        return f"the broker did not take {self.refused} message(s): is a queue full or deleted?"


Confirmed = Callable[[TaskMessage], None]


class Publisher:
    """Publishes tasks; opened again by its owner after an error. Not for two threads at once."""

    def __init__(self, broker: Broker) -> None:
        self._is_amqp = broker.url.startswith("amqp")
        self._broker = replace(broker, transport_options=self._options(broker))
        self._connection: kombu.Connection | None = None
        self._producer: Any = None
        self._unconfirmed: dict[int, TaskMessage] = {}
        self._returned: set[str] = set()
        self._refused = 0
        self._last_tag = 0
        self._confirmed: Confirmed = lambda task: None

    def _options(self, broker: Broker) -> dict[str, Any]:
        if self._is_amqp or broker.is_embedded:
            return broker.transport_options
        # A peer that is gone without a word must not hold the thread for ever.
        limits = {"socket_timeout": OPEN_LIMIT_S, "socket_connect_timeout": OPEN_LIMIT_S}
        return broker.transport_options | limits

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was the last that happened."""
        return self._connection is not None

    def open(self) -> None:
        """Connect and declare the queues."""
        self.close()
        heartbeat = HEARTBEAT_S if self._is_amqp else 0
        connection = self._broker.connection(connect_timeout=OPEN_LIMIT_S, heartbeat=heartbeat)
        self._connection = connection
        # Once more at once, as the other side may have closed a moment ago; the pauses between
        # attempts are our owner's.
        connection.ensure_connection(
            max_retries=1, interval_start=0, interval_step=0, interval_max=0
        )
        channel = connection.default_channel
        for queue in self._broker.queues():
            queue(channel).declare()
        if self._is_amqp:
            self._count_confirms(channel)
        self._producer = kombu.Producer(channel, serializer="json")

    def _count_confirms(self, channel: Any) -> None:
        channel.confirm_select()
        self._unconfirmed, self._returned, self._last_tag = {}, set(), 0
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)

    def close(self) -> None:
        """Let go of the connection without waiting for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect(socket_timeout=1)

    def tend(self) -> None:
        """Notice while idle that RabbitMQ is gone, and tell it that we are not."""
        if self._is_amqp and self._connection is not None:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=0.01)
            self._connection.heartbeat_check()

    def publish(self, tasks: Iterable[TaskMessage], confirmed: Confirmed) -> None:
        """Publish and wait; ``confirmed`` is called for each task that the broker has.

        Raises:
            NotConfirmedError: For the others, when the broker refused them.
            Exception: Any of kombu's or its clients'; what was not confirmed may be there or not.
        """
        if self._is_amqp:
            self._publish_counted(tasks, confirmed)
        elif self._broker.is_embedded:
            for task in tasks:
                self._send(task)
                confirmed(task)
        else:
            sent = list(tasks)
            with self._producer.batch():
                for task in sent:
                    self._send(task)
            for task in sent:
                confirmed(task)

    def publish_fleeting(self, task: TaskMessage) -> None:
        """Publish what is soon out of date; where no worker takes it, it does not pile up.

        Raises:
            NotConfirmedError: The broker refused it.
            Exception: As :meth:`publish`.
        """
        if self._is_amqp:
            self._publish_counted([task], lambda task: None, expiration=FLEETING_S)
        elif self._producer.channel.queue_declare(task.queue).message_count < FLEETING_LIMIT:
            self._send(task)

    def _send(self, task: TaskMessage, **options: Any) -> None:
        # By the default exchange, as Celery does: no look-up of bindings for each message.
        self._producer.publish(
            task.body,
            exchange="",
            routing_key=task.queue,
            headers=task.headers,
            correlation_id=task.task_id,
            reply_to="",
            delivery_mode=2,
            # Else RabbitMQ confirms a message for a queue that somebody deleted, and drops it.
            mandatory=self._is_amqp,
            **options,
        )

    def _publish_counted(
        self, tasks: Iterable[TaskMessage], confirmed: Confirmed, **options: Any
    ) -> None:
        assert self._connection is not None  # noqa: S101, the owner opened it
        self._confirmed, self._refused = confirmed, 0
        for task in tasks:
            self._last_tag += 1
            self._unconfirmed[self._last_tag] = task
            self._send(task, **options)
        while self._unconfirmed:
            self._connection.drain_events(timeout=CONFIRM_LIMIT_S)
        if self._refused:
            raise NotConfirmedError(self._refused)

    def _settled(self, tag: int, multiple: bool) -> list[TaskMessage]:
        tags = [t for t in self._unconfirmed if t <= tag] if multiple else [tag]
        return [self._unconfirmed.pop(t) for t in tags if t in self._unconfirmed]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for task in self._settled(tag, multiple):
            if task.task_id in self._returned:
                self._returned.discard(task.task_id)
                self._refused += 1
            else:
                self._confirmed(task)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += len(self._settled(tag, multiple))

    def _on_return(self, _error: Exception, _exchange: str, _key: str, message: Any) -> None:
        self._returned.add(message.properties["correlation_id"])
