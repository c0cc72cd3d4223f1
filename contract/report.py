"""What a listener must have recorded: messages that it took in and could not hand on.

The listener writes it (``listener/spool_file.py``) and sends it as a ``report`` task, because it
never touches the store; ``worker/reports.py`` records it.
"""

from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from contract.envelope import Conversation

__all__ = ["LostMessage", "Report", "ReportError"]


class ReportError(ValueError):
    """A task's argument is no report that this release knows; shows no values."""


class LostMessage(BaseModel):
    """Who waits for an answer, and where: not what was written, and no webhook."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    bot: str
    message_id: str
    conversation_id: str = ""
    conversation: Conversation = Conversation.PRIVATE
    sender_id: str = ""
    sender_staff_id: str | None = None
    received_at: AwareDatetime
    created_at: AwareDatetime | None = None
    clock_offset_s: float = 0.0


class Report(BaseModel):
    """Messages lost for one reason; recording it twice changes nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    reason: Literal["spool_full"]
    messages: tuple[LostMessage, ...]

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
