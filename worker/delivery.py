"""Posts a kept answer to its session webhook, and decides what a failure means.

Called by ``worker/answering.py`` right after the agent, and again for every later attempt. It never
runs an agent.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from contract.deadline import Timeliness, judge
from contract.envelope import Envelope
from dingwire.errors import (
    WebhookError,
    WebhookExpiredError,
    WebhookNotAllowedError,
    WebhookRefusedError,
    WebhookThrottledError,
)
from dingwire.replies import Reply, prefixed
from worker.backoff import delay_s
from worker.late import LateReplies
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.store import Claimed, Reason

__all__ = ["LATE_NOTE", "Delivery", "Webhook"]

_LAST_TRY_S = 2.0

LATE_NOTE = "抱歉让您久等了 · Sorry for the wait"


class Webhook(Protocol):
    """The part of :class:`dingwire.webhook.WebhookClient` a delivery needs."""

    def post(self, url: str, reply: Reply, *, msg_uuid: str | None = None) -> None:
        """Post, or raise a :class:`WebhookError`."""


class Delivery:
    """One attempt at a time; what is left to do stands in the store."""

    def __init__(
        self,
        store: PatientStore,
        *,
        webhook: Webhook,
        late: LateReplies,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._webhook = webhook
        self._late = late
        self._heartbeat = heartbeat
        self._clock = clock

    def deliver(
        self,
        claimed: Claimed,
        envelope: Envelope,
        reply: Reply,
        *,
        if_expired: Reason = Reason.EXPIRED_AT_SEND,
    ) -> Outcome:
        """Try once to post ``reply``.

        Args:
            claimed: Ours, with the answer kept; finished or released by this.
            envelope: Holds the route and the deadline.
            reply: The kept answer.
            if_expired: The reason, should the deadline be over before anything is posted.

        Raises:
            LeaseLostError: This process is ending, or another one has the message.
        """
        if envelope.session_webhook is None:
            return self._late.apply(claimed, envelope, Reason.NO_ROUTE, reply=reply)
        timeliness = self._judge(envelope)
        if timeliness is Timeliness.EXPIRED:
            return self._late.apply(claimed, envelope, if_expired, reply=reply)
        shown = prefixed(reply, LATE_NOTE) if timeliness is Timeliness.LATE else reply
        with self._heartbeat.sending(claimed.lease):
            try:
                self._webhook.post(envelope.session_webhook, shown, msg_uuid=claimed.lease.task_id)
            except WebhookError as error:
                return self._failed(error, claimed, envelope, reply)
            self._store.finish(claimed.lease, FinalState.SUCCESS)
        return Outcome(
            FinalState.SUCCESS,
            facts={
                "outcome": timeliness.value,
                "attempts": claimed.attempts + 1,
                "spare_s": self.spare_s(envelope),
            },
        )

    def spare_s(self, envelope: Envelope) -> float | None:
        """Seconds left until the deadline; negative after it, None without one."""
        if envelope.deadline is None:
            return None
        now = self._clock() + timedelta(seconds=envelope.clock_offset_s)
        return round((envelope.deadline - now).total_seconds(), 3)

    def _judge(self, envelope: Envelope) -> Timeliness:
        return judge(
            self._clock(),
            deadline=envelope.deadline,
            promise_at=envelope.promise_at,
            clock_offset=timedelta(seconds=envelope.clock_offset_s),
        )

    def _failed(
        self, error: WebhookError, claimed: Claimed, envelope: Envelope, reply: Reply
    ) -> Outcome:
        errcode = error.errcode
        if isinstance(error, WebhookExpiredError):
            return self._late.apply(
                claimed, envelope, Reason.EXPIRED_AT_SEND, reply=reply, errcode=errcode
            )
        if isinstance(error, WebhookNotAllowedError | WebhookRefusedError):
            is_foreign = isinstance(error, WebhookNotAllowedError)
            return self._late.keep(
                claimed,
                Reason.WEBHOOK_NOT_ALLOWED if is_foreign else Reason.REJECTED_BY_DINGTALK,
                state=FinalState.FAILURE,
                errcode=errcode,
                detail=str(error),
            )
        return self._again(error, claimed, envelope, reply)

    def _again(
        self, error: WebhookError, claimed: Claimed, envelope: Envelope, reply: Reply
    ) -> Outcome:
        wait_s = delay_s(claimed.attempts)
        spare_s = self.spare_s(envelope)
        reason = Reason.EXPIRED_AT_SEND
        if isinstance(error, WebhookThrottledError):
            reason = Reason.THROTTLED
            wait_s = max(wait_s, error.retry_after_s)
        elif spare_s is not None and spare_s >= _LAST_TRY_S:
            wait_s = min(wait_s, spare_s / 2)  # to try until the end
        if spare_s is not None and wait_s >= spare_s:
            return self._late.apply(
                claimed, envelope, reason, reply=reply, errcode=error.errcode, detail=str(error)
            )
        attempts = claimed.attempts + 1
        self._store.release(claimed.lease, due_in_s=wait_s, attempts=attempts)
        return Outcome(
            None,
            errcode=error.errcode,
            detail=str(error),
            retry_in_s=round(wait_s, 3),
            facts={"attempts": attempts},
        )
