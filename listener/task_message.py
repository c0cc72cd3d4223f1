"""A chat message as Celery's message protocol, version 2; used by ``listener/intake.py``.

Written here rather than by celery, which the listener does not load. A test compares it with what
celery writes, and others have a real worker read it.
"""

import os
import socket
from dataclasses import dataclass, field
from typing import Any

from contract.envelope import Envelope
from contract.routing import ANSWER, MESSAGES, safe_kwargsrepr, task_id

__all__ = ["TaskMessage", "answer_task"]


@dataclass(frozen=True)
class TaskMessage:
    """One task on its way to the broker; the body never shows in a ``repr``."""

    task_id: str
    queue: str
    headers: dict[str, Any]
    body: list[Any] = field(repr=False)


def answer_task(envelope: Envelope) -> TaskMessage:
    """Return the task that answers a message."""
    identity = task_id(envelope.bot, envelope.message_id)
    return TaskMessage(
        task_id=identity,
        queue=MESSAGES,
        headers=_headers(ANSWER, identity, safe_kwargsrepr(envelope.message_id)),
        body=[[], {"envelope": envelope.to_wire()}, _EMBED],
    )


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
