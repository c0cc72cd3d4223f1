"""What a payload holds beside the fields we read, so that nothing is lost to an agent.

``dingwire/messages.py`` calls it. Bounded, as it travels with the message, and without anything
that could be a webhook.
"""

import json
from typing import Any

from dingwire.values import plain, text

__all__ = ["MAX_BYTES", "unread"]

MAX_BYTES = 16 * 1024

_READ = frozenset(
    {
        "msgtype", "msgId", "conversationId", "conversationType", "conversationTitle", "createAt",
        "senderId", "senderStaffId", "senderNick", "robotCode", "isInAtList", "isAdmin",
        "chatbotUserId", "atUsers", "text", "content", "errorCode", "errCode", "errorMessage",
        "errMsg", "originalMsgId", "originalProcessQueryKey", "quoteMessage",
    }
)  # fmt: skip


def unread(payload: dict[str, Any], content: object) -> dict[str, Any]:
    """Return the members nobody reads, and of the content what was not understood.

    The small ones first; what makes it longer than :data:`MAX_BYTES` is left out.
    """
    left = {text(n): v for n, v in payload.items() if n not in _READ and "webhook" not in n.lower()}
    if content:
        left["content"] = content
    sized = []
    for name, value in left.items():
        kept = plain(value)
        sized.append((len(json.dumps({name: kept})), name, kept))
    room, result = MAX_BYTES, dict[str, Any]()
    for size, name, kept in sorted(sized, key=lambda each: each[:2]):
        room -= size
        if room < 0:
            break
        result[name] = kept
    return result
