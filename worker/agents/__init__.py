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
from worker.agents.agent_settings import AgentSettings
from worker.agents.attachments import Attachment
from worker.agents.base import Message, Quoted, Sender
from worker.agents.card_update import CardUpdate
from worker.agents.commands import Commands
from worker.agents.context import AgentError, Context, Retry, Said, Usage

__all__ = [
    "ActionCard",
    "AgentError",
    "AgentSettings",
    "Attachment",
    "Audio",
    "Button",
    "Card",
    "CardAction",
    "CardUpdate",
    "Commands",
    "Context",
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
    "Retry",
    "Said",
    "Sender",
    "Text",
    "Usage",
    "Video",
]
