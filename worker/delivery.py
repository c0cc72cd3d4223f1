"""Posts a kept answer to its session webhook, and decides what a failure means.

Called by ``worker/answering.py`` right after the agent, and again for every later attempt. It never
runs an agent.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
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
    WebhookUnreachableError,
)
from dingwire.replies import Reply, Text, with_note
from worker.backoff import delay_s
from worker.late import LateReplies
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.parts import parts_of
from worker.patience import PatientStore
from worker.store import Claimed, LeaseLostError, Reason, Step

__all__ = ["LATE_NOTE", "Delivery", "Webhook"]

logger = logging.getLogger(__name__)

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
        note = LATE_NOTE if timeliness is Timeliness.LATE else ""
        if claimed.in_doubt:
            _log_doubt(claimed, envelope, "its worker ended in the middle of a post")
        started = time.monotonic()
        with self._heartbeat.sending(claimed.lease):
            claimed, error = self.post(claimed, envelope, reply, note=note)
            if error is not None:
                return self._failed(error, claimed, envelope, reply)
            facts = {
                "outcome": timeliness.value,
                "attempts": claimed.attempts + 1,
                "parts": claimed.sent,
                "route": "webhook",
                "post_s": round(time.monotonic() - started, 3),
                "spare_s": self.spare_s(envelope),
            }
            outcome = Outcome(FinalState.SUCCESS, facts=facts)
            self._store.finish(claimed.lease, FinalState.SUCCESS, [outcome.step])
        return outcome

    def post(
        self, claimed: Claimed, envelope: Envelope, reply: Reply, *, note: str
    ) -> tuple[Claimed, WebhookError | None]:
        """Post the parts that have not arrived yet, in order.

        Called under :meth:`worker.leases.Heartbeat.sending`; the caller finishes the message.

        Args:
            claimed: Ours.
            envelope: Holds the webhook, of this message or of a later one.
            reply: The whole reply.
            note: Stands before the first part that is posted.

        Returns:
            How far it came, and what stopped it.

        Raises:
            LeaseLostError: This process is ending, and left the other parts to another one.
        """
        lease, url = claimed.lease, envelope.session_webhook or ""
        parts = parts_of(reply)
        self._sending(claimed, len(parts))
        for number in range(claimed.sent, len(parts)):
            part = with_note(parts[number], note)[0] if note else parts[number]
            uuid = lease.task_id if len(parts) == 1 else f"{lease.task_id}-{number + 1}"
            try:
                if not note and self._judge(envelope) is Timeliness.EXPIRED:
                    raise WebhookExpiredError(None)
                self._webhook.post(url, part, msg_uuid=uuid)
            except WebhookError as error:
                is_ambiguous = isinstance(error, WebhookUnreachableError) and error.ambiguous
                if is_ambiguous:
                    _log_doubt(claimed, envelope, str(error))
                return replace(claimed, in_doubt=claimed.in_doubt or is_ambiguous), error
            note = ""
            claimed = replace(claimed, sent=number + 1, in_doubt=False)
            if claimed.sent == len(parts):
                break
            if self._heartbeat.is_ending:
                back = [Step("given_back")]
                self._store.release(
                    lease, due_in_s=0, sent=claimed.sent, in_doubt=False, steps=back
                )
                raise LeaseLostError(lease.task_id)
            self._sending(claimed, len(parts))
        return claimed, None

    def _sending(self, claimed: Claimed, parts: int) -> None:
        facts = {"part": claimed.sent + 1, "of": parts, "route": "webhook"}
        steps = [Step("sending", facts)]
        self._store.sending(claimed.lease, sent=claimed.sent, steps=steps)

    def notify(self, envelope: Envelope, words: str) -> None:
        """Post ``words`` once; they are no answer, so a failure is logged and forgotten."""
        try:
            self._webhook.post(envelope.session_webhook or "", Text(content=words))
        except WebhookError as error:
            logger.warning(
                "a notice did not arrive: %s",
                error,
                extra={"action": "notice_failed", "message_id": envelope.message_id},
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
        again = Outcome(
            None,
            errcode=error.errcode,
            detail=str(error),
            retry_in_s=round(wait_s, 3),
            facts={"attempts": attempts},
        )
        self._store.release(
            claimed.lease,
            due_in_s=wait_s,
            attempts=attempts,
            sent=claimed.sent,
            in_doubt=claimed.in_doubt,
            steps=[again.step],
        )
        return again


def _log_doubt(claimed: Claimed, envelope: Envelope, why: str) -> None:
    """Count a post whose outcome cannot be known: it is made again, and may then be seen twice."""
    logger.warning(
        "a reply may have arrived, and is posted again",
        extra={
            "action": "reply_in_doubt",
            "message_id": envelope.message_id,
            "conversation_id": envelope.conversation_id,
            "task_id": claimed.lease.task_id,
            "reason": why,
        },
    )
