"""Sends a kept answer while its session webhook lives, and decides what a failure means.

Called by ``worker/answering.py`` right after the agent, and again for every later attempt. It never
runs an agent.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from contract.deadline import Timeliness
from contract.envelope import Envelope
from dingwire.errors import (
    OpenApiError,
    OpenApiThrottledError,
    WebhookError,
    WebhookExpiredError,
    WebhookNotAllowedError,
    WebhookRefusedError,
    WebhookThrottledError,
)
from dingwire.replies import Reply, Text, with_note
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.backoff import delay_s
from worker.sending.carrying import About, Carrier, Route
from worker.sending.late import LateReplies, log_doubt
from worker.sending.pacing import paced_s
from worker.sending.parts import parts_of, uuid_of
from worker.store import Claimed, Kept, Lease, LeaseLostError, Limit, Reason, Step, StoreError
from worker.timing import judged, spare_s
from worker.words import LATE, Language

__all__ = ["Delivery"]

logger = logging.getLogger(__name__)

_LAST_TRY_S = 2.0

# After so many an API that has no time is not waited for: the parts behind wait as well.
_API_ATTEMPTS = 3
# All workers leave an API alone for as long or longer when DingTalk said so: counts as an attempt,
# other than the moments in which our own calls queue for it.
_API_HOLD_S = 10.0


@dataclass
class _Unkept:
    """The answer as long as the store does not have it."""

    kept: Kept | None = None


class Delivery:
    """One attempt at a time; what is left to do stands in the store."""

    def __init__(
        self,
        store: PatientStore,
        *,
        carrier: Carrier,
        late: LateReplies,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
        language_of: Callable[[Envelope], Language] = lambda _: "both",
    ) -> None:
        self._language_of = language_of
        self._store = store
        self._carrier = carrier
        self._late = late
        self._heartbeat = heartbeat
        self._clock = clock

    def deliver(
        self,
        claimed: Claimed,
        envelope: Envelope,
        replies: Sequence[Reply],
        *,
        if_expired: Reason = Reason.EXPIRED_AT_SEND,
        kept: Kept | None = None,
    ) -> Outcome:
        """Try once to send what is left of an answer.

        Args:
            claimed: Ours, with the answer kept; finished or released by this.
            envelope: Holds the route and the deadline.
            replies: The kept answer.
            if_expired: The reason, should the deadline be over before anything is posted.
            kept: The answer, when it is not kept yet; then that is done by the step that notes the
                first post.

        Raises:
            LeaseLostError: This process is ending, or another one has the message.
        """
        timeliness, unkept = self._judge(envelope), _Unkept(kept)
        if envelope.session_webhook is None or timeliness is Timeliness.EXPIRED:
            self._keep(claimed.lease, unkept)
        if envelope.session_webhook is None:
            return self._late.apply(claimed, envelope, Reason.NO_ROUTE, replies=replies)
        if timeliness is Timeliness.EXPIRED:
            return self._late.apply(claimed, envelope, if_expired, replies=replies)
        note = LATE.in_(self._language_of(envelope)) if timeliness is Timeliness.LATE else ""
        if claimed.in_doubt:
            log_doubt(claimed, envelope, "its worker ended in the middle of a post")
        started = time.monotonic()
        with self._heartbeat.sending(claimed.lease):
            try:
                claimed, error, told = self.post(
                    claimed, envelope, replies, note=note, unkept=unkept
                )
            except StoreError:
                raise
            except Exception:  # before it was to be posted; nobody shall ask the agent again
                self._keep(claimed.lease, unkept)
                raise
            if error is not None:
                return self._failed(error, claimed, envelope, replies)
            facts = {
                "outcome": timeliness.value,
                "attempts": claimed.attempts + 1,
                **told,
                "post_s": round(time.monotonic() - started, 3),
                "spare_s": self.spare_s(envelope),
            }
            outcome = Outcome(FinalState.SUCCESS, facts=facts)
            self._store.finish(claimed.lease, FinalState.SUCCESS, [outcome.step])
        return outcome

    def _keep(self, lease: Lease, unkept: _Unkept) -> None:
        kept, unkept.kept = unkept.kept, None
        if kept is not None:
            self._store.keep_answer(lease, kept.answer, kept.steps, exchange=kept.exchange)

    def post(
        self,
        claimed: Claimed,
        envelope: Envelope,
        replies: Sequence[Reply],
        *,
        note: str,
        unkept: _Unkept | None = None,
    ) -> tuple[Claimed, WebhookError | OpenApiError | None, dict[str, Any]]:
        """Send the parts that have not arrived yet, in order.

        Called under :meth:`worker.leases.Heartbeat.sending`; the caller finishes the message.

        Args:
            claimed: Ours.
            envelope: Holds the webhook, of this message or of a later one.
            replies: The whole answer.
            note: Stands before the first part that is sent.
            unkept: What the step keeps that notes the first post.

        Returns:
            How far it came, what stopped it, and what the outcome tells of the ways it went.

        Raises:
            LeaseLostError: This process is ending, and left the other parts to another one.
        """
        parts, routes = parts_of(replies), Counter[Route]()
        while claimed.sent < len(parts):
            try:
                routes[self._post_part(claimed, envelope, parts, note, unkept or _Unkept())] += 1
            except (WebhookError, OpenApiError) as error:
                is_ambiguous = getattr(error, "ambiguous", False)
                if is_ambiguous:
                    log_doubt(claimed, envelope, str(error))
                claimed = replace(claimed, in_doubt=claimed.in_doubt or is_ambiguous)
                return claimed, error, _told(claimed, routes)
            note = ""
            claimed = replace(claimed, sent=claimed.sent + 1, in_doubt=False)
            if claimed.sent < len(parts) and self._heartbeat.is_ending:
                self._give_back(claimed)
        return claimed, None, _told(claimed, routes)

    def _post_part(
        self,
        claimed: Claimed,
        envelope: Envelope,
        parts: Sequence[Reply],
        note: str,
        unkept: _Unkept,
    ) -> Route:
        """Send the next part, after its note if that does not go into it."""
        part, url = parts[claimed.sent], envelope.session_webhook or ""
        uuid = uuid_of(claimed.lease.task_id, claimed.sent, len(parts))

        def send(limits: Sequence[Limit], steps: Sequence[Step] = ()) -> float:
            wait_s = self._store.sending(
                claimed.lease, sent=claimed.sent, steps=steps, limits=limits, kept=unkept.kept
            )
            unkept.kept = None
            return wait_s

        def about(route: Route, because: str, limits: Sequence[Limit]) -> float:
            facts: dict[str, Any] = {"part": claimed.sent + 1, "of": len(parts)}
            facts["route"] = route.value
            if because:
                facts["because"] = because
            wait_s = send(limits, [Step("sending", facts)])
            if not note and self._judge(envelope) is Timeliness.EXPIRED:
                raise WebhookExpiredError(None)
            return wait_s

        *before, part = with_note(part, note) if note else [part]
        for notice in before:
            # No part of the answer, and told to nobody but DingTalk, who counts it.
            untold: About = lambda _route, _why, limits: send(limits)  # noqa: E731
            self._carrier.post(url, envelope, notice, uuid=f"{uuid}-note", about=untold)
        waits_for = partial(self._waits_for, claimed, envelope)
        return self._carrier.post(url, envelope, part, uuid=uuid, about=about, waits_for=waits_for)

    def _waits_for(self, claimed: Claimed, envelope: Envelope, error: OpenApiError) -> bool:
        """Whether there is time to wait for the API, and it was not waited for too often."""
        wait_s = error.retry_after_s if isinstance(error, OpenApiThrottledError) else 0.0
        spare_s = self.spare_s(envelope)
        has_time = spare_s is None or wait_s + _LAST_TRY_S < spare_s
        return has_time and claimed.attempts < _API_ATTEMPTS

    def _give_back(self, claimed: Claimed) -> None:
        """Leave the parts behind to another process, and end."""
        steps = [Step("given_back")]
        self._store.release(
            claimed.lease, due_in_s=0, sent=claimed.sent, in_doubt=False, steps=steps
        )
        raise LeaseLostError(claimed.lease.task_id)

    def notify(self, envelope: Envelope, words: str) -> None:
        """Post ``words`` once; they are no answer, so a failure is logged and forgotten."""
        try:
            self._carrier.notify(envelope, Text(content=words))
        except WebhookError as error:
            logger.warning(
                "a notice did not arrive: %s",
                error,
                extra={"action": "notice_failed", "message_id": envelope.message_id},
            )

    def spare_s(self, envelope: Envelope) -> float | None:
        """Seconds left until the deadline; negative after it, None without one."""
        return spare_s(envelope, self._clock())

    def _judge(self, envelope: Envelope) -> Timeliness:
        return judged(envelope, self._clock())

    def _failed(
        self,
        error: WebhookError | OpenApiError,
        claimed: Claimed,
        envelope: Envelope,
        replies: Sequence[Reply],
    ) -> Outcome:
        errcode = getattr(error, "errcode", None)
        if isinstance(error, WebhookExpiredError):
            return self._late.apply(
                claimed, envelope, Reason.EXPIRED_AT_SEND, replies=replies, errcode=errcode
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
        return self._again(error, claimed, envelope, replies)

    def _again(
        self,
        error: WebhookError | OpenApiError,
        claimed: Claimed,
        envelope: Envelope,
        replies: Sequence[Reply],
    ) -> Outcome:
        errcode = getattr(error, "errcode", None)
        wait_s = delay_s(claimed.attempts)
        spare_s = self.spare_s(envelope)
        reason = Reason.EXPIRED_AT_SEND
        paced = paced_s(error)
        if paced is not None:
            reason, wait_s = Reason.THROTTLED, paced
        elif isinstance(error, WebhookThrottledError | OpenApiThrottledError):
            reason = Reason.THROTTLED
            wait_s = max(wait_s, error.retry_after_s)
        elif spare_s is not None and spare_s >= _LAST_TRY_S:
            wait_s = min(wait_s, spare_s / 2)  # to try until the end
        if spare_s is not None and wait_s >= spare_s:
            return self._late.apply(
                claimed, envelope, reason, replies=replies, errcode=errcode, detail=str(error)
            )
        is_held = isinstance(error, OpenApiThrottledError) and error.retry_after_s >= _API_HOLD_S
        attempts = claimed.attempts + (paced is None or is_held)
        again = Outcome(
            None,
            errcode=errcode,
            detail=str(error),
            retry_in_s=round(wait_s, 3),
            is_paced=paced is not None,
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


def _told(claimed: Claimed, routes: Counter[Route]) -> dict[str, Any]:
    """Return the facts: how many parts, and how many of them, this time, by the API."""
    facts: dict[str, Any] = {"parts": claimed.sent, "route": "+".join(sorted(routes)) or None}
    if len(routes) > 1:
        facts["proactive_parts"] = routes[Route.PROACTIVE]
    return facts
