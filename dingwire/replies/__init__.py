"""A reply as DingTalk shows it, and its forms on the wire.

Agents return these, the store keeps them as JSON, ``webhook.py`` and ``openapi.py`` send them.
Limits and markup: docs/protocol.md, "Replies".
"""

from dingwire.replies.card import Card
from dingwire.replies.fields import (
    MAX_BODY_BYTES,
    MAX_MENTIONS,
    MAX_PROACTIVE_BYTES,
    NO_TITLE,
    TITLE_CHARS,
    InvalidReplyError,
)
from dingwire.replies.kept import Reply, replies_from_json, replies_to_json
from dingwire.replies.links import ActionCard, Button, FeedCard, FeedLink, Link
from dingwire.replies.markup import from_agent_text
from dingwire.replies.media import Audio, File, Image, Media, Video
from dingwire.replies.notes import with_note, words_of
from dingwire.replies.texts import Markdown, Text
from dingwire.replies.wire import proactive_message, webhook_body

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_MENTIONS",
    "MAX_PROACTIVE_BYTES",
    "NO_TITLE",
    "TITLE_CHARS",
    "ActionCard",
    "Audio",
    "Button",
    "Card",
    "FeedCard",
    "FeedLink",
    "File",
    "Image",
    "InvalidReplyError",
    "Link",
    "Markdown",
    "Media",
    "Reply",
    "Text",
    "Video",
    "from_agent_text",
    "proactive_message",
    "replies_from_json",
    "replies_to_json",
    "webhook_body",
    "with_note",
    "words_of",
]
