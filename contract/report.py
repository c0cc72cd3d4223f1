"""What listeners report to the workers, which record it: the listener never touches the store.

A :class:`Report` names messages that it took in and could not hand on (``listener/spool_file.py``
writes it), a :class:`ListenerStatus` says how it does (``listener/status.py``), a :class:`Denied`
whom it did not let in (``listener/notices.py``). All travel as a
``report`` task; ``worker/reports.py`` reads them with :func:`read_report`. They are told apart by
``kind``, which a loss report does not have: releases from before there were others read and write
it so.
"""

from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contract.envelope import Conversation

__all__ = ["Denied", "ListenerStatus", "LostMessage", "Report", "ReportError", "read_report"]


class ReportError(ValueError):
    """A task's argument is no report that this release knows; shows no values."""


class LostMessage(BaseModel):
    """Who waits for an answer, and where: not what was written, and no webhook."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    bot: str
    client_id: str = ""
    message_id: str
    conversation_id: str = ""
    conversation: Conversation = Conversation.PRIVATE
    sender_id: str = ""
    sender_staff_id: str | None = None
    received_at: AwareDatetime
    created_at: AwareDatetime | None = None
    clock_offset_s: float = 0.0


class _Reported(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels as the task's ``report`` argument."""
        return self.model_dump(mode="json")

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read what :meth:`to_wire` wrote.

        Raises:
            ReportError: It is no report.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            fields = ", ".join(
                f"{'.'.join(map(str, e['loc'])) or 'report'}: {e['msg']}"
                for e in error.errors(include_input=False, include_url=False)
            )
            raise ReportError(f"not a report: {fields}") from None


class Report(_Reported):
    """Messages lost for one reason; recording it twice changes nothing."""

    reason: Literal["spool_full"]
    messages: tuple[LostMessage, ...]


class ListenerStatus(_Reported):
    """How a listener does; the last one is what counts. No secret, and nothing anybody wrote.

    Ages and counts are since its start. ``spooled_messages`` and ``spooled_bytes`` are on its disk
    now. ``trouble`` says in one word why it is not connected, if it is not.
    """

    kind: Literal["listener_status"] = "listener_status"
    listener: str  # host:pid, the same as long as the process lives
    release: str
    bot: str
    started_at: AwareDatetime
    sent_at: AwareDatetime
    stopped: bool = False
    connections_wanted: int = 1
    connections_up: int = 0
    trouble: str | None = None
    reconnects: int = 0
    last_frame_age_s: float | None = None
    clock_offset_s: float | None = None
    frames: int = 0
    messages: int = 0
    group_messages: int = 0
    last_message_age_s: float | None = None
    denied: int = 0
    denied_in_groups: int = 0  # of those, by DINGTALK_ALLOWED_GROUPS
    denied_senders: int = 0
    last_denied_age_s: float | None = None
    allowed_users: int = 0
    allows_everybody: bool = False
    sealed: bool = False
    key: str | None = None  # the newest key's fingerprint
    spooled_messages: int = 0
    spooled_bytes: int = 0


class Denied(_Reported):
    """Somebody who may not talk to the bot, and is to be told so.

    ``envelope`` leads there and names who it is, sealed if there is a key; it holds nothing of what
    was written, of which ``written_in`` is the language (:data:`contract.written.WrittenIn`), as
    far as it shows.
    """

    kind: Literal["denied"] = "denied"
    reason: Literal["group", "sender"]
    envelope: dict[str, Any] = Field(repr=False)
    written_in: str = ""


def read_report(data: object) -> Report | ListenerStatus | Denied:
    """Read the ``report`` argument of a task, of whatever kind.

    Raises:
        ReportError: It is none, or of a kind that only a later release knows.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind is None:
        return Report.from_wire(data)
    if kind == "listener_status":
        return ListenerStatus.from_wire(data)
    if kind == "denied":
        return Denied.from_wire(data)
    raise ReportError("not a report: of a kind that this release does not know")
