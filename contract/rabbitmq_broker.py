"""The RabbitMQ broker: kombu's transport, made to notice a server that does not answer.

py-amqp waits for ever for the answer to what it asks, heartbeats or not. A quorum queue without a
leader never gives one, and a worker that starts to consume from it would stand still in silence.
Here an answer has a limit; past it the connection counts as lost, which both sides log and mend by
opening another one. Waiting for messages is no question and has no limit.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
from amqp import spec
from kombu.transport import pyamqp

__all__ = ["ANSWER_LIMIT_S", "NoAnswerError", "SSLTransport", "Transport"]

# Queues answer within milliseconds; less than the 30 s in which a platform wants to see us stop,
# which a worker that waits cannot.
ANSWER_LIMIT_S = 15.0

_METHODS = {
    value: f"{group.__name__.lower()}.{name}"
    for group in (
        spec.Basic,
        spec.Channel,
        spec.Confirm,
        spec.Connection,
        spec.Exchange,
        spec.Queue,
    )
    for name, value in vars(group).items()
    if isinstance(value, tuple)
}


class NoAnswerError(amqp.RecoverableConnectionError):
    """RabbitMQ lives, and does not answer."""

    def __init__(self, missing: str, queue: str) -> None:
        super().__init__(missing)
        self.missing, self.queue = missing, queue

    def __str__(self) -> str:
        about = f" for queue {self.queue!r}, which may have lost its leader:" if self.queue else ":"
        return (
            f"RabbitMQ sent no {self.missing} within {ANSWER_LIMIT_S:g} s{about} "
            "see docs/reliability.md"
        )

    def __repr__(self) -> str:
        # What Celery logs.
        return f"{type(self).__name__}({self})"


# The stubs leave out what is overridden here.
_Connection: Any = pyamqp.Connection
_Channel: Any = pyamqp.Channel


class _Answering:
    """Waits for answers, those of a connection or of one of its channels."""

    connection: Any
    _queue = ""

    def wait(
        self, method: Any, callback: Any = None, timeout: float | None = None, **options: Any
    ) -> Any:
        """Wait for an answer; for ``timeout``, else for the limit.

        Raises:
            NoAnswerError: None came within the limit.
            RecoverableConnectionError: The connection is closed already.
        """
        if timeout is not None or self.connection is None:
            return super().wait(method, callback, timeout, **options)  # type: ignore[misc]
        try:
            with self.connection.limit():
                return super().wait(method, callback, **options)  # type: ignore[misc]
        except TimeoutError:
            first = method[0] if isinstance(method, list) else method
            raise NoAnswerError(_METHODS.get(first, "answer"), self._queue) from None


class Channel(_Answering, _Channel):  # type: ignore[misc]
    """A channel that knows which queue it asks about."""

    def queue_declare(self, queue: str = "", *arguments: Any, **options: Any) -> Any:
        """Declare a queue."""
        with self._asking_about(queue):
            return super().queue_declare(queue, *arguments, **options)

    def basic_consume(self, queue: str = "", *arguments: Any, **options: Any) -> Any:
        """Begin to consume from a queue."""
        with self._asking_about(queue):
            return super().basic_consume(queue, *arguments, **options)

    @contextmanager
    def _asking_about(self, queue: str) -> Iterator[None]:
        self._queue = queue
        try:
            yield
        finally:
            self._queue = ""


class Connection(_Answering, _Connection):  # type: ignore[misc]
    """A connection whose limits hold for all it reads, heartbeats included."""

    Channel = Channel
    _until: float | None = None

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Limit how long is read in the block; an outer limit stays."""
        before = self._until
        if before is None:
            self._until = time.monotonic() + ANSWER_LIMIT_S
        try:
            yield
        finally:
            self._until = before

    def drain_events(self, timeout: float | None = None) -> None:
        """Read until something has happened; heartbeats are nothing."""
        until = self._until if timeout is None else time.monotonic() + timeout
        while not self.blocking_read(until and max(0.0, until - time.monotonic())):
            pass


class Transport(pyamqp.Transport):
    """Registered for ``amqp://`` by :mod:`contract.broker`."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):
    """Registered for ``amqps://`` by :mod:`contract.broker`."""

    Connection = Connection
