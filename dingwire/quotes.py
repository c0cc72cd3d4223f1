"""The message that was quoted, in all the shapes that were seen.

``dingwire/messages.py`` calls it. None of it is documented, so whatever cannot be read is left
out, and the message itself is never lost. Source: docs/protocol.md, "Quoted messages".
"""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from dingwire.content import Media, read_content
from dingwire.values import first_text, json_object, moment, text

__all__ = ["QuotedMessage", "read_quote"]


class QuotedMessage(BaseModel):
    """What was quoted, as far as DingTalk tells."""

    model_config = ConfigDict(frozen=True)

    message_id: str = ""
    kind: str = "unknown"
    text: str = Field(default="", repr=False)
    media: tuple[Media, ...] = ()
    sender_id: str = ""
    sender_nick: str = Field(default="", repr=False)
    is_from_bot: bool = False
    created_at: AwareDatetime | None = None
    process_query_key: str = Field(
        default="", description="What DingTalk called a message of the bot when it was sent."
    )


def read_quote(payload: dict[str, Any]) -> QuotedMessage | None:
    """Return what ``payload`` quotes; None when it quotes nothing.

    ``originalMsgId`` alone proves no quote.
    """
    said_so = False
    for holder in (json_object(payload.get("text")), json_object(payload.get("content")), payload):
        is_reply = holder.get("isReplyMsg")
        if is_reply in (False, "false"):
            continue
        said_so |= is_reply in (True, "true")
        replied = json_object(holder.get("repliedMsg"))
        if replied:
            return _quoted(replied, payload)
    legacy = json_object(payload.get("quoteMessage"))
    if legacy:
        return _quoted(legacy, payload)
    return _quoted({}, payload) if said_so else None


def _quoted(replied: dict[str, Any], payload: dict[str, Any]) -> QuotedMessage:
    kind = first_text(replied, "msgType", "msgtype")
    sender_id, bot_id = text(replied.get("senderId")), text(payload.get("chatbotUserId"))
    content = read_content(kind, replied.get("text"), replied.get("content"), bot_id=bot_id)
    return QuotedMessage(
        message_id=first_text(replied, "msgId") or text(payload.get("originalMsgId")),
        kind=kind or ("text" if content.text else "unknown"),
        text=content.text.strip(),
        media=tuple(content.media),
        sender_id=sender_id,
        sender_nick=text(replied.get("senderNick")),
        is_from_bot=bool(bot_id) and sender_id == bot_id,
        created_at=moment(replied.get("createdAt")) or moment(replied.get("createAt")),
        process_query_key=text(payload.get("originalProcessQueryKey")),
    )
