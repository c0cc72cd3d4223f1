"""What goes on the broker, as Celery's message protocol, version 2.

Chat messages (``listener/intake.py``), card buttons and events (``listener/pushes.py``), reports.

Written here rather than by celery, which the listener does not load. A test compares it with what
celery writes, and others have a real worker read it.
"""

import json
import os
import socket
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from contract.envelope import Envelope
from contract.pushes import Push
from contract.report import Denied, ListenerStatus, Report
from contract.routing import (
    ANSWER,
    COMMAND,
    COMMANDS,
    EVENTS,
    MESSAGES,
    REPORT,
    safe_kwargsrepr,
    task_id,
)
from contract.sealing import IN_CLEAR, Sealer

__all__ = [
    "TaskMessage",
    "answer_task",
    "command_task",
    "denied_task",
    "push_task",
    "report_task",
    "status_task",
]


@dataclass(frozen=True)
class TaskMessage:
    """One task on its way to the broker; the body never shows in a ``repr``."""

    task_id: str
    queue: str
    headers: dict[str, Any]
    body: list[Any] = field(repr=False)

    @property
    def envelope(self) -> dict[str, Any]:
        """The envelope in it; empty when it carries none."""
        envelope: dict[str, Any] = self.body[1].get("envelope", {})
        return envelope

    @property
    def size(self) -> int:
        """Roughly its bytes, without the cost of writing it down."""
        return 1000 + sum(map(_length, self.body[1].values()))

    def stamp(self, name: Literal["spooled_at", "enqueued_at"], at: datetime | None) -> None:
        """Write a time into the envelope, where these two are in clear; only a message has one."""
        if envelope := self.envelope:
            envelope[name] = at and at.isoformat()

    def to_json(self) -> str:
        """Write it down; ASCII, as what a person wrote may hold half a surrogate pair."""
        return json.dumps([self.task_id, self.queue, self.headers, self.body])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(*json.loads(text))


def answer_task(envelope: Envelope, sealer: Sealer = IN_CLEAR) -> TaskMessage:
    """Return the task that answers a message, sealed if there is a key."""
    return _message_task(ANSWER, MESSAGES, envelope, sealer)


def command_task(envelope: Envelope, sealer: Sealer = IN_CLEAR) -> TaskMessage:
    """Return the task that obeys a command which overtakes; else as :func:`answer_task`."""
    return _message_task(COMMAND, COMMANDS, envelope, sealer)


def _message_task(task: str, queue: str, envelope: Envelope, sealer: Sealer) -> TaskMessage:
    identity = task_id(envelope.bot, envelope.message_id)
    return TaskMessage(
        task_id=identity,
        queue=queue,
        headers=_headers(task, identity, safe_kwargsrepr(envelope.message_id)),
        body=[[], {"envelope": sealer.seal(envelope.to_wire())}, _EMBED],
    )


def push_task(push: Push, sealer: Sealer = IN_CLEAR) -> TaskMessage:
    """Return the task that handles a card button or an event, sealed if there is a key."""
    identity = task_id(push.bot, push.identity)
    sealed = sealer.seal(push.to_wire(), push.clear_fields())
    return TaskMessage(
        task_id=identity,
        queue=EVENTS,
        headers=_headers(push.task, identity, safe_kwargsrepr(push.identity)),
        body=[[], {push.argument: sealed}, _EMBED],
    )


def report_task(report: Report) -> TaskMessage:
    """Return the task that has lost messages recorded."""
    shown = {"reason": report.reason, "messages": len(report.messages)}
    return _report_task(report, repr(shown))


def status_task(status: ListenerStatus) -> TaskMessage:
    """Return the task that has the listener's state remembered."""
    return _report_task(status, repr({"listener": status.listener}))


def denied_task(denied: Denied) -> TaskMessage:
    """Return the task that has somebody told who was denied."""
    shown = {"message_id": denied.envelope.get("message_id"), "denied": denied.reason}
    return _report_task(denied, repr(shown))


def _report_task(report: Report | ListenerStatus | Denied, shown: str) -> TaskMessage:
    identity = str(uuid.uuid4())
    return TaskMessage(
        task_id=identity,
        queue=EVENTS,
        headers=_headers(REPORT, identity, shown),
        body=[[], {"report": report.to_wire()}, _EMBED],
    )


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(name) + _length(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(_length(inner) for inner in value)
    return 0


_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def _headers(task: str, identity: str, kwargsrepr: str) -> dict[str, Any]:
    return {
        "lang": "py",
        "task": task,
        "id": identity,
        "root_id": identity,
        "parent_id": None,
        "group": None,
        "group_index": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": kwargsrepr,
        "origin": f"{os.getpid()}@{socket.gethostname()}",
        # The worker's own settings decide.
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
