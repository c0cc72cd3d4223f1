"""A message's story with its times, for ``celery -A worker trace``."""

from datetime import datetime, timedelta
from typing import Any

from worker.commands.telling import AT_WORK, WAITING, in_words
from worker.commands.words import table
from worker.outcome import FinalState
from worker.store import Step, Story

__all__ = ["Timeline"]

_HEAD = ("TIME (UTC)", "+SECONDS", "SPARE", "WHAT")
_FINAL = ("done", "missed")


class Timeline:
    """One story, with the time since the message was received and until its deadline."""

    def __init__(self, story: Story, *, now: datetime, lease_s: float) -> None:
        """Prepare.

        Args:
            story: From the store.
            now: Our clock.
            lease_s: How long a dead worker's message waits.
        """
        self._story, self._now, self._lease_s = story, now, lease_s
        self._steps = story.steps
        self._first: dict[str, Any] = next(
            (s.facts for s in self._steps if s.name == "received"), {}
        )
        self._start = next((s.at for s in self._steps if s.at is not None), None)
        self._deadline = _deadline(self._first)

    @property
    def bot(self) -> str | None:
        """To which bot it was written; None when its story does not tell."""
        return self._first.get("bot")

    def lines(self) -> list[str]:
        """Return the whole of it for people."""
        rows = [
            (_time(step.at), _number(self._since_s(step)), _number(self._spare_s(step)), words)
            for step, words in zip(self._steps, self._words(), strict=True)
        ]
        return [*self._head(), "", *table(_HEAD, rows), "", self._end()]

    def facts(self) -> dict[str, Any]:
        """Return the whole of it for machines."""
        steps = [
            {
                "step": step.name,
                "at": step.at and step.at.isoformat(timespec="milliseconds"),
                "since_received_s": self._since_s(step),
                "spare_s": self._spare_s(step),
                "what": words,
                "facts": step.facts,
            }
            for step, words in zip(self._steps, self._words(), strict=True)
        ]
        first = {
            name: self._first.get(name)
            for name in ("conversation_id", "conversation", "sender_staff_id", "kind")
        }
        return {**self.summary(), **first, "now": self._doing(), "steps": steps}

    def summary(self) -> dict[str, Any]:
        """Return what a list of messages shows of this one, for machines."""
        return {
            "task_id": self._story.task_id,
            "message_id": self._first.get("message_id"),
            "bot": self.bot,
            "received_at": self._start and self._start.isoformat(timespec="milliseconds"),
            "state": self._state(),
            "outcome": self._story.outcome,
            "reason": self._reason(),
            "owner": self._story.owner,
            "total_s": self._total_s(),
        }

    def _state(self) -> str:
        """Return the store's state, where a missed reply that was sent after all stays missed."""
        is_missed = self._story.outcome in (None, FinalState.FLAGGED, FinalState.FAILURE)
        return "sent" if self._story.state == "missed" and not is_missed else self._story.state

    def row(self) -> tuple[str, ...]:
        """Return what a list of messages shows of this one, for people."""
        return (
            _time(self._start),
            str(self._first.get("message_id") or self._story.task_id),
            self._story.outcome or self._story.state,
            self._reason() or "-",
            _number(self._total_s()),
        )

    def _head(self) -> list[str]:
        first = self._first
        shown = {
            "message": first.get("message_id"),
            "task": self._story.task_id,
            "bot": self.bot,
            "conversation": " ".join(
                str(first[name]) for name in ("conversation_id", "conversation") if first.get(name)
            ),
            "sender": first.get("sender_staff_id"),
        }
        return [f"{name + ':':14}{value}" for name, value in shown.items() if value]

    def _end(self) -> str:
        doing = self._doing()
        if doing is not None:
            return f"now: {doing}"
        reason = f" ({self._reason()})" if self._reason() else ""
        more = ""
        is_open = self._story.outcome in (FinalState.FLAGGED, FinalState.FAILURE)
        if is_open and self._story.state == "missed":
            more = f": `celery -A worker late show {self._first.get('message_id', 'ID')}`"
        total = _number(self._total_s())
        return f"ended as {self._story.outcome}{reason}, {total} s after it was received{more}"

    def _doing(self) -> str | None:
        """Say what becomes of it now, since when and by whom; None when it has ended."""
        state, last = self._story.state, self._steps[-1] if self._steps else None
        if state in _FINAL:
            return None
        since, ago_s = "", 0.0
        if last is not None and last.at is not None:
            ago_s = max(0.0, (self._now - last.at).total_seconds())
            since = f", for {_number(ago_s)} s (since {_time(last.at)})"
        if state == "running":
            doing = AT_WORK.get(last.name if last else "", "worked on")
            # A story tells no heartbeats; within a lease even a dead process is no news.
            gone = self._if_gone() if ago_s > self._lease_s else ""
            return f"{doing} by {self._story.owner}{since}{gone}"
        if state == "parked":
            return f"waits for its turn in its conversation{since}"
        return f"{WAITING.get(last.name if last else '', 'waits for a worker')}{since}"

    def _if_gone(self) -> str:
        return (
            "; if that process died, another worker takes over within LEASE_S "
            f"({self._lease_s:g} s) of its end; if none does, no worker runs: "
            "`celery -A worker doctor`"
        )

    def _words(self) -> list[str]:
        """Return each step in words; some need to know those before them."""
        owner, parked_at, words = "", None, list[str]()
        for step in self._steps:
            text = in_words(step)
            if step.name == "taken" and parked_at is not None and step.at is not None:
                waited = _number((step.at - parked_at).total_seconds())
                text += f", after it waited {waited} s for its turn"
            if step.name == "taken_over" and owner:
                text += f": {owner} had it, and its lease had run out"
            if step.name == "given_back" and owner:
                text += f" by {owner}"
            if step.name in ("taken", "taken_over"):
                owner, parked_at = str(step.facts.get("owner", "")), None
            elif step.name == "parked":
                parked_at = step.at
            words.append(text)
        return words

    def _reason(self) -> str | None:
        reasons = [s.facts.get("reason") for s in self._steps if s.name == "finished"]
        return reasons[-1] if reasons else None

    def _since_s(self, step: Step) -> float | None:
        if step.at is None or self._start is None:
            return None
        return round((step.at - self._start).total_seconds(), 3)

    def _spare_s(self, step: Step) -> float | None:
        if step.at is None or self._deadline is None:
            return None
        return round((self._deadline - step.at).total_seconds(), 3)

    def _total_s(self) -> float | None:
        """Return how long it took, or has taken until now."""
        if self._story.state not in _FINAL:
            end: datetime | None = self._now
        else:
            end = self._steps[-1].at if self._steps else None
        if end is None or self._start is None:
            return None
        return round((end - self._start).total_seconds(), 3)


def _deadline(received: dict[str, Any]) -> datetime | None:
    """Return the deadline on our clock."""
    try:
        offset = timedelta(seconds=float(received.get("clock_offset_s") or 0))
        return datetime.fromisoformat(received["deadline"]) - offset
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _time(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def _number(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"
