"""A chat message as a bot receives it, read so that no message is lost to a missing field.

The listener parses the payload of a ``BotPush`` with it and translates the result into an
envelope. What is known of the fields stands in docs/protocol.md, "Chat messages".
"""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from dingwire.values import json_object, moment, text, whole_number

__all__ = ["QUOTA_USED_UP", "BotMessage", "parse_bot_message"]

QUOTA_USED_UP = 20001  # the organisation's monthly quota; the message comes without its content

# Where kinds other than text and richText keep words, best first.
_WORDS = ("recognition", "text", "content", "markdown", "summary")


class BotMessage(BaseModel):
    """One chat message. What a person wrote, and the webhook, are left out of ``repr``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    message_id: str = Field(default="", description="msgId; the same over redeliveries.")
    conversation_id: str = ""
    is_group: bool = False
    conversation_title: str = Field(default="", repr=False)
    sender_id: str = Field(default="", description="Opaque; not usable as a user id.")
    sender_staff_id: str | None = Field(
        default=None, description="User id inside the bot's organisation; None for outsiders."
    )
    sender_nick: str = Field(default="", repr=False)
    robot_code: str = ""
    kind: str = Field(default="unknown", description="msgtype, unknown ones included.")
    text: str = Field(default="", repr=False)
    session_webhook: str | None = Field(default=None, repr=False)
    webhook_expires_at: AwareDatetime | None = None
    created_at: AwareDatetime | None = None
    error_code: int | None = Field(default=None, description="QUOTA_USED_UP when the text is cut.")
    error_message: str = Field(default="", repr=False)
    is_in_at_list: bool = False


def parse_bot_message(payload: dict[str, Any]) -> BotMessage:
    """Read the payload of a bot push; whatever is missing or odd becomes the field's default."""
    kind = text(payload.get("msgtype")) or ("text" if payload.get("text") else "unknown")
    return BotMessage(
        message_id=text(payload.get("msgId")),
        conversation_id=text(payload.get("conversationId")),
        is_group=text(payload.get("conversationType")).strip() == "2",
        conversation_title=text(payload.get("conversationTitle")),
        sender_id=text(payload.get("senderId")),
        sender_staff_id=text(payload.get("senderStaffId")).strip() or None,
        sender_nick=text(payload.get("senderNick")),
        robot_code=text(payload.get("robotCode")),
        kind=kind,
        text=_words(kind, payload).strip(),
        session_webhook=text(payload.get("sessionWebhook")).strip() or None,
        webhook_expires_at=moment(payload.get("sessionWebhookExpiredTime")),
        created_at=moment(payload.get("createAt")),
        error_code=whole_number(_either(payload, "errorCode", "errCode")),
        error_message=text(_either(payload, "errorMessage", "errMsg")),
        is_in_at_list=payload.get("isInAtList") in (True, "true"),
    )


def _either(payload: dict[str, Any], *names: str) -> object:
    return next((payload[name] for name in names if payload.get(name) is not None), None)


def _words(kind: str, payload: dict[str, Any]) -> str:
    """Return what the person wrote or said; empty for a picture, a file, a card."""
    content = payload.get("content")
    if kind == "richText":
        return _rich_text(json_object(content).get("richText"))
    return _plain(payload.get("text")) or ("" if kind == "text" else _of_content(content))


def _plain(value: object) -> str:
    """Return ``{"content": "..."}``'s words, or the value when it is text already."""
    return text(value["content"]) if isinstance(value, dict) and "content" in value else text(value)


def _rich_text(items: object) -> str:
    if not isinstance(items, list):
        return text(items)
    return "".join(_rich_item(item) for item in items)


def _rich_item(item: object) -> str:
    if not isinstance(item, dict):
        return text(item)
    # Inside a quote the same items are spelled msgType and content.
    return text(item.get("text")) or (
        text(item.get("content")) if item.get("msgType") == "text" else ""
    )


def _of_content(content: object) -> str:
    fields = json_object(content)
    if not fields:
        return ""
    return next((words for name in _WORDS if (words := text(fields.get(name)))), "")
