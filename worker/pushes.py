"""Card buttons and events from their task to their end: claim, call the handler, finish.

``worker/tasks.py`` calls :meth:`PushWork.work`. A claim in the store decides that a copy runs
nothing twice and that a dead worker's is taken over, as it does for messages; but nobody waits for
a reply, so there is no deadline, no turn, and nothing that an operator could send after all: one
that fails ends as FAILURE and is not among the missed replies.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from contract.pushes import PUSHES, CardAction, OrgEvent, Push
from contract.sealing import Sealer, SealError
from dingwire.cards import Cards
from dingwire.errors import OpenApiError, OpenApiThrottledError
from worker.agents.card_update import CardUpdate, NotACardUpdateError, card_update_of
from worker.agents.runner import AgentCancelledError, AgentFailedError, AgentTimeoutError
from worker.bots import UnknownBotError
from worker.leases import Heartbeat
from worker.outcome import LEASE_LOST, FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.backoff import delay_s
from worker.store import Claimed, Finished, Held, LeaseLostError, Step

__all__ = ["PUSH_ACTIONS", "PushModel", "PushWork", "Runner", "pushed_in"]

logger = logging.getLogger(__name__)

PushModel = type[CardAction] | type[OrgEvent]

# A push that killed its worker this often is not tried again.
_MAX_TAKEOVERS = 3
_UPDATE_ATTEMPTS = 8
# How long, and how often, one of another bot, or sealed with a key that we lack, is left to workers
# that may know it.
_LEFT_TO_OTHERS_S, _LEFT_TO_OTHERS = 5.0, 24

_HANDLED = {CardAction: "card_action_handled", OrgEvent: "event_handled"}
_FAILED, _RETRIED = "push_failed", "push_retried"
PUSH_ACTIONS = frozenset({*_HANDLED.values(), _FAILED, _RETRIED})
"""The log's words for how the work on a push ended."""


class Runner(Protocol):
    """The part of :class:`worker.handlers.HandlerRunner` that is used here."""

    def run(self, push: Push, *, limit_s: float) -> Any:
        """Run the handler."""


def pushed_in(envelope: Mapping[str, Any]) -> tuple[PushModel, dict[str, Any]] | None:
    """Return which push a store's record holds, and the push itself; None of a chat message."""
    model = PUSHES.get(str(envelope.get("task")))
    push = envelope.get("push")
    return (model, push) if model is not None and isinstance(push, dict) else None


def _record(model: PushModel, push: dict[str, Any]) -> dict[str, Any]:
    """Return what the store keeps: no chat message to any release, as it was received never."""
    id_ = push.get("event_id") if model is OrgEvent else push.get("push_id")
    return {"bot": push.get("bot", ""), "message_id": id_ or "", "task": model.task, "push": push}


