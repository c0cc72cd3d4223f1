"""What people see of a message while its answer is made, and what becomes of that in the end.

``worker/answering.py`` asks :class:`Thinking` for a :class:`Thought` about each message it works
on. Nothing here fails a reply: what DingTalk does not take is left out.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from weakref import WeakSet

from contract.envelope import Conversation, Envelope
from dingwire.cards import Cards, Place, in_group, in_private
from dingwire.emotions import Emotions
from dingwire.openapi import Api
from dingwire.replies import Reply
from worker.leases import Heartbeat
from worker.outcome import FinalState, Outcome
from worker.store import Claimed, Lease, Note, Pace, StoreError
from worker.thinking.background import Background
from worker.thinking.card import NOTE_KIND, AnswerCard
from worker.thinking.finishing import CardDelivery
from worker.thinking.reaction import Reaction, Target
from worker.thinking.shown import Shown
from worker.thinking.still_working import StillWorking
from worker.words import CARD_STOPPED, IN_THE_NEXT_MESSAGE, Language

__all__ = ["Thinking", "ThinkingStore", "Thought"]

# So many finished messages say what one takes.
_PACE_OVER_S = 900.0
_ENOUGH_FINISHED = 3
_LAST_CALLS_S = 3.0
_PROGRESS_CHARS = 500

# What a card says below that did not carry the answer.
_LAST_WORDS = {
    FinalState.SUCCESS: IN_THE_NEXT_MESSAGE,
    FinalState.RESCUED: IN_THE_NEXT_MESSAGE,
    FinalState.CANCELLED: CARD_STOPPED,
}


class ThinkingStore(Protocol):
    """The part of the store that is used here."""

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep facts for a while."""

    def recalled(self, kind: str, key: str) -> Note | None:
        """Return what is kept."""

    def pace(self, *, over_s: float) -> Pace:
        """Return how quickly messages are being finished."""


