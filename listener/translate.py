"""DingTalk's chat message in our words: a ``BotMessage`` becomes an ``Envelope``.

Used by ``listener/intake.py``. Pure, and never raises: whatever is missing, the message goes on.
"""

import hashlib
from datetime import datetime, timedelta

from contract.content import Attachment, Mention, Quoted
from contract.deadline import SHORTEST_WEBHOOK_LIFE, promise, reply_deadline
from contract.envelope import Conversation, Envelope
from dingwire.content import Media
from dingwire.frames import BOT_DELEGATE
from dingwire.messages import BotMessage
from dingwire.protocol import BotPush
from dingwire.quotes import QuotedMessage

__all__ = ["to_envelope"]

# Real ones have some 30 characters; the id stands in a header that has to fit into one AMQP frame.
LONGEST_ID = 256


def to_envelope(
    message: BotMessage,
    push: BotPush,
    *,
    client_id: str,
    robot_code: str | None = None,
    received_at: datetime,
    clock_offset: timedelta,
    reply_within_s: float | None,
) -> Envelope:
    """Translate one message.

    Args:
        message: What ``push.payload`` says.
        push: Where it came in.
        client_id: The app whose connection it came by, and the bot when nothing else names it.
        robot_code: The bot, when the message does not name it.
        received_at: Our clock, aware UTC.
        clock_offset: DingTalk's clock minus ours.
        reply_within_s: The softer promise; None without one.
    """
    return Envelope(
        bot=_short(message.robot_code) or robot_code or client_id,
        client_id=client_id,
        message_id=_short(message.message_id) or _derived_id(push.frame.raw_data),
        push_id=push.frame.push_id,
        conversation_id=message.conversation_id,
        conversation=Conversation.GROUP if message.is_group else Conversation.PRIVATE,
        conversation_title=message.conversation_title,
        sender_id=message.sender_id,
        sender_staff_id=message.sender_staff_id,
        sender_nick=message.sender_nick,
        kind=message.kind,
        text=message.text,
        attachments=_attachments(message.media),
        quoted=message.quoted and _quoted(message.quoted),
        mentions=tuple(Mention(**dict(each)) for each in message.mentioned),
        raw=message.raw,
        error_code=message.error_code,
        is_delegated=push.frame.topic == BOT_DELEGATE,
        sender_is_admin=message.sender_is_admin,
        session_webhook=message.session_webhook,
        webhook_expires_at=message.webhook_expires_at,
        deadline=_deadline(message, received_at + clock_offset),
        promise_at=promise(received_at, reply_within_s),
        created_at=message.created_at,
        received_at=received_at,
        clock_offset_s=clock_offset.total_seconds(),
    )


def _attachments(media: tuple[Media, ...]) -> tuple[Attachment, ...]:
    return tuple(Attachment(**dict(each)) for each in media)


def _quoted(quoted: QuotedMessage) -> Quoted:
    fields = dict(quoted)
    return Quoted(attachments=_attachments(fields.pop("media")), **fields)


def _short(identity: str) -> str:
    return identity if len(identity) <= LONGEST_ID else ""


def _derived_id(raw_data: str) -> str:
    """Return an id for a message without one; the same again when it is pushed again."""
    content = raw_data.encode("utf-8", "replace")
    return f"derived-{hashlib.sha256(content).hexdigest()[:32]}"


def _deadline(message: BotMessage, received_at: datetime) -> datetime | None:
    """Return the last moment for a post, on DingTalk's clock; None without a webhook."""
    if message.session_webhook is None:
        return None
    # A webhook that names no end has the shortest life ever seen, from the earliest it can be.
    born_at = message.created_at or received_at
    return reply_deadline(message.webhook_expires_at or born_at + SHORTEST_WEBHOOK_LIFE)
