"""Frames and bot messages as DingTalk puts them on the wire.

Built from plain dicts on purpose: the simulator must be able to disagree with our models.
``stream`` sends what is made here.
"""

import itertools
import json
import secrets
import uuid
from typing import Any

from dingwire.simulator.faults import Faults
from dingwire.simulator.world import BOT_ID, CORP_ID, Conversation, Person

__all__ = ["BOT_TOPIC", "frame", "message_data", "new_push_id", "opaque"]

BOT_TOPIC = "/v1.0/im/bot/messages/get"
APP_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "https://dingtalk.example/simulated-app"))

_counter = itertools.count(1)
_prefix = secrets.token_hex(4)


def new_push_id(now_ms: int) -> str:
    """A ``messageId`` header, unique in this process, looking like the real ones."""
    return f"{_prefix}_dba_{now_ms:x}_{next(_counter):x}"


def opaque() -> str:
    """What a ping carries and wants back."""
    return str(uuid.uuid4())


def frame(
    *,
    kind: str,
    topic: str,
    push_id: str,
    now_ms: int,
    data: str,
    connection_id: str | None,
) -> str:
    """One server frame as text.

    Args:
        kind: ``SYSTEM``, ``CALLBACK`` or ``EVENT``.
        topic: Routing key.
        push_id: The ``messageId`` header.
        now_ms: The ``time`` header; goes out as a string, as real frames have it.
        data: JSON text.
        connection_id: Left out, together with the app id, when ``None`` (disconnect).
    """
    headers = {
        "contentType": "application/json",
        "messageId": push_id,
        "time": str(now_ms),
        "topic": topic,
    }
    if connection_id is not None:
        headers = {"appId": APP_ID, "connectionId": connection_id, **headers}
    return json.dumps(
        {"specVersion": "1.0", "type": kind, "headers": headers, "data": data}, ensure_ascii=False
    )


def message_data(
    *,
    text: str,
    kind: str,
    message_id: str,
    sender: Person,
    conversation: Conversation,
    created_at_ms: int,
    session_webhook: str,
    expires_at_ms: int,
    faults: Faults,
) -> dict[str, Any]:
    """The ``data`` of a bot message, without the robot code, which depends on who gets it."""
    data: dict[str, Any] = {
        "conversationId": conversation.conversation_id,
        "chatbotCorpId": CORP_ID,
        "chatbotUserId": BOT_ID,
        "msgId": message_id,
        "senderNick": sender.nick,
        "isAdmin": False,
        "senderStaffId": sender.staff_id,
        "sessionWebhookExpiredTime": expires_at_ms,
        "createAt": created_at_ms,
        "senderCorpId": CORP_ID,
        "conversationType": "2" if conversation.is_group else "1",
        "senderId": sender.sender_id,
        "sessionWebhook": session_webhook,
        "senderPlatform": "Mac",
        "msgtype": kind,
    }
    if conversation.is_group:
        data["conversationTitle"] = conversation.name
        data["isInAtList"] = True
        data["atUsers"] = [{"dingtalkId": BOT_ID}]
    shown = f" {text}" if conversation.is_group else text
    if kind == "text":
        data["text"] = {"content": shown}
    else:
        data["content"] = _content(kind, shown)
    return _faulty(data, faults)


def _content(kind: str, text: str) -> dict[str, Any]:
    """The ``content`` of a message that is no plain text; ``text`` lands where it can."""
    code = secrets.token_urlsafe(24)
    match kind:
        case "richText":
            lines = text.split("\n")
            items = [{"text": line} for line in lines]
            return {"richText": [*items, {"type": "picture", "downloadCode": code}]}
        case "picture":
            return {"downloadCode": code, "pictureDownloadCode": code}
        case "audio":
            return {"duration": 4000, "downloadCode": code, "recognition": text}
        case "video":
            return {"duration": 4000, "videoType": "mp4", "downloadCode": code}
        case "file":
            return {
                "fileName": text or "a.pdf",
                "downloadCode": code,
                "spaceId": "1",
                "fileId": "2",
            }
        case "markdown":
            return {"text": text}
        case _:
            return {"unknownMsgType": text or "this kind of message is not supported"}


def _faulty(data: dict[str, Any], faults: Faults) -> dict[str, Any]:
    """The payload switches, applied in place."""
    if faults.strings_for_numbers:
        data["createAt"] = str(data["createAt"])
        data["sessionWebhookExpiredTime"] = str(data["sessionWebhookExpiredTime"])
    if faults.without_staff_id:
        data.pop("senderStaffId")
    if faults.without_text or faults.quota_used_up:
        data.pop("text", None)
        data.pop("content", None)
    if faults.quota_used_up:
        data["errorCode"] = "20001"
        data["errorMessage"] = "the monthly quota of Webhook and Stream calls is used up"
    if faults.extra_fields:
        data["ai_robot_sessionid"] = ""
        data["fieldOfTomorrow"] = {"nested": [1, "two", None]}
    return data