@dataclass
class Thought:
    """About one message; the ``with`` block is the time in which this worker has it."""

    delivery: CardDelivery
    language: Language = "both"
    reaction: Reaction | None = None
    words_within: Callable[[float], StillWorking | None] = lambda _: None
    card: AnswerCard | None = None
    has_carried: bool = False
    _words: StillWorking | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Show nothing more; what is not over is for the worker that has it next."""
        self._hush()

    @contextmanager
    def running(self, limit_s: float) -> Iterator[Callable[[Any], None]]:
        """Show that the agent runs, inside the ``with`` block; yields what takes its pieces.

        Args:
            limit_s: Longest it may take.
        """
        if self.reaction is not None:
            self.reaction.add()
        self._words = self.words_within(limit_s)
        if self._words is not None:
            self._words.start()
        try:
            yield self._piece
        finally:
            self._hush()

    def carry(
        self, claim: Claimed, envelope: Envelope, replies: Sequence[Reply]
    ) -> Claimed | Outcome:
        """Have the card, if there is one, carry the answer or the first of its replies.

        Returns:
            As :meth:`worker.thinking.finishing.CardDelivery.deliver`.

        Raises:
            LeaseLostError: This process is ending, or another one has the message.
        """
        card = self.card
        if card is None or claim.sent:
            return claim
        carried: Claimed | Outcome = claim
        if card.may_take_the_answer:
            carried = self.delivery.deliver(claim, envelope, replies, card)
            self.has_carried = carried is not claim
        if not self.has_carried:
            # Noted now, so that no later attempt returns to it.
            card.fail(IN_THE_NEXT_MESSAGE.in_(self.language))
        return carried

    def progress(self, text: str) -> None:
        """Show what the agent does just now; neither blocks nor raises.

        Args:
            text: The agent's; its beginning is shown.
        """
        text = text.strip()[:_PROGRESS_CHARS]
        if self.card is not None:
            self.card.progress(text)
        if self._words is not None:
            self._words.progress(text)

    def failed(self, words: str) -> bool:
        """Have the card, if the answer can be seen in one, say that there will be none."""
        if self.card is None or not self.card.is_seen:
            return False
        self.card.fail(words)
        return True

    def ended(self, outcome: Outcome) -> None:
        """Clear away what was shown, unless another attempt is to come."""
        if outcome.retry_in_s is not None:
            return
        if self.reaction is not None:
            self.reaction.recall()
        if self.card is not None and not self.has_carried:
            phrase = _LAST_WORDS.get(outcome.state) if outcome.state is not None else None
            self.card.fail("" if phrase is None else phrase.in_(self.language))

    def _piece(self, piece: Any) -> None:
        if self.card is not None and isinstance(piece, str):
            self.card.piece(piece)

    def _hush(self) -> None:
        if self._words is not None:
            self._words.stop()
        if self.card is not None:
            self.card.close()


class Thinking:
    """Makes thoughts; one for all messages of a process."""

    def __init__(
        self,
        store: ThinkingStore,
        *,
        shown_of: Callable[[Envelope], Shown],
        api_of: Callable[[Envelope], Api | None],
        say: Callable[[Envelope, str], object],
        spare_s: Callable[[Envelope], float | None],
        heartbeat: Heartbeat,
        delivery: CardDelivery,
    ) -> None:
        """Prepare.

        Args:
            store: Tells workers of each other's cards.
            shown_of: What the bot that a message was written to shows.
            api_of: That bot's API; None without credentials.
            say: Posts a text to where a message came from; handles its own errors.
            spare_s: What is left until a message's deadline; None without one.
            heartbeat: Knows whether a message is still ours.
            delivery: Finishes cards.
        """
        self._store, self._shown_of, self._api_of = store, shown_of, api_of
        self._say, self._spare_s, self._heartbeat = say, spare_s, heartbeat
        self._delivery = delivery
        self._background = Background()
        self._lock = threading.Lock()
        self._reactions: WeakSet[Reaction] = WeakSet()  # of messages in hand

    def about(self, claim: Claimed, envelope: Envelope) -> Thought:
        """Return a thought about a message that is ours by ``claim``."""
        shown = self._shown_of(envelope)
        thought = Thought(self._delivery, shown.language)
        if claim.rerun or not shown.is_anything:  # an operator's second run has no audience
            return thought
        self._background.start()
        api = self._api_of(envelope)
        if api is not None and shown.mode == "reaction":
            thought.reaction = self._reaction(api, claim, envelope)
        if api is not None and shown.mode == "card":
            thought.card = self._answer_card(api, shown, claim, envelope)
            thought.has_carried = claim.sent > 0
        if envelope.session_webhook is not None:
            thought.words_within = lambda limit_s: self._words(
                thought, shown, claim, envelope, limit_s
            )
        return thought

    def put_away(self, task_id: str, envelope: Envelope, *, sent: int) -> None:
        """Clear away what is seen of a message that was stopped while no worker had it.

        Args:
            task_id: Of the message.
            envelope: In clear.
            sent: How many parts of its answer have arrived.
        """
        gone = Claimed(Lease(task_id, owner="", token=0), {}, takeovers=1, sent=sent)
        with self.about(gone, envelope) as thought:
            thought.ended(Outcome(FinalState.CANCELLED))

    def stop(self) -> None:
        """Take off what can be taken off in a moment; for a process that ends.

        Reactions on messages that go back, too: whoever has them next puts on its own.
        """
        with self._lock:
            reactions = list(self._reactions)
        for reaction in reactions:
            reaction.recall()
        self._background.end(_LAST_CALLS_S)

    def _reaction(self, api: Api, claim: Claimed, envelope: Envelope) -> Reaction | None:
        if not envelope.conversation_id:
            return None
        reaction = Reaction(
            Emotions(api),
            self._background,
            Target(envelope.bot, envelope.conversation_id, envelope.message_id),
            may_be_there=_had_another_worker(claim),
        )
        with self._lock:
            self._reactions.add(reaction)
        return reaction

    def _answer_card(
        self, api: Api, shown: Shown, claim: Claimed, envelope: Envelope
    ) -> AnswerCard | None:
        place = _place_of(envelope, at_sender=shown.at_sender)
        if place is None or shown.card is None:
            return None
        return AnswerCard(
            Cards(api),
            self._background,
            self._store,
            shown.card,
            task_id=claim.lease.task_id,
            message_id=envelope.message_id,
            place=place,
            is_ours=lambda: self._heartbeat.holds(claim.lease),
            left=self._state_left(claim),
        )

    def _state_left(self, claim: Claimed) -> str | None:
        """Return what a worker before us noted of the card; None of no card.

        Asked each time: a message that was given back does not say that somebody had it.
        """
        try:
            note = self._store.recalled(NOTE_KIND, claim.lease.task_id)
        except StoreError:
            return None
        return None if note is None else str(note.facts.get("state", ""))

    def _words(
        self, thought: Thought, shown: Shown, claim: Claimed, envelope: Envelope, limit_s: float
    ) -> StillWorking | None:
        if not shown.is_said:
            return None

        def may_speak() -> bool:
            card = thought.card
            return self._heartbeat.holds(claim.lease) and not (card and card.is_there)

        return StillWorking(
            self._background,
            say=lambda words: self._say(envelope, words),
            at_once=shown.mode == "text" and not _had_another_worker(claim),
            first_s=shown.still_working_s,
            limit_s=limit_s,
            spare_s=lambda: self._spare_s(envelope),
            usual_s=self._usual_s,
            may_speak=may_speak,
            language=shown.language,
        )

    def _usual_s(self) -> float | None:
        """Return what a message takes these days."""
        try:
            pace = self._store.pace(over_s=_PACE_OVER_S)
        except StoreError:
            return None
        return pace.work_s / pace.finished if pace.finished >= _ENOUGH_FINISHED else None


def _had_another_worker(claim: Claimed) -> bool:
    return claim.takeovers > 0 or claim.answer is not None


def _place_of(envelope: Envelope, *, at_sender: bool) -> Place | None:
    staff_id = envelope.sender_staff_id
    if envelope.conversation is Conversation.GROUP:
        at = {staff_id: envelope.sender_nick} if staff_id and at_sender else None
        return in_group(envelope.bot, envelope.conversation_id, at=at)
    return in_private(envelope.bot, staff_id) if staff_id else None
