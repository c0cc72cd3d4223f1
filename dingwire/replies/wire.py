"""A reply as it is posted to a session webhook, and as DingTalk's API sends it."""

import json
from typing import Any

from dingwire.replies.kept import Reply

__all__ = ["proactive_message", "webhook_body"]


def webhook_body(reply: Reply, *, msg_uuid: str | None = None) -> dict[str, Any]:
    """Return what is posted to a session webhook.

    Args:
        reply: What to say; of a kind that no webhook carries, what is closest to it.
        msg_uuid: The same value on every attempt lets DingTalk drop the second copy.
    """
    return reply.for_webhook() | ({"msgUuid": msg_uuid} if msg_uuid else {})


def proactive_message(reply: Reply) -> tuple[str, str]:
    """Return ``msgKey`` and ``msgParam`` (JSON text) of a message sent without being asked."""
    key, param = reply.proactively()
    return key, json.dumps(param, ensure_ascii=False)