class PushWork:
    """Works on pushes; shared by all threads of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        runner_of: Callable[[str, str], Runner | None],
        cards_of: Callable[[Push], Cards | None],
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
        owner: str,
        lease_s: float,
        limit_s: Callable[[Push], float],
        sealer: Sealer,
        observe: Callable[[str, Outcome], object] = lambda kind, outcome: None,
    ) -> None:
        """Prepare.

        Args:
            store: What is remembered.
            runner_of: The handler for a task of this name, of the app with this client id; what has
                none is finished at once. Raises ``UnknownBotError`` for an app that is not ours.
            cards_of: The cards of the app a push came to; None without its credentials.
            heartbeat: Keeps leases alive.
            clock: Ours, aware UTC.
            owner: Names this process in logs.
            lease_s: Life of a lease without renewal.
            limit_s: Longest one call of a push's handler may take.
            sealer: Opens what listeners sealed, and seals card updates.
            observe: Counts how the work on a task of this name ended.
        """
        self._store, self._runner_of, self._cards_of = store, runner_of, cards_of
        self._heartbeat, self._clock, self._owner = heartbeat, clock, owner
        self._lease_s, self._limit_s = lease_s, limit_s
        self._sealer, self._observe = sealer, observe

    def work(self, model: PushModel, task_id: str, data: Any) -> Outcome:
        """Bring a push as far as it goes now.

        Args:
            model: What it is.
            task_id: From :func:`contract.routing.task_id`.
            data: The push as the task carried it.

        Raises:
            StoreUnavailableError: The process stops while the store is away; nothing was decided.
        """
        record = _record(model, data if isinstance(data, dict) else {})
        runner, unknown = self._find_runner(model, record["push"])
        claim = self._store.claim(
            task_id,
            owner=self._owner,
            lease_s=self._lease_s,
            # Without a handler it is kept by none; one that was, before, is finished.
            envelope=record if runner or unknown else None,
            steps=self._beginning(model, record),
        )
        outcome = self._claimed(model, claim, runner, unknown)
        if not outcome.duplicate:
            outcome = outcome.with_facts(**self._age(record["push"]))
        self._observe(model.task, outcome)
        _log(model, outcome, task_id, record)
        return outcome

    def _find_runner(
        self, model: PushModel, push: dict[str, Any]
    ) -> tuple[Runner | None, UnknownBotError | None]:
        try:
            return self._runner_of(model.task, str(push.get("client_id", ""))), None
        except UnknownBotError as error:
            return None, error

    def _claimed(
        self,
        model: PushModel,
        claim: Any,
        runner: Runner | None,
        unknown: UnknownBotError | None,
    ) -> Outcome:
        match claim:
            case Held():
                return Outcome(None, duplicate=True)
            case Finished(outcome=None) if runner is None:
                return _NO_HANDLER
            case Finished(outcome=recorded):
                return Outcome(FinalState.of(recorded), duplicate=True)
        assert isinstance(claim, Claimed)  # noqa: S101, nothing here waits for a turn
        try:
            with self._heartbeat.holding(claim.lease):
                if unknown is not None:
                    return self._leave(claim, str(unknown))
                if runner is None:
                    return self._finished(claim, _NO_HANDLER)
                return self._decide(model, claim, runner)
        except LeaseLostError:
            return Outcome(None, duplicate=True, detail=LEASE_LOST)
        except AgentCancelledError:
            return Outcome(None, duplicate=True, detail="left to another worker")

    def _decide(self, model: PushModel, claim: Claimed, runner: Runner) -> Outcome:
        try:
            kept = self._sealer.unseal_text(claim.answer) if claim.answer else None
            push = model.from_wire(self._sealer.unseal(claim.envelope.get("push", {})))
            update = None if kept is None else CardUpdate.from_json(kept)
        except SealError as error:
            return self._leave(claim, str(error))
        except ValueError as error:  # a PushError, or what a later release has kept
            return self._failed(claim, str(error))
        if update is not None:  # the handler has run
            return self._update(claim, push, update)
        if claim.takeovers >= _MAX_TAKEOVERS:
            return self._failed(claim, f"its worker died {claim.takeovers} times")
        return self._handle(claim, push, runner)

    def _leave(self, claim: Claimed, detail: str) -> Outcome:
        """Leave what is another bot's, or what we have no key for, to others for a while."""
        if claim.attempts >= _LEFT_TO_OTHERS:
            return self._failed(claim, detail)
        return self._again(claim, detail, _LEFT_TO_OTHERS_S)

    def _handle(self, claim: Claimed, push: Push, runner: Runner) -> Outcome:
        started, limit_s = time.monotonic(), self._limit_s(push)
        try:
            result = runner.run(push, limit_s=limit_s)
            update = card_update_of(result) if isinstance(push, CardAction) else None
        except AgentTimeoutError:
            handled = _handled(started, "timeout")
            detail = f"the handler did not return within {limit_s:g} s"
            return self._failed(claim, detail, handled)
        except AgentFailedError as error:
            handled = _handled(started, "failed")
            self._say_failed(push, error.detail, error.frames)
            return self._failed(claim, error.detail, handled)
        except NotACardUpdateError as error:
            self._say_failed(push, str(error), "")
            return self._failed(claim, str(error), _handled(started, "failed"))
        handled = _handled(started, "returned")
        if update is None:
            done = Outcome(FinalState.SUCCESS, facts={"outcome": "handled", **_handler_s(handled)})
            return self._finished(claim, done, handled)
        # Kept before it is sent, so that no failure of DingTalk's runs the handler again.
        kept = self._sealer.seal_text(update.model_dump_json())
        self._store.keep_answer(claim.lease, kept, handled)
        # What was tried before, with another key, are no attempts of the update.
        outcome = self._update(replace(claim, attempts=0), push, update)
        return outcome.with_facts(**_handler_s(handled))

    def _update(self, claim: Claimed, push: Push, update: CardUpdate) -> Outcome:
        assert isinstance(push, CardAction)  # noqa: S101, of an event no update is kept
        cards = self._cards_of(push)
        if cards is None:
            detail = "a card update needs DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"
            return self._failed(claim, detail)
        private = {push.user_id: update.private_params} if update.private_params else {}
        with self._heartbeat.sending(claim.lease):
            try:
                cards.update(
                    push.out_track_id,
                    update.params,
                    private=private,
                    user_id_type=push.user_id_type,
                )
            except OpenApiError as error:
                return self._not_updated(claim, error)
            done = Outcome(FinalState.SUCCESS, facts={"outcome": "card updated"})
            return self._finished(claim, done)

    def _not_updated(self, claim: Claimed, error: OpenApiError) -> Outcome:
        # Setting the same values again does no harm, so one that may have arrived is tried again.
        if not error.retryable or claim.attempts >= _UPDATE_ATTEMPTS:
            return self._failed(claim, f"the card was not updated: {error}")
        wait_s = delay_s(claim.attempts)
        if isinstance(error, OpenApiThrottledError):
            wait_s = max(wait_s, error.retry_after_s)
        return self._again(claim, f"the card was not updated: {error}", wait_s)

    # Ends.

    def _finished(self, claim: Claimed, outcome: Outcome, steps: Sequence[Step] = ()) -> Outcome:
        assert outcome.state is not None  # noqa: S101, it is an end
        self._store.finish(claim.lease, outcome.state, [*steps, outcome.step], paced=False)
        return outcome

    def _failed(self, claim: Claimed, detail: str, steps: Sequence[Step] = ()) -> Outcome:
        facts = _handler_s(steps)
        return self._finished(claim, Outcome(FinalState.FAILURE, detail=detail, facts=facts), steps)

    def _again(self, claim: Claimed, detail: str, wait_s: float) -> Outcome:
        attempts = claim.attempts + 1
        facts = {"attempts": attempts}
        again = Outcome(None, detail=detail, retry_in_s=round(wait_s, 3), facts=facts)
        self._store.release(claim.lease, due_in_s=wait_s, attempts=attempts, steps=[again.step])
        return again

    # What is told.

    def _beginning(self, model: PushModel, record: dict[str, Any]) -> tuple[Step, ...]:
        facts = {"bot": record["bot"], "message_id": record["message_id"]}
        facts["kind"] = " ".join(filter(None, (model.argument, record["push"].get("event_type"))))
        return (Step("received", facts, ago_s=self._age(record["push"]).get("age_s", 0.0)),)

    def _age(self, push: dict[str, Any]) -> dict[str, float]:
        try:
            age = self._clock() - datetime.fromisoformat(push["received_at"])
        except (KeyError, TypeError, ValueError):
            return {}
        return {"age_s": max(0.0, round(age.total_seconds(), 3))}

    def _say_failed(self, push: Push, detail: str, frames: str) -> None:
        logger.error(
            "handler failed: %s\n%s",
            detail,
            frames,
            extra={"action": "handler_failed", "task": push.task, "message_id": push.identity},
        )


