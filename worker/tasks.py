"""The Celery tasks: thin, and silent about what they carry.

A task's story in Flower is told by the events it sends itself. ``Ignore`` then keeps Celery from
adding a SUCCESS, and acknowledges the message.
"""

import logging
import threading
import time
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError

from contract.routing import ANSWER, DELIVER, safe_kwargsrepr
from worker.celery import app
from worker.outcome import FinalState, Outcome
from worker.store import DueMessage, StoreUnavailableError
from worker.wiring import runtime

__all__ = ["answer", "deliver", "publish"]

logger = logging.getLogger(__name__)

_building = threading.Lock()


class _SafeTask(Task):  # type: ignore[type-arg]
    """A task whose arguments show nothing but a message id, however it is published."""

    abstract = True

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Publish with a representation that holds no webhook and no text."""
        message_id = (kwargs or {}).get("message_id") or (
            ((kwargs or {}).get("envelope") or {}).get("message_id", "")
        )
        safe = {"argsrepr": "()", "kwargsrepr": safe_kwargsrepr(message_id)}
        return super().apply_async(args, kwargs, **{**options, **safe})

    def retry(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: Celery would publish the arguments in clear. Retries go through the store."""
        raise TypeError("retries go through the store: release the lease with due_in_s")


def _work(task: Task, envelope: dict[str, Any] | None) -> dict[str, Any]:  # type: ignore[type-arg]
    started = time.monotonic()
    with _building:
        parts = runtime()
    try:
        outcome = parts.answering.work(str(task.request.id), envelope)
    except StoreUnavailableError as error:
        raise Reject(str(error), requeue=True) from None
    if outcome.state is FinalState.SUCCESS and not outcome.duplicate:
        return outcome.summary()
    _tell(task, outcome, runtime_s=time.monotonic() - started)
    raise Ignore


def _tell(task: Task, outcome: Outcome, *, runtime_s: float) -> None:  # type: ignore[type-arg]
    """Send the event that shows ``outcome`` in Flower."""
    summary = repr(outcome.summary())
    fields: dict[str, Any]
    if outcome.retry_in_s is not None:
        kind, fields = "task-retried", {"exception": summary}
    elif outcome.state is None:
        return  # another worker is at it, and tells how it ends
    elif outcome.state is FinalState.FAILURE:
        kind, fields = "task-failed", {"exception": summary}
    elif outcome.state is FinalState.SUCCESS:
        kind, fields = "task-succeeded", {"result": summary}
    else:
        kind, fields = f"task-{outcome.state.lower()}", {"result": summary}
    try:
        task.send_event(
            kind, retry_policy={"max_retries": 1}, runtime=round(runtime_s, 3), **fields
        )
    except (OperationalError, OSError) as error:
        logger.warning("Flower will not see a %s: %s", kind, type(error).__name__)


@app.task(name=ANSWER, base=_SafeTask, bind=True)
def answer(self: Task, *, envelope: dict[str, Any]) -> dict[str, Any]:  # type: ignore[type-arg]
    """Answer one chat message: claim, agent, first delivery attempt."""
    return _work(self, envelope)


@app.task(name=DELIVER, base=_SafeTask, bind=True)
def deliver(self: Task, *, message_id: str) -> dict[str, Any]:  # type: ignore[type-arg]
    """Try again to deliver an answer that exists; ``message_id`` is for people to see."""
    return _work(self, None)


def publish(message: DueMessage) -> None:
    """Publish what the store says is due, under the message's own task id."""
    if message.has_answer:
        kwargs: dict[str, Any] = {"message_id": message.message_id}
        deliver.apply_async(kwargs=kwargs, task_id=message.task_id)
    else:
        answer.apply_async(kwargs={"envelope": message.envelope}, task_id=message.task_id)
