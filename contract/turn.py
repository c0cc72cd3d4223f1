"""Which messages wait for each other, and in which order.

The listener names the message before (``listener/intake.py``); the worker hands the turn to the
store, which lets one message of a lane run at a time.
"""

from enum import StrEnum

from contract.envelope import Envelope

__all__ = ["Order", "lane", "place"]


class Order(StrEnum):
    """What is answered one message at a time."""

    CONVERSATION = "conversation"
    SENDER = "sender"  # in a group, each of its members apart
    NONE = "none"


def lane(envelope: Envelope, order: Order) -> str | None:
    """Return the name of what the message waits in; None when it waits for nothing.

    Messages of one lane are answered one at a time. Bots never share a lane.
    """
    if order is Order.NONE or not envelope.conversation_id:
        return None
    parts = [envelope.bot, envelope.conversation_id]
    if order is Order.SENDER:
        parts.append(envelope.sender_id or envelope.sender_staff_id or "")
    return "\n".join(parts)


def place(envelope: Envelope) -> tuple[int, int]:
    """Return the message's place in its lane: when it was written, then when it was received.

    Epoch ms on DingTalk's clock, so that two listeners agree, and epoch microseconds on the
    listener's own, which tells apart what was written within a millisecond.
    """
    received_us = round(envelope.received_at.timestamp() * 1_000_000)
    if envelope.created_at is None:
        return (received_us + round(envelope.clock_offset_s * 1_000_000)) // 1000, received_us
    return round(envelope.created_at.timestamp() * 1000), received_us
