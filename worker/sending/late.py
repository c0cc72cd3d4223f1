"""What becomes of a reply that cannot go out by its webhook: dropped, flagged or rescued.

Called by ``worker/answering.py``, ``worker/asking.py`` and ``worker/sending/delivery.py``;
``LATE_POLICY`` decides.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from contract.envelope import Envelope
from dingwire.errors import OpenApiError, OpenApiThrottledError, OpenApiUnavailableError
from dingwire.replies import Reply
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.backoff import delay_s
from worker.sending.carrying import Carrier, Route
from worker.sending.pacing import paced_s
from worker.sending.parts import parts_of, uuid_of
from worker.store import Claimed, Reason, Step, Taken

__all__ = ["FIRST_RESCUE", "LateReplies", "log_doubt"]

logger = logging.getLogger(__name__)

_RESCUE_ATTEMPTS = 5
# A message's attempts are counted from here once it is being rescued: those that its webhook
# used up are not the rescue's. No webhook lives long enough for so many.
FIRST_RESCUE = 1000

# The route was refused rather than late: no policy makes these a success, but a rescue may.
_FAILURES = frozenset({Reason.NO_ROUTE})


class LateReplies:
    """Applies the late policy to one message and finishes it."""

    def __init__(
        self,
        store: PatientStore,
        *,
        policy: Literal["drop", "flag", "rescue"],
        carrier: Carrier,
        heartbeat: Heartbeat,
    ) -> None:
        self._store = store
        self._heartbeat = heartbeat
        self._policy = policy
        self._carrier = carrier

    @property
    def is_answer_wanted(self) -> bool:
        """Whether an answer that comes after the deadline is still of use."""
        return self._policy != "drop"

    def apply(
        self,
        claimed: Claimed,
        envelope: Envelope,
        reason: Reason,
        *,
        replies: Sequence[Reply] | None = None,
        errcode: int | None = None,
        detail: str = "",
        steps: Sequence[Step] = (),
    ) -> Outcome:
        """Drop, flag or rescue the reply, and say which it was.

        Args:
            claimed: Ours; finished (or released, for another attempt) by this.
            envelope: Names the conversation a rescue goes to.
            reason: Why it missed its webhook.
            replies: The answer, None when the agent has not run.
            errcode: DingTalk's, when it said no.
            detail: One safe line.
            steps: What its story has not told yet.

        Raises:
            LeaseLostError: This process is ending, or another one has the message.
        """
        if self._policy == "drop" and reason not in _FAILURES:
            dropped = Outcome(FinalState.DROPPED, reason, errcode, detail)
            self._store.finish(claimed.lease, FinalState.DROPPED, [*steps, dropped.step])
            return dropped
        if self._policy == "rescue" and replies is not None:
            with self._heartbeat.sending(claimed.lease):
                return self._rescue(claimed, envelope, reason, replies, errcode)
        return self.keep(claimed, reason, errcode=errcode, detail=detail, steps=steps)

    def keep(
        self,
        claimed: Claimed,
        reason: Reason,
        *,
        state: FinalState | None = None,
        errcode: int | None = None,
        detail: str = "",
        steps: Sequence[Step] = (),
    ) -> Outcome:
        """Keep the message as a missed reply; FLAGGED, or FAILURE when time was not the cause."""
        if state is None:
            state = FinalState.FAILURE if reason in _FAILURES else FinalState.FLAGGED
        kept = Outcome(state, reason, errcode, detail)
        self._store.miss(
            claimed.lease,
            state=state,
            reason=reason,
            errcode=errcode,
            detail=detail,
            in_doubt=claimed.in_doubt,
            steps=[*steps, kept.step],
        )
        return kept

    def put_back(self, claimed: Claimed, was: Taken) -> Outcome:
        """Make it the missed reply again that it was before somebody died over sending it."""
        state = FinalState.of(was.state) or FinalState.FLAGGED
        again = Outcome(state, was.reason, was.errcode, was.detail)
        if was.is_handled:
            self._store.settle(claimed.lease, state, [again.step])
            return again
        return self.keep(claimed, was.reason, state=state, errcode=was.errcode, detail=was.detail)

    def _rescue(
        self,
        claimed: Claimed,
        envelope: Envelope,
        reason: Reason,
        replies: Sequence[Reply],
        errcode: int | None,
    ) -> Outcome:
        obstacle = self._carrier.obstacle(envelope)
        if obstacle:
            return self.keep(claimed, reason, errcode=errcode, detail=f"no rescue: {obstacle}")
        if claimed.in_doubt:
            log_doubt(claimed, envelope, "it is rescued, and a post before that may have arrived")
        sent, parts = claimed.sent, parts_of(replies)
        started = time.monotonic()
        try:
            for part in parts[sent:]:
                facts = {"part": sent + 1, "of": len(parts), "route": Route.PROACTIVE.value}
                self._store.sending(claimed.lease, sent=sent, steps=[Step("sending", facts)])
                uuid = uuid_of(claimed.lease.task_id, sent, len(parts))
                self._carrier.send(envelope, part, uuid=uuid)
                sent += 1
        except OpenApiError as error:
            return self._rescue_failed(replace(claimed, sent=sent), reason, errcode, error)
        post_s = round(time.monotonic() - started, 3)
        facts = {"route": "proactive", "parts": sent, "post_s": post_s}
        rescued = Outcome(FinalState.RESCUED, reason, errcode, facts=facts)
        self._store.finish(claimed.lease, FinalState.RESCUED, [rescued.step])
        return rescued

    def _rescue_failed(
        self, claimed: Claimed, reason: Reason, errcode: int | None, error: OpenApiError
    ) -> Outcome:
        if isinstance(error, OpenApiUnavailableError) and error.ambiguous:
            detail = f"rescue failed, it may have arrived: {error}"
            claimed = replace(claimed, in_doubt=True)
            return self.keep(claimed, reason, errcode=errcode, detail=detail)
        tried = max(0, claimed.attempts - FIRST_RESCUE)
        paced = paced_s(error)
        if not error.retryable or (tried >= _RESCUE_ATTEMPTS and paced is None):
            return self.keep(claimed, reason, errcode=errcode, detail=f"rescue failed: {error}")
        wait_s = delay_s(tried) if paced is None else paced
        if isinstance(error, OpenApiThrottledError):
            wait_s = max(wait_s, error.retry_after_s)
        again = Outcome(
            None,
            reason,
            errcode,
            f"rescue: {error}",
            retry_in_s=round(wait_s, 3),
            is_paced=paced is not None,
        )
        self._store.release(
            claimed.lease,
            due_in_s=wait_s,
            attempts=FIRST_RESCUE + tried + (paced is None),
            sent=claimed.sent,
            in_doubt=False,
            steps=[again.step],
        )
        return again


def log_doubt(claimed: Claimed, envelope: Envelope, why: str) -> None:
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
