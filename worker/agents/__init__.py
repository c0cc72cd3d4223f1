"""Agents: what one is, and those that come with the worker.

What an agent's author imports is named here; docs/agents.md tells the rest.
"""

from contract.content import Mention
from contract.pushes import CardAction, OrgEvent
from dingwire.errors import MediaError
from dingwire.replies import (
    ActionCard,
    Audio,
    Button,
    Card,
    FeedCard,
    FeedLink,
    File,
    Image,
    InvalidReplyError,
    Link,
    Markdown,
    Reply,
    Text,
    Video,
)
from worker.agents.attachments import Attachment
from worker.agents.base import Message, Quoted, Sender
from worker.agents.card_update import CardUpdate

__all__ = [
    "ActionCard",
    "Attachment",
    "Audio",
    "Button",
    "Card",
    "CardAction",
    "CardUpdate",
    "FeedCard",
    "FeedLink",
    "File",
    "Image",
    "InvalidReplyError",
    "Link",
    "Markdown",
    "MediaError",
    "Mention",
    "Message",
    "OrgEvent",
    "Quoted",
    "Reply",
    "Sender",
    "Text",
    "Video",
]
