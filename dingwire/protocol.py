"""The Stream protocol apart from its I/O: what came in, and what it asks of us.

The listener feeds every WebSocket message to :meth:`StreamProtocol.receive`, sends the ``reply``
of what comes back when there is one, and acknowledges a push itself once the broker has it.
Source: docs/protocol.md, "Frames".
"""

from dataclasses import dataclass, field
from typing import Any

from dingwire.errors import FrameError, shown
from dingwire.frames import (
    ALL_EVENTS,
    BOT_DELEGATE,
    BOT_MESSAGE,
    CARD_CALLBACK,
    Frame,
    FrameKind,
    ack,
    parse_frame,
)

__all__ = [
    "BotPush",
    "CardPush",
    "Disconnect",
    "EventPush",
    "Malformed",
    "Ping",
    "Received",
    "StreamProtocol",
    "Unhandled",
]


@dataclass(frozen=True)
class Ping:
    """DingTalk asks whether we live; send ``reply`` at once."""

    reply: str = field(repr=False)


@dataclass(frozen=True)
class Disconnect:
    """Nothing more comes on this connection; DingTalk drops it about 10 s from now."""

    reason: str
    reply: str = field(repr=False)


@dataclass(frozen=True)
class BotPush:
    """A chat message; ``payload`` is for ``messages.parse_bot_message``."""

    frame: Frame
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class CardPush:
    """Somebody pressed a card's button; DingTalk waits 2 s for the ack."""

    frame: Frame
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class EventPush:
    """Something happened in the organisation; ack with 200, or with 500 to get it again."""

    frame: Frame


@dataclass(frozen=True)
class Unhandled:
    """A frame we have no use for; send ``reply`` when there is one."""

    frame: Frame
    reply: str | None = field(repr=False)


@dataclass(frozen=True)
class Malformed:
    """No frame, or a push without content; ``reason`` never holds what came."""

    reason: str


Received = Ping | Disconnect | BotPush | CardPush | EventPush | Unhandled | Malformed


class StreamProtocol:
    """Sorts what DingTalk sends; keeps no state, so connections may share one."""

    def subscriptions(self) -> list[dict[str, str]]:
        """Return what to register for: chat messages, card buttons and all events."""
        return [
            {"type": FrameKind.CALLBACK.value, "topic": BOT_MESSAGE},
            {"type": FrameKind.CALLBACK.value, "topic": CARD_CALLBACK},
            {"type": FrameKind.EVENT.value, "topic": ALL_EVENTS},
        ]

    def receive(self, raw: str | bytes) -> Received:
        """Say what one WebSocket message is; never raises.

        A binary message is read like text when it is UTF-8 JSON, and is malformed otherwise.
        """
        try:
            frame = parse_frame(raw)
        except FrameError as error:
            return Malformed(str(error))
        match frame.kind:
            case FrameKind.SYSTEM:
                return _system(frame)
            case FrameKind.EVENT:
                return EventPush(frame)
            case FrameKind.CALLBACK:
                return _callback(frame)
            case _:
                return Unhandled(frame, None)


def _system(frame: Frame) -> Received:
    if frame.topic == "ping":
        return Ping(ack(frame))
    if frame.topic == "disconnect":
        return Disconnect(shown(frame.data.get("reason")), ack(frame))
    # CONNECTED, REGISTERED and KEEPALIVE exist in an SDK only; nothing may depend on them.
    return Unhandled(frame, None)


def _callback(frame: Frame) -> Received:
    if frame.topic not in (BOT_MESSAGE, BOT_DELEGATE, CARD_CALLBACK):
        return Unhandled(frame, ack(frame, code=404, message="topic not handled"))
    if not frame.data:
        return Malformed("callback whose data is not a JSON object with content")
    if frame.topic == CARD_CALLBACK:
        return CardPush(frame, frame.data)
    return BotPush(frame, frame.data)
