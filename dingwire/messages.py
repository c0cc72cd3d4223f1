"""A chat message as a bot receives it, read so that no message is lost to a missing field.

The listener parses the payload of a ``BotPush`` with it and translates the result into an
envelope. What is known of the fields stands in docs/protocol.md, "Chat messages".
"""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from dingwire.content import AtUser, Content, Media, read_content
from dingwire.quotes import QuotedMessage, read_quote
from dingwire.unread import unread
from dingwire.values import json_object, moment, text, whole_number

__all__ = ["QUOTA_USED_UP", "BotMessage", "parse_bot_message"]

QUOTA_USED_UP = 20001  # the organisation's monthly quota; the message comes without its content


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
    media: tuple[Media, ...] = ()
    quoted: QuotedMessage | None = None
    mentioned: tuple[AtUser, ...] = Field(default=(), description="The bot included.")
    sender_is_admin: bool = False
    raw: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="What is not read; bounded, no webhook."
    )


def parse_bot_message(payload: dict[str, Any]) -> BotMessage:
    """Read the payload of a bot push; whatever is missing or odd becomes the field's default."""
    kind = text(payload.get("msgtype")) or ("text" if payload.get("text") else "unknown")
    is_in_at_list = payload.get("isInAtList") in (True, "true")
    content = read_content(
        kind,
        payload.get("text"),
        payload.get("content"),
        bot_id=text(payload.get("chatbotUserId")),
        is_mentioned=is_in_at_list,
    )
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
        text=content.text.strip(),
        session_webhook=text(payload.get("sessionWebhook")).strip() or None,
        webhook_expires_at=moment(payload.get("sessionWebhookExpiredTime")),
        created_at=moment(payload.get("createAt")),
        error_code=whole_number(_either(payload, "errorCode", "errCode")),
        error_message=text(_either(payload, "errorMessage", "errMsg")),
        is_in_at_list=is_in_at_list,
        media=tuple(content.media),
        quoted=read_quote(payload),
        mentioned=_mentioned(payload, content),
        sender_is_admin=payload.get("isAdmin") in (True, "true"),
        raw=unread(payload, content.unread),
    )


def _either(payload: dict[str, Any], *names: str) -> object:
    return next((payload[name] for name in names if payload.get(name) is not None), None)


def _mentioned(payload: dict[str, Any], content: Content) -> tuple[AtUser, ...]:
    """Return who is in ``atUsers``, by the names that only the items of a richText tell."""
    bot_id, users = text(payload.get("chatbotUserId")), payload.get("atUsers")
    named, others = dict[str, AtUser](), list[AtUser]()
    for each in content.mentioned:
        identity = each.staff_id or each.dingtalk_id or (bot_id if each.is_bot else "")
        if identity:
            named[identity] = each
        else:  # a name alone is nobody's in the list
            others.append(each)
    found = list[AtUser]()
    for user in users if isinstance(users, list) else ():
        fields = json_object(user)
        staff_id, dingtalk_id = text(fields.get("staffId")).strip(), text(fields.get("dingtalkId"))
        if not (staff_id or dingtalk_id):
            continue
        item = named.pop(staff_id, None) or named.pop(dingtalk_id, None)
        found.append(
            AtUser(
                staff_id=staff_id or None,
                dingtalk_id=dingtalk_id,
                name=item.name if item else "",
                is_bot=bool(bot_id) and dingtalk_id == bot_id,
            )
        )
    return (*found, *named.values(), *others)
