"""What became of one message, and who is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from dingwire.replies import Reply, words_of

__all__ = ["End", "Partner", "Said", "Told", "said_by"]


class End(StrEnum):
    """How it ended."""

    ANSWERED = "answered"
    SILENT = "silent"  # the agent chose to say nothing
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Said:
    """One message of the bot; ``kind`` is that of a reply, or DingTalk's word for it."""

    kind: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Told:
    """The end of one message; ``why`` says what went wrong, and is safe to show.

    ``usage`` has the tokens of each model that was used, as far as the agent told.
    """

    end: End
    said: Sequence[Said] = ()
    why: str = ""
    seconds: float = 0.0
    usage: Sequence[dict[str, Any]] = ()

    @property
    def is_well(self) -> bool:
        """Whether the bot did what it should."""
        return self.end in (End.ANSWERED, End.SILENT)

    def as_json(self, text: str) -> dict[str, Any]:
        """Return it for machines, with what was written."""
        return {
            "message": text,
            "outcome": self.end.value,
            "why": self.why or None,
            "replies": [{"kind": each.kind, "text": each.text} for each in self.said],
            "seconds": round(self.seconds, 3),
            "usage": list(self.usage),
        }


class Partner(Protocol):
    """Who is at the other end."""

    def ask(self, text: str, files: Sequence[Path]) -> Told:
        """Write one message; return when the bot is done with it.

        A KeyboardInterrupt while it waits stops the answer.
        """

    def close(self) -> None:
        """End what is kept for it."""


def said_by(reply: Reply) -> Said:
    """Return a reply as it is shown here: what can be read of it."""
    return Said(reply.kind, words_of(reply))
