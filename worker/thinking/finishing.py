"""The answer that a card carries: its delivery, beside that of ``worker/sending/delivery.py``.

The answer is kept before, so a worker that dies here leaves nothing that the next cannot do again:
it finishes the same card, or sends the answer without it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from contract.deadline import Timeliness
from contract.envelope import Envelope
from dingwire.replies import Markdown, Reply, Text
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.sending.parts import parts_of
from worker.store import Claimed, Step
from worker.thinking.card import AnswerCard
from worker.timing import judged, spare_s

__all__ = ["CardDelivery"]

# For finishing a card: so much that one that fails at once is tried again, and one that hangs not.
_FINISH_S = 20.0
# With less until the deadline no card is waited for: an API that does not answer would take all of
# it, and the answer that goes out then instead needs its own.
_ENOUGH_S = 60.0


class CardDelivery:
    """Finishes cards; one for all messages of a process."""

    def __init__(
        self, store: PatientStore, *, heartbeat: Heartbeat, clock: Callable[[], datetime]
    ) -> None:
        self._store, self._heartbeat, self._clock = store, heartbeat, clock

    def deliver(
        self, claim: Claimed, envelope: Envelope, replies: Sequence[Reply], card: AnswerCard
    ) -> Claimed | Outcome:
        """Have the card carry the first of the replies.

        Args:
            claim: Ours, with the answer kept.
            envelope: Says how much time there is.
            replies: The kept answer.
            card: What has shown it so far.

        Returns:
            How it ended, when the card carried all there is; else the claim, whose parts that are
            sent are those that the card carried.

        Raises:
            LeaseLostError: This process is ending, or another one has the message.
        """
        first = replies[0]
        if not isinstance(first, Text | Markdown) or not self._is_time_enough(envelope):
            return claim
        started, carried = time.monotonic(), len(parts_of([first]))
        words = first.text if isinstance(first, Markdown) else first.content
        facts = {"part": 1, "of": carried, "route": "card"}
        with self._heartbeat.sending(claim.lease):
            self._store.sending(claim.lease, sent=0, steps=[Step("sending", facts)])
            if not card.finish(words, limit_s=_FINISH_S):
                return claim
            claim = replace(claim, sent=carried, in_doubt=False)
            if len(replies) > 1:
                self._store.sending(claim.lease, sent=carried)
                return claim
            return self._finished(claim, envelope, time.monotonic() - started)

    def _finished(self, claim: Claimed, envelope: Envelope, post_s: float) -> Outcome:
        verdict = judged(envelope, self._clock())
        # A card needs no webhook, so it is answered all the same when that is over.
        is_over = verdict is Timeliness.EXPIRED
        state = FinalState.RESCUED if is_over else FinalState.SUCCESS
        facts = {
            "outcome": verdict.value,
            "attempts": claim.attempts + 1,
            "parts": 1,
            "route": "card",
            "post_s": round(post_s, 3),
            "spare_s": spare_s(envelope, self._clock()),
        }
        outcome = Outcome(state, facts={k: v for k, v in facts.items() if v is not None})
        self._store.finish(claim.lease, state, [outcome.step])
        return outcome

    def _is_time_enough(self, envelope: Envelope) -> bool:
        """When the webhook is over the card is the only way, and there is time again."""
        left_s = spare_s(envelope, self._clock())
        return left_s is None or left_s <= 0 or left_s >= _ENOUGH_S
