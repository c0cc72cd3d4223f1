"""The ways to RabbitMQ and to the embedded broker, by kombu; made by ``listener/publisher.py``."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import kombu

from contract.broker_address import Broker
from listener.publisher import (
    FLEETING_LIMIT,
    FLEETING_S,
    OPEN_LIMIT_S,
    Confirmed,
    NotConfirmedError,
)
from listener.task_message import TaskMessage

__all__ = ["EmbeddedPublisher", "RabbitMQPublisher"]

# Long enough for a broker that is busy: whatever is given up on is published once more.
CONFIRM_LIMIT_S = 30.0
HEARTBEAT_S = 30.0


class _KombuPublisher:
    """What both have in common."""

    heartbeat_s = 0.0

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection: kombu.Connection | None = None
        self._producer: Any = None

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was the last that happened."""
        return self._connection is not None

    def open(self) -> None:
        """Connect and declare the queues."""
        self.close()
        connection = self._broker.connection(
            connect_timeout=OPEN_LIMIT_S, heartbeat=self.heartbeat_s
        )
        self._connection = connection
        # Once more at once, as the other side may have closed a moment ago; the pauses between
        # attempts are our owner's.
        connection.ensure_connection(
            max_retries=1, interval_start=0, interval_step=0, interval_max=0
        )
        channel = connection.default_channel
        for queue in self._broker.queues():
            queue(channel).declare()
        self._producer = kombu.Producer(channel)

    def close(self) -> None:
        """Let go of the connection without waiting for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect(socket_timeout=1)

    def _send(self, task: TaskMessage, **options: Any) -> None:
        # By the default exchange, as Celery does: no look-up of bindings for each message.
        self._producer.publish(
            task.body_json.encode(),
            content_type="application/json",
            content_encoding="utf-8",
            exchange="",
            routing_key=task.queue,
            headers=task.headers,
            correlation_id=task.task_id,
            reply_to="",
            delivery_mode=2,
            **options,
        )


class EmbeddedPublisher(_KombuPublisher):
    """Publishes tasks as files, each on the disk before the next is written."""

    def tend(self) -> None:
        """Do nothing: there is no other side."""

    def publish(self, tasks: Iterable[TaskMessage], confirmed: Confirmed) -> None:
        """Publish; ``confirmed`` is called with each that is on the disk.

        Raises:
            OSError: The disk did not take one.
        """
        for task in tasks:
            self._send(task)
            confirmed([task])

    def publish_fleeting(self, task: TaskMessage) -> None:
        """Publish what is soon out of date; where no worker takes it, it does not pile up.

        Raises:
            OSError: As :meth:`publish`.
        """
        if self._producer.channel.queue_declare(task.queue).message_count < FLEETING_LIMIT:
            self._send(task)


class RabbitMQPublisher(_KombuPublisher):
    """Publishes tasks and counts what RabbitMQ confirms."""

    heartbeat_s = HEARTBEAT_S

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._unconfirmed: dict[int, TaskMessage] = {}
        self._returned: set[str] = set()
        self._refused = 0
        self._last_tag = 0
        self._confirmed: Confirmed = lambda tasks: None

    def open(self) -> None:
        """Connect, declare the queues, and have confirms counted from one."""
        super().open()
        channel = self._producer.channel
        channel.confirm_select()
        self._unconfirmed, self._returned, self._last_tag = {}, set(), 0
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)

    def tend(self) -> None:
        """Notice while idle that RabbitMQ is gone, and tell it that we are not."""
        if self._connection is not None:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=0.01)
            self._connection.heartbeat_check()

    def publish(self, tasks: Iterable[TaskMessage], confirmed: Confirmed) -> None:
        """Publish and wait for all confirms; ``confirmed`` is called with what is confirmed.

        Raises:
            NotConfirmedError: RabbitMQ refused some.
            Exception: Any of kombu's or its client's; what was not confirmed may be there or not.
        """
        self._publish(tasks, confirmed)

    def publish_fleeting(self, task: TaskMessage) -> None:
        """Publish what is soon out of date; where no worker takes it, it does not pile up.

        Raises:
            Exception: As :meth:`publish`.
        """
        self._publish([task], lambda tasks: None, expiration=FLEETING_S)

    def _publish(self, tasks: Iterable[TaskMessage], confirmed: Confirmed, **options: Any) -> None:
        assert self._connection is not None  # noqa: S101, the owner opened it
        self._confirmed, self._refused = confirmed, 0
        for task in tasks:
            self._last_tag += 1
            self._unconfirmed[self._last_tag] = task
            # Without mandatory RabbitMQ confirms a message for a queue that somebody deleted, and
            # drops it.
            self._send(task, mandatory=True, **options)
        while self._unconfirmed:
            self._connection.drain_events(timeout=CONFIRM_LIMIT_S)
        if self._refused:
            raise NotConfirmedError(self._refused)

    def _settled(self, tag: int, multiple: bool) -> Sequence[TaskMessage]:
        tags = [t for t in self._unconfirmed if t <= tag] if multiple else [tag]
        return [self._unconfirmed.pop(t) for t in tags if t in self._unconfirmed]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        settled = self._settled(tag, multiple)
        taken = [task for task in settled if task.task_id not in self._returned]
        self._refused += len(settled) - len(taken)
        self._returned.difference_update(task.task_id for task in settled)
        self._confirmed(taken)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += len(self._settled(tag, multiple))

    def _on_return(self, _error: Exception, _exchange: str, _key: str, message: Any) -> None:
        self._returned.add(message.properties["correlation_id"])
