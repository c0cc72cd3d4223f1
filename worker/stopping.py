"""Stops what is unfinished in a conversation, and tells what that is.

Asked by the commands in the chat and by ``celery -A worker stop``; knows nothing of either. What it
stops ends as CANCELLED in the store, by one step; the worker that had it, if any, learns of that by
its heartbeat (``worker/leases.py``) and lets go.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.envelope import Envelope
from contract.turn import place
from worker.outcome import FinalState, Outcome, log_outcome
from worker.patience import PatientStore
from worker.store import Open, StoppedMessage

__all__ = [
    "ConversationStatus",
    "OpenMessage",
    "Stopped",
    "Stopping",
    "outcome_of_stop",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stopped:
    """How many were stopped: ``running`` ones, with a worker, and ``waiting`` ones.

    Those that are still on the broker are not known here: they end when a worker takes them.
    """

    running: int
    waiting: int


@dataclass(frozen=True)
class OpenMessage:
    """An unfinished message.

    ``position`` is 0 for one that a worker has, for ``running_s``, and then counts those that wait;
    ``is_own`` whether who asks has written it.
    """

    task_id: str
    position: int
    running_s: float | None
    is_own: bool


@dataclass(frozen=True)
class ConversationStatus:
    """What is unfinished in a conversation: first what is worked on, then what waits, in order.

    Without the message that asks, and without what is still on the broker.
    """

    messages: tuple[OpenMessage, ...]

    @property
    def running(self) -> tuple[OpenMessage, ...]:
        """Those that a worker has."""
        return tuple(each for each in self.messages if each.running_s is not None)

    @property
    def waiting(self) -> tuple[OpenMessage, ...]:
        """Those that wait for their turn, or for their next attempt."""
        return tuple(each for each in self.messages if each.running_s is None)


class Stopping:
    """Stops the messages of conversations; shared by all threads of a process."""

    def __init__(
        self,
        store: PatientStore,
        *,
        hold_s: float,
        tell: Callable[[str, Outcome], object],
        observe: Callable[[Outcome], object] = lambda _: None,
        put_away: Callable[[StoppedMessage], object] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            store: What is remembered.
            hold_s: After how long the sweep publishes who is next, should we die over it.
            tell: Shows Flower how a task ended.
            observe: Counts an outcome.
            put_away: Clears away what people see of a message that no living worker has; handles
                its own errors.
        """
        self._store, self._hold_s = store, hold_s
        self._tell, self._observe, self._put_away = tell, observe, put_away

    def stop(self, envelope: Envelope) -> Stopped:
        """Stop what is unfinished in the conversation of a message, and was written before it.

        Args:
            envelope: Of the message that asks for it; that one is not stopped.

        Raises:
            StoreError: Nothing is known to be stopped; doing it again is safe.
        """
        facts = {"by_message_id": envelope.message_id}
        return self.end(envelope.bot, envelope.conversation_id, before=place(envelope), facts=facts)

    def end(
        self,
        bot: str,
        conversation_id: str,
        *,
        before: tuple[int, int],
        facts: dict[str, Any],
        task_id: str | None = None,
    ) -> Stopped:
        """Stop what is unfinished in a conversation.

        Args:
            bot: To which it was written.
            conversation_id: Where.
            before: From :func:`contract.turn.place`: only what was written before.
            facts: Who wants it: ``by_message_id``, or ``by`` for an operator.
            task_id: Only this message.

        Raises:
            StoreError: As :meth:`stop`.
        """
        if not conversation_id:
            return Stopped(0, 0)
        result = self._store.stop(
            bot, conversation_id, before=before, facts=facts, hold_s=self._hold_s, task_id=task_id
        )
        for message in result.messages:
            outcome = outcome_of_stop(message.state, facts)
            self._observe(outcome)
            log_outcome(outcome, message.task_id, message.envelope)
            self._tell(message.task_id, outcome)
            if not message.is_at_work:
                self._put_away(message)
        running = sum(message.is_at_work for message in result.messages)
        return Stopped(running, len(result.messages) - running)

    def status(self, envelope: Envelope) -> ConversationStatus:
        """Return what is unfinished in the conversation of a message.

        Args:
            envelope: Of the message that asks; who wrote the others is told of its sender alone.

        Raises:
            StoreError: The store is away.
        """
        if not envelope.conversation_id:
            return ConversationStatus(())
        others = [
            each
            for each in self._store.open_in(envelope.bot, envelope.conversation_id)
            if each.envelope.get("message_id") != envelope.message_id
        ]
        at_work = sum(each.running_s is not None for each in others)
        return ConversationStatus(
            tuple(
                OpenMessage(
                    each.task_id,
                    max(0, number - at_work),
                    each.running_s,
                    _sender(each) == (envelope.sender_id or envelope.sender_staff_id),
                )
                for number, each in enumerate(others, start=1)
            )
        )


def _sender(message: Open) -> str | None:
    return message.envelope.get("sender_id") or message.envelope.get("sender_staff_id")


def outcome_of_stop(was: str, facts: dict[str, Any]) -> Outcome:
    """Return how a message ended that was stopped.

    Args:
        was: Its state before.
        facts: Who wanted it, as in :meth:`Stopping.end`.
    """
    by = facts.get("by_message_id")
    detail = f"stopped by message {by}" if by else f"stopped by {facts.get('by', 'an operator')}"
    return Outcome(FinalState.CANCELLED, detail=detail, facts={"outcome": "stopped", "was": was})
