"""The Celery tasks: thin, and silent about what they carry.

A task's story in Flower is told by the events it sends itself; Celery then adds no SUCCESS. Its own
way to that is ``Ignore``, whose traceback it writes down twice, which takes longer than it takes to
drop a copy of a finished message.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Reject
from celery.worker.request import Request
from kombu.exceptions import OperationalError

from contract.pushes import CardAction, OrgEvent
from contract.report import Denied, read_report
from contract.routing import (
    ANSWER,
    COMMAND,
    DELIVER,
    HANDLE_CARD_ACTION,
    HANDLE_EVENT,
    REPORT,
    TURNS,
    safe_kwargsrepr,
)
from contract.settings import Settings, SettingsError
from worker.agents.base import AgentLoadError
from worker.celery import app
from worker.outcome import FinalState, Outcome, Told
from worker.pushes import PushModel, pushed_in
from worker.reports import record
from worker.sending.late import FIRST_RESCUE
from worker.store import DueMessage, StoreError, StoreUnavailableError
from worker.telling import events, metrics
from worker.wiring import Runtime, begin, runtime

__all__ = [
    "SafeRequest",
    "answer",
    "command",
    "deliver",
    "handle_card_action",
    "handle_event",
    "pass_on",
    "prepare",
    "publish",
    "report",
    "tell_of_another",
]

logger = logging.getLogger(__name__)

_building = threading.Lock()
_BACK_AFTER_S = 5.0
# What a task returns whose end Flower has been told of, or is told of by another.
_HAS_TOLD = Told({"has_told": True})
_EVENTS = {FinalState.SUCCESS: "task-succeeded", FinalState.FAILURE: "task-failed"}


class _UnexpectedError(Exception):
    """A fault of ours: says where, but not its text, which may quote a message."""

    def __init__(self, error: Exception) -> None:
        frames = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
        super().__init__(f"unexpected {type(error).__name__}\n{frames}")


class SafeRequest(Request):
    """A task at work as remote control and Flower see it.

    Its body was parsed to find the arguments; the pool is given that, or would parse it once more.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        if not options.get("decoded"):
            self._body, self._decoded = message.payload, True
            self._content_type = self._content_encoding = None

    def info(self, safe: bool = False) -> Any:
        """Describe it without its arguments, however they are asked for."""
        return super().info(safe=True)

    def send_event(self, type: str, **fields: Any) -> None:
        """Send one, other than the success of a task that has told how it ended."""
        if type != "task-succeeded" or fields.get("result") != repr(_HAS_TOLD):
            super().send_event(type, **fields)


class _SafeTask(Task):  # type: ignore[type-arg]
    """A task whose arguments show nothing but a message id, however it is published."""

    abstract = True
    Request = "worker.tasks:SafeRequest"

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Publish with a representation that holds no webhook and no text."""
        safe = {"argsrepr": "()", "kwargsrepr": safe_kwargsrepr(_id_in(kwargs or {}))}
        return super().apply_async(args, kwargs, **{**options, **safe})

    def retry(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: Celery would publish the arguments in clear. Retries go through the store."""
        raise TypeError("retries go through the store: release the lease with due_in_s")


def _id_in(kwargs: dict[str, Any]) -> str:
    """Return what a task can be found by."""
    names = (("envelope", "message_id"), ("action", "push_id"), ("event", "event_id"))
    carried = (str((kwargs.get(name) or {}).get(id_) or "") for name, id_ in names)
    return kwargs.get("message_id") or next(filter(None, carried), "")


def _work(task: Task, envelope: dict[str, Any] | None) -> Told:  # type: ignore[type-arg]
    return _bring_on(task, lambda parts, id_: parts.answering.work(id_, envelope))


def _handle(task: Task, model: PushModel, push: Any) -> Told:  # type: ignore[type-arg]
    return _bring_on(task, lambda parts, id_: parts.pushes.work(model, id_, push))


