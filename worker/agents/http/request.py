"""What the server is asked with: the body of the request, version 1.

A later release may add fields, so servers leave alone what they do not know; a changed meaning gets
a new ``version``. Field by field in docs/included-agents.md.
"""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from contract.content import Attachment as Code
from worker.agents.attachments import Attachment
from worker.agents.base import Message
from worker.agents.base import Quoted as QuotedMessage
from worker.agents.context import Context, Said

__all__ = ["VERSION", "Content", "Request", "request_of"]

VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Who(_Part):
    """Who wrote the message."""

    staff_id: str | None
    nick: str = Field(repr=False)
    sender_id: str
    is_admin: bool


class Where(_Part):
    """Where it was written."""

    kind: str = Field(description="private or group.")
    id: str
    title: str = Field(repr=False)


class Content(_Part):
    """What is in a file, or why it cannot be told."""

    data: str | None = Field(default=None, repr=False, description="Base64.")
    error: str | None = None


class AttachedFile(Content):
    """A picture, voice message, video or file."""

    kind: str
    name: str = Field(repr=False)
    size: int | None
    duration_ms: int | None
    media_type: str


class Quote(_Part):
    """The message that was quoted."""

    text: str = Field(repr=False)
    kind: str
    message_id: str
    sender_id: str
    sender_nick: str = Field(repr=False)
    is_from_bot: bool
    created_at: AwareDatetime | None
    attachments: tuple[AttachedFile, ...]


class Mentioned(_Part):
    """Somebody who was mentioned."""

    staff_id: str | None
    name: str = Field(repr=False)
    is_bot: bool


class Utterance(_Part):
    """Something that was said before."""

    role: str = Field(description="user or assistant.")
    text: str = Field(repr=False)
    sender_nick: str = Field(repr=False)
    sender_id: str
    at: AwareDatetime | None


class Request(_Part):
    """The whole of it."""

    version: int = VERSION
    message_id: str
    bot: str
    text: str = Field(repr=False)
    kind: str
    sender: Who
    conversation: Where
    quoted: Quote | None
    mentions: tuple[Mentioned, ...]
    attachments: tuple[AttachedFile, ...]
    history: tuple[Utterance, ...]
    is_delegated: bool
    raw: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="What came and is nowhere else in here; bounded by the listener.",
    )
    created_at: AwareDatetime | None
    deadline: AwareDatetime | None
    remaining_s: float | None = Field(description="None when there is no limit.")

    def to_wire(self) -> bytes:
        """Return the body: JSON in UTF-8."""
        whole = json.dumps(self.model_dump(mode="json"), ensure_ascii=False)
        return whole.encode("utf-8", "replace")  # people send halves of emoji


def request_of(
    message: Message, context: Context[Any], contents: Mapping[Code, Content]
) -> Request:
    """Return what the server is asked with.

    Args:
        message: From DingTalk.
        context: Of this run.
        contents: What is known of the files in it that are to go with it.
    """
    left_s = context.remaining_s()
    return Request(
        message_id=message.message_id,
        bot=message.bot,
        text=message.text,
        kind=message.kind,
        sender=Who(
            staff_id=message.sender_staff_id,
            nick=message.sender_nick,
            sender_id=message.sender_id,
            is_admin=message.sender_is_admin,
        ),
        conversation=Where(
            kind=message.conversation,
            id=message.conversation_id,
            title=message.conversation_title,
        ),
        quoted=_quote(message.quoted, contents) if message.quoted else None,
        mentions=tuple(
            Mentioned(staff_id=each.staff_id, name=each.name, is_bot=each.is_bot)
            for each in message.mentions
        ),
        attachments=_files(message.attachments, contents),
        history=tuple(map(_utterance, context.history)),
        is_delegated=message.is_delegated,
        raw=message.raw,
        created_at=message.created_at,
        deadline=message.deadline,
        remaining_s=round(left_s, 3) if isfinite(left_s) else None,
    )


def _quote(quoted: QuotedMessage, contents: Mapping[Code, Content]) -> Quote:
    return Quote(
        text=quoted.text,
        kind=quoted.kind,
        message_id=quoted.message_id,
        sender_id=quoted.sender_id,
        sender_nick=quoted.sender_nick,
        is_from_bot=quoted.is_from_bot,
        created_at=quoted.created_at,
        attachments=_files(quoted.attachments, contents),
    )


def _files(
    attachments: Sequence[Attachment], contents: Mapping[Code, Content]
) -> tuple[AttachedFile, ...]:
    return tuple(
        AttachedFile(
            kind=each.kind,
            name=each.name,
            size=each.size,
            duration_ms=each.duration_ms,
            media_type=each.media_type,
            **contents.get(each.code, Content()).model_dump(),
        )
        for each in attachments
    )


def _utterance(said: Said) -> Utterance:
    return Utterance(
        role=said.role,
        text=said.text,
        sender_nick=said.sender_nick,
        sender_id=said.sender_id,
        at=said.at,
    )
