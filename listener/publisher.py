"""One connection to the broker, and batches that it confirmed; used by ``enqueue.py``'s thread.

What "confirmed" means: RabbitMQ acknowledged it after it was in the queue (publisher confirms,
waited for together), Redis answered the write, the embedded broker synced the file.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from contract.broker_address import Broker
from listener.task_message import TaskMessage

__all__ = [
    "FLEETING_LIMIT",
    "FLEETING_S",
    "OPEN_LIMIT_S",
    "Confirmed",
    "NotConfirmedError",
    "Publisher",
    "new_publisher",
]

# Also for each answer: a peer that is gone without a word must not hold the thread for ever.
OPEN_LIMIT_S = 5.0
# Of what is soon out of date, a broker keeps so many, or for so long.
FLEETING_LIMIT, FLEETING_S = 100, 120

Confirmed = Callable[[Sequence[TaskMessage]], None]


class NotConfirmedError(Exception):
    """The broker read messages and did not take all of them."""

    def __init__(self, refused: int) -> None:
        super().__init__(refused)
        self.refused = refused

    def __str__(self) -> str:
        return f"the broker did not take {self.refused} message(s): is a queue full or deleted?"


class Publisher(Protocol):
    """Publishes tasks; opened again by its owner after an error. Not for two threads at once."""

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was the last that happened."""

    def open(self) -> None:
        """Connect and declare the queues."""

    def close(self) -> None:
        """Let go of the connection without waiting for the other side."""

    def tend(self) -> None:
        """See to the connection while nothing is published."""

    def publish(self, tasks: Iterable[TaskMessage], confirmed: Confirmed) -> None:
        """Publish and wait; ``confirmed`` is called with what the broker has, once or often.

        Raises:
            NotConfirmedError: For the others, when the broker refused them.
            Exception: What was not confirmed may be there or not.
        """

    def publish_fleeting(self, task: TaskMessage) -> None:
        """Publish what is soon out of date; where no worker takes it, it does not pile up.

        Raises:
            Exception: As :meth:`publish`.
        """


def new_publisher(broker: Broker) -> Publisher:
    """Return what publishes to this broker, not opened yet."""
    # Each where it is needed, as a listener pays for one of them.
    if broker.url.startswith("redis"):
        from listener.redis_publisher import RedisPublisher

        return RedisPublisher(broker)
    from listener.kombu_publisher import EmbeddedPublisher, RabbitMQPublisher

    return EmbeddedPublisher(broker) if broker.is_embedded else RabbitMQPublisher(broker)