def _bring_on(
    task: Task,  # type: ignore[type-arg]
    work: Callable[[Runtime, str], Outcome],
) -> Told:
    started = time.monotonic()
    try:
        outcome = work(_parts(task), str(task.request.id))
    except (StoreError, SettingsError, AgentLoadError) as error:
        _give_back(error)
    except Exception as error:  # noqa: BLE001, whatever it is, Celery would take the message for done
        _give_back(_UnexpectedError(error))
    if outcome.state is FinalState.SUCCESS and not outcome.duplicate:
        return Told(outcome.summary())
    _tell(task, outcome, runtime_s=time.monotonic() - started)
    return _HAS_TOLD


def prepare(hostname: str) -> None:
    """Build what this process works with, and start its agents.

    Args:
        hostname: In whose name Flower is told of other messages.

    Raises:
        AgentLoadError: An agent cannot be built, or its startup failed.
    """
    with _building:
        begin(publish=publish, tell=partial(tell_of_another, sender=hostname))


def _parts(task: Task) -> Runtime:  # type: ignore[type-arg]
    """Return what this process works with; what it tells of others is told in the worker's name."""
    with _building:
        tell = partial(tell_of_another, sender=task.request.hostname)
        return runtime(publish=publish, tell=tell)


def _give_back(error: Exception) -> NoReturn:
    """Return the message to its queue: nothing was decided, and another worker may be able to.

    Not at once, or a worker that is alone would take it again and again.
    """
    logger.error(
        "cannot work on a message, it goes back: %s", error, extra={"action": "message_requeued"}
    )
    if not isinstance(error, StoreUnavailableError):  # else: waited for already
        time.sleep(_BACK_AFTER_S)
    raise Reject(type(error).__name__, requeue=True) from None


def _tell(task: Task, outcome: Outcome, *, runtime_s: float) -> None:  # type: ignore[type-arg]
    """Send the event that shows ``outcome`` in Flower."""
    kind = _kind_of(outcome)
    if kind is None:
        return  # another worker is at it, or will be, and tells how it ends
    fields: dict[str, Any] = {}
    if not outcome.duplicate:  # whose first copy has told this
        fields = _shown(kind, outcome, runtime_s)
    if events.send(kind, uuid=str(task.request.id), **fields):
        return
    try:
        task.send_event(kind, retry_policy={"max_retries": 1}, **fields)
    except (OperationalError, OSError) as error:
        logger.warning("Flower will not see a %s: %s", kind, type(error).__name__)


def _kind_of(outcome: Outcome) -> str | None:
    if outcome.retry_in_s is not None:
        return "task-retried"
    state = outcome.state
    return None if state is None else _EVENTS.get(state, f"task-{state.lower()}")


def _shown(kind: str, outcome: Outcome, runtime_s: float) -> dict[str, Any]:
    summary = repr(outcome.summary())
    shown = {"result": summary, "runtime": round(runtime_s, 3)}
    if kind in {"task-retried", "task-failed"}:
        shown["exception"] = summary  # where Celery has it; Flower searches results alone
    return shown


def tell_of_another(
    task_id: str,
    *outcomes: Outcome,
    sender: str | None = None,
    message_id: str | None = None,
    name: str = ANSWER,
) -> None:
    """Show in Flower how a task fared that is not the one at work here.

    Args:
        task_id: Whose.
        outcomes: In their order.
        sender: Which node Flower names for it; None makes one up.
        message_id: Of a message that no task of Celery's has carried here, to be found by.
        name: The task that such a message came as.
    """
    if not app.conf.worker_send_task_events:
        return
    if message_id is None:
        told = [(kind, _shown(kind, each, 0)) for each in outcomes if (kind := _kind_of(each))]
        if all(events.send(kind, uuid=task_id, **fields) for kind, fields in told):
            return
    try:
        with app.events.default_dispatcher(hostname=sender) as dispatcher:
            if message_id is not None:
                shown = {"args": "()", "kwargs": safe_kwargsrepr(message_id), "retries": 0}
                dispatcher.send("task-received", uuid=task_id, name=name, **shown)
            for outcome in outcomes:
                if (kind := _kind_of(outcome)) is not None:
                    fields = _shown(kind, outcome, 0)
                    dispatcher.send(kind, uuid=task_id, retry_policy={"max_retries": 1}, **fields)
    except (OperationalError, OSError) as error:
        logger.warning("Flower will not see how a task fared: %s", type(error).__name__)


