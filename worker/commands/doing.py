"""What an operator's command did to each of several replies, told in lines or as JSON.

Behind ``celery -A worker late send``, ``rerun`` and ``discard``. A line is told as soon as it is
true; JSON at the end, also at an end before its time.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import click

from worker.commands.handling import NotDoneError
from worker.store import LeaseLostError, MissedReply, StoreError

__all__ = ["Doings", "Done"]


@dataclass(frozen=True)
class Done:
    """It was done to one.

    Attributes:
        outcome: In one word, for machines.
        words: The same for people.
        facts: More of it, for machines.
    """

    outcome: str
    words: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Doings:
    """All that one command does; the process ends with 1 if any of it failed."""

    def __init__(self, *, as_json: bool) -> None:
        """Prepare; with ``as_json`` stdout has one JSON list and nothing else."""
        self._as_json = as_json
        self._rows: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def told(cls, *, as_json: bool) -> Iterator[Self]:
        """Yield it; tell the JSON at the end, and end the process with 1 if something failed."""
        doings = cls(as_json=as_json)
        try:
            yield doings
        except BaseException:  # what was done until then was done
            doings._tell_if(as_json and bool(doings._rows))
            raise
        doings._tell_if(as_json)
        if doings.failed:
            sys.exit(1)

    @property
    def failed(self) -> int:
        """How many could not be done."""
        return sum(row["outcome"] == "failed" for row in self._rows)

    def to_each(self, ids: Sequence[str], act: Callable[[str], Done]) -> None:
        """Do it to each; one that fails does not keep the others."""
        for id_ in dict.fromkeys(ids):
            self._to(id_, id_, act)

    def to_missed(self, missed: MissedReply, act: Callable[[str], Done]) -> None:
        """Do it to one that was found by something else than its id."""
        # A task id is one message's alone; what people look for is the message id.
        self._to(missed.message_id, missed.task_id, act, task_id=missed.task_id)

    def skip(self, missed: Sequence[MissedReply], why: str) -> None:
        """Note that these were left as they are; lines do not tell it."""
        for each in missed:
            self._note(each.message_id, "skipped", why, task_id=each.task_id)

    def say(self, line: str) -> None:
        """Say it where people read, who are told in lines."""
        if not self._as_json:
            click.echo(line)

    def _to(self, shown: str, id_: str, act: Callable[[str], Done], **facts: Any) -> None:
        try:
            done = act(id_)
        except NotDoneError as error:
            why = str(error)
        except LeaseLostError:
            why = "somebody else took it meanwhile"
        except StoreError as error:
            why = f"cannot reach the store: {error}"
        else:
            self.say(f"{shown}: {done.words}")
            self._note(shown, done.outcome, None, **facts, **done.facts)
            return
        click.echo(f"{shown}: {why}", err=True)
        self._note(shown, "failed", why, **facts)

    def _tell_if(self, is_wanted: bool) -> None:
        if is_wanted:
            click.echo(json.dumps(self._rows, ensure_ascii=False, indent=2))

    def _note(self, shown: str, outcome: str, why: str | None, **facts: Any) -> None:
        self._rows.append({"id": shown, "outcome": outcome, "why": why, **facts})
