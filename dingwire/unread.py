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
    kept = {name: plain(value) for name, value in left.items()}
    if len(json.dumps(kept)) <= MAX_BYTES:  # as long as its members one by one
        return kept
    sized = [(len(json.dumps({name: value})), name) for name, value in kept.items()]
    room, result = MAX_BYTES, dict[str, Any]()
    for size, name in sorted(sized):
        room -= size
        if room < 0:
            break
        result[name] = kept[name]
    return result