@app.task(name=ANSWER, base=_SafeTask, bind=True)
def answer(self: Task, *, envelope: dict[str, Any]) -> Told:  # type: ignore[type-arg]
    """Answer one chat message: claim, agent, first delivery attempt."""
    # Published by an earlier release, which takes all that is due for messages.
    if isinstance(envelope, dict) and (pushed := pushed_in(envelope)) is not None:
        return _handle(self, *pushed)
    return _work(self, envelope)


@app.task(name=COMMAND, base=_SafeTask, bind=True)
def command(self: Task, *, envelope: dict[str, Any]) -> Told:  # type: ignore[type-arg]
    """Obey a command, should one get into the pool; see ``worker/running/lane.py``."""
    return _work(self, envelope)


@app.task(name=DELIVER, base=_SafeTask, bind=True)
def deliver(self: Task, *, message_id: str) -> Told:  # type: ignore[type-arg]
    """Try again to deliver an answer that exists; ``message_id`` is for people to see."""
    return _work(self, None)


@app.task(name=HANDLE_CARD_ACTION, base=_SafeTask, bind=True)
def handle_card_action(self: Task, *, action: dict[str, Any]) -> Told:  # type: ignore[type-arg]
    """Have the user's handler act on a card's button, and update the card."""
    return _handle(self, CardAction, action)


@app.task(name=HANDLE_EVENT, base=_SafeTask, bind=True)
def handle_event(self: Task, *, event: dict[str, Any]) -> Told:  # type: ignore[type-arg]
    """Have the user's handler act on an event of the organisation."""
    return _handle(self, OrgEvent, event)


def publish(message: DueMessage) -> None:
    """Publish what the store says is due, under the message's own task id.

    Tried twice, as the first connection of the pool may be of a broker that was restarted.
    """
    options: dict[str, Any] = {
        "task_id": message.task_id,
        "retry_policy": {"max_retries": 1, "interval_start": 0},
    }
    if (pushed := pushed_in(message.envelope)) is not None:
        model, push = pushed
        app.tasks[model.task].apply_async(kwargs={model.argument: push}, **options)
    elif message.has_answer:
        retries = message.attempts % FIRST_RESCUE  # those of its webhook, or of its rescue
        kwargs = {"message_id": message.message_id}
        deliver.apply_async(kwargs=kwargs, retries=retries, **options)
    else:
        answer.apply_async(kwargs={"envelope": message.envelope}, queue=TURNS, **options)


def pass_on(task_id: str, envelope: dict[str, Any]) -> None:
    """Publish what came as a command, and is none, for its agent."""
    options: dict[str, Any] = {"retry_policy": {"max_retries": 1, "interval_start": 0}}
    answer.apply_async(kwargs={"envelope": envelope}, task_id=task_id, **options)


# Without events: one every 15 s from each listener would hide the messages in Flower.
@app.task(name=REPORT, base=_SafeTask, send_events=False, bind=True)
def report(self: Task, *, report: dict[str, Any]) -> dict[str, Any]:  # type: ignore[type-arg]
    """Record what a listener could not hand on, or how it does."""
    try:
        read, now = read_report(report), datetime.now(UTC)
        parts = _parts(self)
        if isinstance(read, Denied):
            return {"told": parts.denials.tell(read)}
        store, order = parts.store, Settings.load().order

        def show(task_id: str, message_id: str, outcome: Outcome) -> None:
            metrics.observe(outcome)
            sender = self.request.hostname
            tell_of_another(task_id, outcome, sender=sender, message_id=message_id)

        return {"recorded": record(store, read, order, now=now, show=show)}
    except (StoreError, SettingsError, AgentLoadError) as error:
        _give_back(error)
