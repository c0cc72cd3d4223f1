"""What goes on the broker, as Celery's message protocol, version 2.

Chat messages (``listener/intake.py``), card buttons and events (``listener/pushes.py``), reports.

Written here rather than by celery, which the listener does not load. A test compares it with what
celery writes, and others have a real worker read it.
"""

import json
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
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


_STAMPED = {"spooled_at", "enqueued_at"}
_ENVELOPE = "envelope"
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_EMBED_JSON = json.dumps(_EMBED)


@dataclass(slots=True)
class TaskMessage:
    """One task on its way to the broker; what it carries never shows in a ``repr``.

    Held as the JSON text that goes out, written once: while many wait, that is a fraction of the
    objects it stands for.

    Args:
        task_id: Also its correlation id.
        queue: Where to.
        name: The task's.
        shown: What Flower, events and logs may see of its arguments.
        argument: The name of its only argument.
        value: That argument, a JSON object, without the two times.
        spooled_at: When the disk had it, as it stands in an envelope; None: never.
        enqueued_at: When it was published, or is being.
    """

    task_id: str
    queue: str
    name: str
    shown: str
    argument: str
    value: str = field(repr=False)
    spooled_at: str | None = None
    enqueued_at: str | None = None

    @property
    def headers(self) -> dict[str, Any]:
        """The headers of the message."""
        return {
            **_common_headers(),
            "task": self.name,
            "id": self.task_id,
            "root_id": self.task_id,
            "kwargsrepr": self.shown,
        }

    @property
    def body_json(self) -> str:
        """The body of the message, written down."""
        value = self.value
        if self.is_message:
            spooled_at, enqueued_at = _time(self.spooled_at), _time(self.enqueued_at)
            value = f'{value[:-1]}, "spooled_at": {spooled_at}, "enqueued_at": {enqueued_at}}}'
        return f'[[], {{"{self.argument}": {value}}}, {_EMBED_JSON}]'

    @property
    def body(self) -> list[Any]:
        """The body of the message, read from its text."""
        body: list[Any] = json.loads(self.body_json)
        return body

    @property
    def is_message(self) -> bool:
        """Whether it carries an envelope."""
        return self.argument == _ENVELOPE

    @property
    def envelope(self) -> dict[str, Any]:
        """The envelope in it; empty when it carries none."""
        return self.body[1][_ENVELOPE] if self.is_message else {}

    @property
    def size(self) -> int:
        """Roughly its bytes."""
        return 1000 + len(self.value)

    def stamp(self, name: Literal["spooled_at", "enqueued_at"], at: datetime | None) -> None:
        """Write a time into the envelope, where these two are in clear; only a message has one."""
        setattr(self, name, at and at.isoformat())

    def to_json(self) -> str:
        """Write it down, for the disk."""
        known = json.dumps([self.task_id, self.queue, self.headers])
        return f"{known[:-1]}, {self.body_json}]"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote, in this or another release."""
        task_id, queue, headers, (_, arguments, _) = json.loads(text)
        [(argument, value)] = arguments.items()
        times = {name: value.pop(name, None) for name in _STAMPED if argument == _ENVELOPE}
        return cls(
            task_id=task_id,
            queue=queue,
            name=headers["task"],
            shown=headers["kwargsrepr"],
            argument=argument,
            value=json.dumps(value),
            **times,
        )


def _time(at: str | None) -> str:
    return f'"{at}"' if at else "null"


def answer_task(envelope: Envelope, sealer: Sealer = IN_CLEAR) -> TaskMessage:
    """Return the task that answers a message, sealed if there is a key."""
    return _message_task(ANSWER, MESSAGES, envelope, sealer)


def command_task(envelope: Envelope, sealer: Sealer = IN_CLEAR) -> TaskMessage:
    """Return the task that obeys a command which overtakes; else as :func:`answer_task`."""
    return _message_task(COMMAND, COMMANDS, envelope, sealer)


def _message_task(task: str, queue: str, envelope: Envelope, sealer: Sealer) -> TaskMessage:
    value = None
    if not sealer.is_sealing:
        with suppress(ValueError):  # half a surrogate pair, which only JSON in ASCII can hold
            value = envelope.model_dump_json(exclude=_STAMPED)
    if value is None:
        value = json.dumps(sealer.seal(envelope.model_dump(mode="json", exclude=_STAMPED)))
    return TaskMessage(
        task_id=task_id(envelope.bot, envelope.message_id),
        queue=queue,
        name=task,
        shown=safe_kwargsrepr(envelope.message_id),
        argument=_ENVELOPE,
        value=value,
    )


def push_task(push: Push, sealer: Sealer = IN_CLEAR) -> TaskMessage:
    """Return the task that handles a card button or an event, sealed if there is a key."""
    return TaskMessage(
        task_id=task_id(push.bot, push.identity),
        queue=EVENTS,
        name=push.task,
        shown=safe_kwargsrepr(push.identity),
        argument=push.argument,
        value=json.dumps(sealer.seal(push.to_wire(), push.clear_fields())),
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
    return TaskMessage(
        task_id=str(uuid.uuid4()),
        queue=EVENTS,
        name=REPORT,
        shown=shown,
        argument="report",
        value=json.dumps(report.to_wire()),
    )


@cache
def _common_headers() -> dict[str, Any]:
    """Return what is the same in all tasks of this process."""
    return {
        "lang": "py",
        "task": None,
        "id": None,
        "root_id": None,
        "parent_id": None,
        "group": None,
        "group_index": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": None,
        "origin": f"{os.getpid()}@{socket.gethostname()}",
        # The worker's own settings decide.
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
