"""One chat message on its way from the listener to a worker.

The listener writes it (``listener/translate.py``), the broker carries it as the task's only
argument, the store keeps it until the message is finished.
"""

from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, Field, ValidationError

from contract.content import Attachment, Mention, Part, Quoted

__all__ = [
    "VERSION",
    "Conversation",
    "Earlier",
    "Envelope",
    "EnvelopeError",
    "UnsupportedVersionError",
]

VERSION = 1


class EnvelopeError(ValueError):
    """A task's argument is no envelope; the text names the fields, never their values."""


class UnsupportedVersionError(EnvelopeError):
    """The envelope was written by a newer release than this one."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version

    def __str__(self) -> str:
        return f"envelope version {self.version} is newer than {VERSION}: deploy workers first"


class Conversation(StrEnum):
    """Where a message was written."""

    PRIVATE = "private"
    GROUP = "group"


class Earlier(Part):
    """A message that became part of a later one's turn."""

    message_id: str
    text: str = Field(default="", repr=False)
    attachments: tuple[Attachment, ...] = Field(default=(), repr=False)
    quoted: Quoted | None = Field(default=None, repr=False)
    mentions: tuple[Mention, ...] = Field(default=(), repr=False)


class Envelope(Part):
    """A chat message, its reply address and its deadline.

    Frozen, JSON both ways. Fields that this version does not know survive a round trip, so an
    older worker may hand a newer listener's message on. Times are aware UTC. ``deadline``,
    ``webhook_expires_at`` and ``created_at`` are on DingTalk's clock; ``received_at``,
    ``spooled_at``, ``enqueued_at`` and ``promise_at`` are on the listener's, and
    ``clock_offset_s`` (DingTalk's minus the listener's) leads from one to the other.

    What a person wrote, the webhook, and fields that this version does not know are left out of
    ``repr``, as they must never reach a log, and are what ``contract/sealing.py`` seals.
    """

    version: int = VERSION
    bot: str = Field(description="The robot that was spoken to: robotCode, else the client id.")
    client_id: str = Field(
        default="", description="The app it came by; empty when an earlier release wrote it."
    )
    message_id: str = Field(description="The chat's msgId, the same over redeliveries.")
    push_id: str = Field(default="", description="The frame's messageId; new for each push.")
    conversation_id: str = Field(default="", description="conversationId (cid…).")
    conversation: Conversation = Conversation.PRIVATE
    conversation_title: str = Field(default="", repr=False)
    sender_id: str = Field(default="", description="Opaque senderId; not usable as a user id.")
    sender_staff_id: str | None = Field(
        default=None, description="User id inside the bot's organisation; absent for outsiders."
    )
    sender_nick: str = Field(default="", repr=False)
    kind: str = Field(default="text", description="DingTalk's msgtype, unknown ones included.")
    text: str = Field(default="", repr=False)
    attachments: tuple[Attachment, ...] = Field(default=(), repr=False)
    quoted: Quoted | None = Field(default=None, repr=False)
    mentions: tuple[Mention, ...] = Field(default=(), repr=False)
    raw: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="What the listener could not read, bounded."
    )
    error_code: int | None = Field(
        default=None, description="DingTalk's reason for a message without content."
    )
    is_delegated: bool = Field(
        default=False, description="Written to a person whom the bot stands in for."
    )
    sender_is_admin: bool = False
    previous_message_id: str | None = Field(
        default=None,
        description="The message before it in its turn, as the listener saw them come.",
    )
    earlier: tuple[Earlier, ...] = Field(
        default=(), description="Merged into this one's turn, oldest first; set by the store."
    )
    session_webhook: str | None = Field(default=None, repr=False)
    webhook_expires_at: AwareDatetime | None = None
    deadline: AwareDatetime | None = Field(
        default=None, description="Last moment to start a post; None when there is no webhook."
    )
    promise_at: AwareDatetime | None = Field(
        default=None, description="received_at + REPLY_WITHIN_S; None without that setting."
    )
    created_at: AwareDatetime | None = None
    received_at: AwareDatetime
    spooled_at: AwareDatetime | None = Field(
        default=None, description="When the listener's disk had it, if the broker was away."
    )
    enqueued_at: AwareDatetime | None = Field(
        default=None, description="When the listener began to publish it, the last time it did."
    )
    clock_offset_s: float = 0.0

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels as the task's ``envelope`` argument."""
        return self.model_dump(mode="json")

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read what :meth:`to_wire` wrote, in this or another release.

        Raises:
            UnsupportedVersionError: The envelope is of a later version.
            EnvelopeError: It is no envelope.
        """
        version = data.get("version", VERSION) if isinstance(data, dict) else VERSION
        if isinstance(version, int) and version > VERSION:
            raise UnsupportedVersionError(version)
        try:
            envelope = cls.model_validate(data)
        except ValidationError as error:
            fields = ", ".join(
                f"{'.'.join(map(str, e['loc'])) or 'envelope'}: {e['msg']}"
                for e in error.errors(include_input=False, include_url=False)
            )
            raise EnvelopeError(f"not an envelope: {fields}") from None
        if envelope.version > VERSION:  # spelled as text
            raise UnsupportedVersionError(envelope.version)
        return envelope
