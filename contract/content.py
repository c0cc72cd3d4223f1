"""What a message holds beside its words; parts of an ``Envelope``.

Written by ``listener/translate.py``, read by the worker. Nobody downloads anything before an agent
asks: what travels are codes. A later release may add fields, and values of ``kind``.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["Attachment", "Mention", "Part", "Quoted"]


class Part(BaseModel):
    """A part of an envelope; fields that this version does not know survive a round trip."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Leave out what came beside the known fields."""
        return ((n, v) for n, v in super().__repr_args__() if n in type(self).model_fields)


class Attachment(Part):
    """A picture, voice message, video or file."""

    kind: str = Field(default="file", description="picture, audio, video or file.")
    download_code: str = Field(
        default="", repr=False, description="What DingTalk gives it out for; empty: nothing will."
    )
    name: str = Field(default="", repr=False)
    size: int | None = Field(default=None, description="Bytes; None when DingTalk did not tell.")
    duration_ms: int | None = None
    media_type: str = Field(default="", description="Such as video/mp4; empty when not told.")


class Quoted(Part):
    """The message that was quoted, as far as DingTalk tells; of a bot's card only that it was."""

    message_id: str = ""
    kind: str = "unknown"
    text: str = Field(default="", repr=False)
    attachments: tuple[Attachment, ...] = ()
    sender_id: str = ""
    sender_nick: str = Field(default="", repr=False)
    is_from_bot: bool = False
    created_at: AwareDatetime | None = None
    process_query_key: str = Field(
        default="", description="What DingTalk called a message of the bot when it was sent."
    )


class Mention(Part):
    """Somebody who was mentioned."""

    staff_id: str | None = Field(default=None, description="None for outsiders, and for bots.")
    dingtalk_id: str = ""
    name: str = Field(default="", repr=False, description="Only richText tells it.")
    is_bot: bool = Field(default=False, description="The bot that this message came to.")
