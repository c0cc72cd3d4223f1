"""Late handover: a fresh webhook delivers the kept answers of its conversation first.

Called by ``worker/answering.py`` at the start of a turn, when ``LATE_HANDOVER`` is on. Each answer
is marked with the question it belongs to, and none is sent twice: one of which a post is in doubt
stays with the operator.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from contract.envelope import Envelope
from contract.sealing import IN_CLEAR, Sealer, SealError
from dingwire.errors import OpenApiError, WebhookError
from dingwire.replies import replies_from_json
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.delivery import Delivery
from worker.store import Claimed, Lease, LeaseLostError, MissedReply, Step, StoreError
from worker.words import LATE_ANSWER, Language

__all__ = ["Handover", "mark_of"]

logger = logging.getLogger(__name__)

# At one turn; more would make the person wait for the answer to what was just asked.
_LIMIT = 10
_QUESTION_CHARS = 60

Tell = Callable[[str, Outcome], None]


class Handover:
    """Delivers kept answers by somebody's fresh webhook."""

    def __init__(
        self,
        store: PatientStore,
        *,
        delivery: Delivery,
        heartbeat: Heartbeat,
        owner: str,
        lease_s: float,
        tell: Tell,
        sealer: Sealer = IN_CLEAR,
        language_of: Callable[[Envelope], Language] = lambda _: "both",
        observe: Callable[[Outcome], object] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            store: Keeps the answers.
            delivery: Posts them.
            heartbeat: Keeps a lease alive meanwhile.
            owner: Names this process in logs.
            lease_s: Life of a lease without renewal.
            tell: Makes an outcome of another task than the running one seen.
            sealer: Opens what is kept sealed.
            language_of: Of the mark.
            observe: Counts an outcome.
        """
        self._sealer, self._language_of, self._observe = sealer, language_of, observe
        self._store = store
        self._delivery = delivery
        self._heartbeat = heartbeat
        self._owner, self._lease_s = owner, lease_s
        self._tell = tell

    def deliver(self, fresh: Envelope) -> None:
        """Send what is kept for the conversation of ``fresh``, oldest first.

        Stops at the first that its webhook does not take, which is kept again.
        """
        if fresh.session_webhook is None or not fresh.conversation_id:
            return
        for _ in range(_LIMIT):
            if not self._deliver_one(fresh):
                return

    def _deliver_one(self, fresh: Envelope) -> bool:
        """Send the oldest; False when there is none, or the webhook takes no more.

        It alone is claimed: the others would wait with leases that nobody renews.
        """
        try:
            kept = self._store.take_missed(
                fresh.bot,
                fresh.conversation_id,
                owner=self._owner,
                lease_s=self._lease_s,
                limit=1,
            )
        except StoreError as error:
            logger.warning("cannot look for kept answers: %s", error)
            return False
        for lease, missed in kept:
            with suppress(LeaseLostError), self._heartbeat.holding(lease):
                return self._send(lease, missed, fresh)
        return False

    def _send(self, lease: Lease, missed: MissedReply, fresh: Envelope) -> bool:
        """Send one; False when the webhook takes no more."""
        claimed = Claimed(lease, missed.envelope, missed.answer, sent=missed.sent)
        try:
            replies = replies_from_json(self._sealer.unseal_text(missed.answer or ""))
            note = mark_of(self._sealer.unseal(missed.envelope), self._language_of(fresh))
        except (SealError, ValueError):  # kept by a later release, or sealed with another key
            # Else it would be the first to be tried at every turn, before all that can be sent.
            self._keep_again(claimed, missed, by_hand_only=True)
            return True
        with self._heartbeat.sending(lease):
            claimed, error, told = self._delivery.post(claimed, fresh, replies, note=note)
            if error is not None:
                self._keep_again(claimed, missed, error)
                return False
            steps = [Step("handed_over", {"by_message_id": fresh.message_id})]
            self._store.finish(lease, FinalState.SUCCESS, steps)
        facts = {"outcome": "handed_over", **told}
        outcome = Outcome(FinalState.SUCCESS, facts=facts)
        self._observe(outcome)
        self._tell(lease.task_id, outcome)
        logger.info(
            "kept answer handed over",
            extra={
                "action": "reply_handed_over",
                "message_id": missed.message_id,
                "conversation_id": missed.conversation_id,
                "task_id": lease.task_id,
                "by_message_id": fresh.message_id,
            },
        )
        return True

    def _keep_again(
        self,
        claimed: Claimed,
        missed: MissedReply,
        error: WebhookError | OpenApiError | None = None,
        *,
        by_hand_only: bool = False,
    ) -> None:
        detail = missed.detail if error is None else f"handing it over failed: {error}"
        steps = [] if error is None else [Step("retried", {"detail": detail})]
        self._store.miss(
            claimed.lease,
            state=missed.state,
            reason=missed.reason,
            errcode=missed.errcode,
            detail=detail,
            in_doubt=claimed.in_doubt,
            by_hand_only=by_hand_only,
            steps=steps,
        )


def mark_of(envelope: dict[str, Any], language: Language) -> str:
    """Return the line that says which question a late answer belongs to.

    Args:
        envelope: On the wire, in clear.
        language: Of those who read it.
    """
    words = " ".join(str(envelope.get("text", "")).split())
    short = words if len(words) <= _QUESTION_CHARS else f"{words[:_QUESTION_CHARS]}…"
    return LATE_ANSWER.in_(language, question=short)
