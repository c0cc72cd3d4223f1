"""Frames and bot messages as DingTalk puts them on the wire.

Built from plain dicts on purpose: the simulator must be able to disagree with our models.
``stream`` sends what is made here.
"""

import itertools
import json
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dingwire.simulator.contents import Coded, Quote, body_of, with_quote
from dingwire.simulator.faults import Faults
from dingwire.simulator.records import BOT_TOPIC
from dingwire.simulator.samples import sample
from dingwire.simulator.world import BOT_ID, CORP_ID, Conversation, Person, bot_user_id

__all__ = [
    "BOT_TOPIC",
    "DELEGATE_TOPIC",
    "delegate",
    "frame",
    "message_data",
    "new_push_id",
    "opaque",
]

DELEGATE_TOPIC = "/v1.0/im/bot/messages/delegate"
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
    more: Mapping[str, str] | None = None,
) -> str:
    """One server frame as text.

    Args:
        kind: ``SYSTEM``, ``CALLBACK`` or ``EVENT``.
        topic: Routing key.
        push_id: The ``messageId`` header.
        now_ms: The ``time`` header; goes out as a string, as real frames have it.
        data: JSON text.
        connection_id: Left out, together with the app id, when ``None`` (disconnect).
        more: Further headers, as events have them.
    """
    headers = {
        "contentType": "application/json",
        "messageId": push_id,
        "time": str(now_ms),
        "topic": topic,
    }
    headers.update(more or {})
    if connection_id is not None:
        headers = {"appId": APP_ID, "connectionId": connection_id, **headers}
    frame = {"specVersion": "1.0", "type": kind, "headers": headers, "data": data}
    # Half an emoji, which no socket takes, as JSON has it.
    return json.dumps(frame, ensure_ascii=False).encode(errors="backslashreplace").decode()


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
    files: Sequence[Coded] = (),
    quote: Quote | None = None,
    mentions: Sequence[Person] = (),
    robots: Sequence[str] = (),
) -> dict[str, Any]:
    """The ``data`` of a bot message, without the robot code, which depends on who gets it.

    Args:
        text: What was written.
        kind: The wire's ``msgtype``.
        message_id: The wire's ``msgId``.
        sender: Who wrote it.
        conversation: Where.
        created_at_ms: When, in epoch ms.
        session_webhook: The bearer URL of the conversation.
        expires_at_ms: Its end, in epoch ms.
        faults: The payload switches are applied.
        files: What is sent along.
        quote: The message this one answers.
        mentions: People who are @-mentioned besides the bot.
        robots: Client ids of the bots that are, when they were named.
    """
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
        bots = [bot_user_id(each) for each in robots] or [BOT_ID]
        data["atUsers"] = [{"dingtalkId": each} for each in bots]
        data["atUsers"] += [
            {"dingtalkId": each.sender_id, "staffId": each.staff_id} for each in mentions
        ]
    shown = f" {_called_off(text, robots)}" if conversation.is_group else text
    member, body = body_of(kind, shown, list(files) or [Coded(sample(kind), "unknown")])
    data[member] = body if quote is None else with_quote(body, quote)
    if quote is not None:
        data["originalMsgId"] = quote.message_id
    if quote is not None and quote.process_query_key:
        data["originalProcessQueryKey"] = quote.process_query_key
    if kind == "unknownMsgType":
        data["ai_robot_sessionid"] = ""
    return _faulty(data, faults)


def delegate(data: dict[str, Any], host: Person, sender: Person) -> None:
    """Turn a bot message into one for a bot that stands in for ``host``, in place."""
    data.pop("sessionWebhook", None)
    data.pop("sessionWebhookExpiredTime", None)
    data["hostingContext"] = {"userId": host.staff_id, "nick": host.nick}
    data["conversationMsgContext"] = [
        {"readStatus": "1", "senderUserId": sender.staff_id, "sendTime": str(data["createAt"])}
    ]


def _called_off(text: str, robots: Sequence[str]) -> str:
    """The text without the mentions of bots, which DingTalk cuts out."""
    for robot in robots:
        text = re.sub(rf"@{re.escape(robot)}(?![\w-]) ?", "", text)
    return text


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
