"""What a test without an event loop sees of the simulator in its thread.

``thread`` builds :class:`~dingwire.simulator.thread.SimulatorThread` on it.
"""

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dingwire.simulator.bot_records import (
    ApiCall,
    Card,
    Click,
    Event,
    ProactiveSend,
    Reaction,
    Upload,
)
from dingwire.simulator.faults import Faults
from dingwire.simulator.records import Ack, Connection, Message, Push, Registration, Reply
from dingwire.simulator.server import Simulator

__all__ = ["ThreadViews"]

T = TypeVar("T")


class ThreadViews:
    """The records of :class:`Simulator`, each read in the simulator's own thread."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    @abstractmethod
    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the simulator's thread and wait for the result."""

    @property
    def endpoint(self) -> str:
        """See :attr:`Simulator.endpoint`."""
        return self.simulator.endpoint

    @property
    def webhook_host(self) -> str:
        """See :attr:`Simulator.webhook_host`."""
        return self.simulator.webhook_host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.simulator.port

    @property
    def faults(self) -> Faults:
        """The switches as they are."""
        return self.simulator.faults

    @property
    def registrations(self) -> list[Registration]:
        """See :attr:`Simulator.registrations`."""
        return self._look(lambda it: list(it.registrations))

    @property
    def tickets_seen(self) -> list[str]:
        """See :attr:`Simulator.tickets_seen`."""
        return self._look(lambda it: list(it.tickets_seen))

    @property
    def connections(self) -> list[Connection]:
        """See :attr:`Simulator.connections`."""
        return self._look(lambda it: list(it.connections))

    @property
    def live_connections(self) -> list[Connection]:
        """See :attr:`Simulator.live_connections`."""
        return self._look(lambda it: it.live_connections)

    @property
    def pushes(self) -> list[Push]:
        """See :attr:`Simulator.pushes`."""
        return self._look(lambda it: it.pushes)

    @property
    def acks(self) -> list[Ack]:
        """See :attr:`Simulator.acks`."""
        return self._look(lambda it: list(it.acks))

    @property
    def message_acks(self) -> list[Ack]:
        """See :attr:`Simulator.message_acks`."""
        return self._look(lambda it: it.message_acks)

    @property
    def messages(self) -> list[Message]:
        """See :attr:`Simulator.messages`."""
        return self._look(lambda it: it.messages)

    @property
    def replies(self) -> list[Reply]:
        """See :attr:`Simulator.replies`."""
        return self._look(lambda it: list(it.replies))

    @property
    def accepted(self) -> list[Reply]:
        """See :attr:`Simulator.accepted`."""
        return self._look(lambda it: it.accepted)

    @property
    def proactive(self) -> list[ProactiveSend]:
        """See :attr:`Simulator.proactive`."""
        return self._look(lambda it: list(it.proactive))

    @property
    def lost(self) -> list[Message]:
        """See :attr:`Simulator.lost`."""
        return self._look(lambda it: it.lost)

    @property
    def token_calls(self) -> int:
        """See :attr:`Simulator.token_calls`."""
        return self.simulator.token_calls

    @property
    def api_calls(self) -> list[ApiCall]:
        """See :attr:`Simulator.api_calls`."""
        return self._look(lambda it: list(it.api_calls))

    @property
    def uploads(self) -> list[Upload]:
        """See :attr:`Simulator.uploads`."""
        return self._look(lambda it: list(it.uploads))

    @property
    def reactions(self) -> list[Reaction]:
        """See :attr:`Simulator.reactions`."""
        return self._look(lambda it: list(it.reactions))

    @property
    def cards(self) -> dict[str, Card]:
        """See :attr:`Simulator.cards`."""
        return self._look(lambda it: dict(it.cards))

    @property
    def clicks(self) -> list[Click]:
        """See :attr:`Simulator.clicks`."""
        return self._look(lambda it: list(it.clicks))

    @property
    def events(self) -> list[Event]:
        """See :attr:`Simulator.events`."""
        return self._look(lambda it: list(it.events))

    def uploaded(self, media_id: str) -> bytes:
        """See :meth:`Simulator.uploaded`."""
        return self._look(lambda it: it.uploaded(media_id))

    def counters(self) -> dict[str, int]:
        """See :meth:`Simulator.counters`."""
        return self._look(lambda it: it.counters())

    def _look(self, read: Callable[[Simulator], T]) -> T:
        async def look() -> T:
            return read(self.simulator)

        return self.call(look())
