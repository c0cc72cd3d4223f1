"""One message from its task to its end: claim, think, keep, send, finish.

``worker/tasks.py`` calls :meth:`Answering.work` for ``answer`` and for ``deliver`` alike; what is
left to do, the store's record says: with a kept answer only delivery is left, so no failure of a
delivery ever runs the agent again.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from contract.deadline import Timeliness, judge
from contract.envelope import Envelope, EnvelopeError
from dingwire.errors import WebhookNotAllowedError
from dingwire.replies import from_agent_text, reply_from_json, reply_to_json
from worker.agents.base import Message
from worker.agents.runner import AgentCancelledError, AgentFailedError, AgentTimeoutError
from worker.delivery import Delivery
from worker.handover import Handover
from worker.late import LateReplies
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.store import Claimed, Finished, Held, LeaseLostError, Merged, Parked, Reason
from worker.turns import Turns

__all__ = ["CROWDED_NOTE", "Answering", "Runner", "Tell", "WebhookCheck"]

logger = logging.getLogger(__name__)

# A message that killed its worker this often is not tried again.
_MAX_TAKEOVERS = 3

CROWDED_NOTE = (
    "前面还有消息在处理，这一条没有排上队，请稍后再发 · "
    "Still busy with your earlier messages: please send this one again later"
)

Tell = Callable[[str, Outcome], None]
"""Makes the outcome of another task than the running one seen in Flower."""


class Runner(Protocol):
    """The part of :class:`worker.agents.runner.AgentRunner` that is used here."""

    def run(self, message: Message, *, limit_s: float) -> str | None:
        """Run the agent."""


class WebhookCheck(Protocol):
    """The part of :class:`dingwire.webhook.WebhookHosts` that is used here."""

    def check(self, url: str) -> None:
        """Raise :class:`WebhookNotAllowedError` for a webhook we must not post to."""


class Answering:
    """Works on messages; shared by all threads of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        runner: Runner,
        hosts: WebhookCheck,
        delivery: Delivery,
        late: LateReplies,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
        owner: str,
        lease_s: float,
        agent_timeout_s: float,
        turns: Turns,
        tell: Tell,
        handover: Handover | None,
    ) -> None:
        """Prepare; without ``handover`` kept answers stay with the operator."""
        self._store = store
        self._turns, self._tell, self._handover = turns, tell, handover
        self._runner = runner
        self._hosts = hosts
        self._delivery = delivery
        self._late = late
        self._heartbeat = heartbeat
        self._clock = clock
        self._owner = owner
        self._lease_s = lease_s
        self._agent_timeout_s = agent_timeout_s

    def work(self, task_id: str, data: dict[str, Any] | None) -> Outcome:
        """Bring a message as far as it goes now.

        Args:
            task_id: From :func:`contract.routing.task_id`.
            data: The envelope as the task carried it; None to go by what the store has kept.

        Raises:
            StoreUnavailableError: The process stops while the store is away; nothing was decided.
        """
        if data is not None and not isinstance(data, dict):
            data = {"not_an_envelope": data}  # kept as it came, and then told as what it is
        claim = self._store.claim(
            task_id,
            owner=self._owner,
            lease_s=self._lease_s,
            envelope=data,
            turn=self._turns.of(data),
        )
        if not isinstance(claim, Claimed):
            outcome = self._not_ours(claim)
            _log(outcome, task_id, data or {})
            return outcome
        try:
            with self._heartbeat.holding(claim.lease):
                outcome = self._decide(claim)
        except LeaseLostError:
            # Another worker took over while we were away; its result counts.
            outcome = Outcome(None, duplicate=True, detail="lease lost")
        except AgentCancelledError:
            outcome = Outcome(None, duplicate=True, detail="left to another worker")
        _log(outcome, task_id, claim.envelope)
        return outcome

    def _not_ours(self, claim: Held | Finished | Parked | Merged) -> Outcome:
        match claim:
            case Held():
                return Outcome(None, duplicate=True)
            case Finished(outcome=recorded):
                return Outcome(FinalState.of(recorded), duplicate=True)
            case Parked(next=next_):
                self._store.hand_over(next_)
                return Outcome(None, parked=True)
            case Merged(next=next_, messages=messages):
                self._store.hand_over(next_)
                outcome = Outcome(FinalState.CANCELLED, detail=f"merged into {next_.message_id}")
                for task_id, message_id in messages[1:]:
                    self._tell(task_id, outcome)
                    _log(outcome, task_id, {"message_id": message_id})
                return outcome

    def _decide(self, claim: Claimed) -> Outcome:
        try:
            envelope = Envelope.from_wire(claim.envelope)
        except EnvelopeError as error:
            return self._late.keep(
                claim, Reason.UNSUPPORTED_VERSION, state=FinalState.FAILURE, detail=str(error)
            )
        if claim.answer is None:
            outcome = self._think(claim, envelope)
        else:
            outcome = self._deliver_kept(claim, envelope, claim.answer)
        return _with(outcome, age_s=self._age_s(envelope))

    def _deliver_kept(self, claim: Claimed, envelope: Envelope, answer: str) -> Outcome:
        try:
            reply = reply_from_json(answer)
        except ValueError as error:  # kept by a later release
            return self._late.keep(
                claim, Reason.UNSUPPORTED_VERSION, state=FinalState.FAILURE, detail=str(error)
            )
        return self._delivery.deliver(claim, envelope, reply)

    def _think(self, claim: Claimed, envelope: Envelope) -> Outcome:
        refusal = self._refusal(claim, envelope)
        if refusal is not None:
            return refusal
        if self._handover is not None:
            self._handover.deliver(envelope)
        started = time.monotonic()
        try:
            text = self._runner.run(Message.of(envelope), limit_s=self._limit_s(envelope))
        except AgentTimeoutError:
            agent_s = round(time.monotonic() - started, 3)
            return _with(self._overran(claim, envelope), agent_s=agent_s)
        except AgentFailedError as error:
            return self._agent_failed(claim, envelope, error)
        agent_s = round(time.monotonic() - started, 3)
        if not text or not text.strip():
            self._store.finish(claim.lease, FinalState.SUCCESS)
            return Outcome(FinalState.SUCCESS, facts={"outcome": "silent", "agent_s": agent_s})
        reply = from_agent_text(text)
        self._store.keep_answer(claim.lease, reply_to_json(reply))
        outcome = self._delivery.deliver(claim, envelope, reply, if_expired=Reason.EXPIRED_RUNNING)
        return _with(outcome, agent_s=agent_s, text_chars=len(text))

    def _refusal(self, claim: Claimed, envelope: Envelope) -> Outcome | None:
        """Everything that makes running the agent a waste."""
        if claim.takeovers >= _MAX_TAKEOVERS:
            detail = f"its worker died {claim.takeovers} times"
            return self._late.keep(
                claim, Reason.AGENT_FAILED, state=FinalState.FAILURE, detail=detail
            )
        if envelope.session_webhook is not None:
            try:
                self._hosts.check(envelope.session_webhook)
            except WebhookNotAllowedError as error:
                return self._late.keep(
                    claim, Reason.WEBHOOK_NOT_ALLOWED, state=FinalState.FAILURE, detail=str(error)
                )
        if self._judge(envelope) is Timeliness.EXPIRED:
            return self._late.apply(claim, envelope, Reason.EXPIRED_IN_QUEUE)
        if claim.crowded:
            self._delivery.notify(envelope, CROWDED_NOTE)
            return self._late.apply(claim, envelope, Reason.TOO_MANY_WAITING)
        return None

    def _limit_s(self, envelope: Envelope) -> float:
        """A late answer is worth waiting for when it will be kept or rescued."""
        spare_s = self._delivery.spare_s(envelope)
        if spare_s is None or self._late.is_answer_wanted:
            return self._agent_timeout_s
        return min(self._agent_timeout_s, max(spare_s, 0.001))

    def _overran(self, claim: Claimed, envelope: Envelope) -> Outcome:
        if self._judge(envelope) is Timeliness.EXPIRED and not self._late.is_answer_wanted:
            return self._late.apply(claim, envelope, Reason.EXPIRED_RUNNING)
        return self._late.keep(
            claim,
            Reason.AGENT_TIMEOUT,
            state=FinalState.FAILURE,
            detail=f"no reply within {self._agent_timeout_s:g} s",
        )

    def _agent_failed(self, claim: Claimed, envelope: Envelope, error: AgentFailedError) -> Outcome:
        logger.error(
            "agent failed: %s\n%s",
            error.detail,
            error.frames,
            extra={"action": "agent_failed", "message_id": envelope.message_id},
        )
        return self._late.keep(
            claim, Reason.AGENT_FAILED, state=FinalState.FAILURE, detail=error.detail
        )

    def _judge(self, envelope: Envelope) -> Timeliness:
        offset = timedelta(seconds=envelope.clock_offset_s)
        return judge(self._clock(), deadline=envelope.deadline, clock_offset=offset)

    def _age_s(self, envelope: Envelope) -> float:
        return round((self._clock() - envelope.received_at).total_seconds(), 3)


def _with(outcome: Outcome, **facts: Any) -> Outcome:
    return replace(outcome, facts={**outcome.facts, **facts})


_LEVELS = {FinalState.FAILURE: logging.ERROR, FinalState.FLAGGED: logging.WARNING}


def _log(outcome: Outcome, task_id: str, data: dict[str, Any]) -> None:
    """Say in one line how it ended."""
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
