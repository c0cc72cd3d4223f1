"""Everything that happened in a run, oldest first, and who wants to hear of more."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dingwire.simulator.bot_records import (
    ApiCall,
    Card,
    Click,
    Event,
    ProactiveSend,
    Reaction,
    Upload,
)
from dingwire.simulator.records import Ack, Connection, Message, Push, Registration, Reply

__all__ = ["Journal", "as_json"]


class Journal:
    """All records of a run, oldest first, and who wants to hear of new ones."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str, Any], None]] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything except the listeners."""
        self.registrations: list[Registration] = []
        self.tickets_seen: list[str] = []
        self.connections: list[Connection] = []
        self.pushes: dict[str, Push] = {}
        self.acks: list[Ack] = []
        self.messages: dict[str, Message] = {}
        self.replies: list[Reply] = []
        self.proactive: list[ProactiveSend] = []
        self.api_calls: list[ApiCall] = []
        self.cards: dict[str, Card] = {}
        self.clicks: list[Click] = []
        self.events: list[Event] = []
        self.uploads: list[Upload] = []
        self.reactions: list[Reaction] = []

    def listen(self, listener: Callable[[str, Any], None]) -> Callable[[], None]:
        """Call ``listener(kind, record)`` after each change; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changed(self, kind: str, record: Any) -> None:
        """Tell the listeners that a record is new or has changed."""
        for listener in tuple(self._listeners):
            listener(kind, record)


def as_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON values."""
    return asdict(record)
