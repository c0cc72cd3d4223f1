"""How the work on a message ended, in the words Flower, the store and the log share."""

import logging
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from worker.store.base import Reason, Step

__all__ = ["LEASE_LOST", "FinalState", "Outcome", "Told", "log_outcome"]

logger = logging.getLogger(__name__)

LEASE_LOST = "lease lost"  # the detail of work that another worker has taken over


class FinalState(StrEnum):
    """A task's last state in Flower."""

    SUCCESS = "SUCCESS"  # answered, or the agent chose silence
    FLAGGED = "FLAGGED"  # the reply missed its deadline and is kept
    DROPPED = "DROPPED"  # the reply missed its deadline and was dropped
    RESCUED = "RESCUED"  # answered by a proactive message instead of the webhook
    CANCELLED = "CANCELLED"  # stopped by the person, or merged into a later turn
    FAILURE = "FAILURE"  # agent or delivery failed for good; kept as a missed reply

    @classmethod
    def of(cls, recorded: str | None) -> "FinalState | None":
        """Return what a store has recorded; None for nothing, or a word of a later release."""
        return cls(recorded) if recorded in set(cls) else None


_ACTIONS = {
    FinalState.SUCCESS: "reply_posted",
    FinalState.FLAGGED: "reply_flagged",
    FinalState.DROPPED: "reply_dropped",
    FinalState.RESCUED: "reply_rescued",
    FinalState.CANCELLED: "reply_cancelled",
    FinalState.FAILURE: "reply_failed",
}


@dataclass(frozen=True)
class Outcome:
    """What a task reports.

    ``state`` is None when the message is not finished by this task: it is worked on elsewhere
    (``duplicate``), waits for its turn (``parked``), or will be tried again (``retry_in_s``), in
    the case of ``is_paced`` for the first time: DingTalk was not asked yet.
    """

    state: FinalState | None
    reason: Reason | None = None
    errcode: int | None = None
    detail: str = ""
    duplicate: bool = False
    parked: bool = False
    retry_in_s: float | None = None
    is_paced: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """The log's word for it."""
        if self.state is not None and not self.duplicate:
            return _ACTIONS[self.state]
        if self.parked:
            return "message_parked"
        return "duplicate_dropped" if self.duplicate else "reply_retried"

    @property
    def step(self) -> Step:
        """How the story goes on by it."""
        if self.is_paced:
            return Step("paced", self.summary())
        return Step("retried" if self.retry_in_s is not None else "finished", self.summary())

    def with_facts(self, **facts: Any) -> Self:
        """Return it with more facts, or others in place of those it has."""
        return replace(self, facts={**self.facts, **facts})

    def summary(self) -> dict[str, Any]:
        """Return what Flower shows as the result: facts and reasons, nothing anybody wrote."""
        shown: dict[str, Any] = {
            # Plain text: the repr of an enum's member is no sight for Flower.
            "state": self.state and self.state.value,
            "reason": self.reason and self.reason.value,
            "errcode": self.errcode,
            "detail": self.detail,
            "retry_in_s": self.retry_in_s,
            **self.facts,
        }
        return {k: v for k, v in shown.items() if v not in (None, "")}


@dataclass(frozen=True, repr=False)
class Told:
    """A summary as a task returns it.

    Celery shows a dict piece by piece, which takes longer than all else that it does when a task
    has ended, and what it does not know as ``repr`` does.
    """

    summary: dict[str, Any]

    def __repr__(self) -> str:
        return repr(self.summary)

    def __json__(self) -> dict[str, Any]:
        """Return what a result backend keeps; asked by kombu."""
        return self.summary


_LEVELS = {FinalState.FAILURE: logging.ERROR, FinalState.FLAGGED: logging.WARNING}


def log_outcome(outcome: Outcome, task_id: str, data: dict[str, Any]) -> None:
    """Say in one line how the work on a message ended; ``data`` is its envelope."""
    level = _LEVELS.get(outcome.state, logging.INFO) if outcome.state else logging.INFO
    if outcome.retry_in_s is not None:
        level = logging.WARNING
    logger.log(
        logging.INFO if outcome.duplicate else level,
        outcome.action.replace("_", " "),
        extra={
            "action": outcome.action,
            "message_id": data.get("message_id"),
            "conversation_id": data.get("conversation_id"),
            "task_id": task_id,
            **{k: v for k, v in outcome.summary().items() if k != "state"},
        },
    )