_NO_HANDLER = Outcome(FinalState.SUCCESS, facts={"outcome": "no handler"})


def _handled(started: float, outcome: str) -> tuple[Step, ...]:
    facts = {"handler_s": round(time.monotonic() - started, 3), "outcome": outcome}
    return (Step("handler_ended", facts),)


def _handler_s(steps: Sequence[Step]) -> dict[str, Any]:
    found = [step.facts["handler_s"] for step in steps if step.name == "handler_ended"]
    return {"handler_s": found[-1]} if found else {}


def _log(model: PushModel, outcome: Outcome, task_id: str, record: dict[str, Any]) -> None:
    """Say in one line how it ended."""
    action, level = _HANDLED[model], logging.INFO
    if outcome.duplicate:
        action = "duplicate_dropped"
    elif outcome.retry_in_s is not None:
        action, level = _RETRIED, logging.WARNING
    elif outcome.state is FinalState.FAILURE:
        action, level = _FAILED, logging.ERROR
    elif outcome.facts.get("outcome") == "no handler":
        level = logging.DEBUG
    logger.log(
        level,
        action.replace("_", " "),
        extra={
            "action": action,
            "task": model.task,
            "message_id": record["message_id"],
            "task_id": task_id,
            **{k: v for k, v in outcome.summary().items() if k != "state"},
        },
    )
