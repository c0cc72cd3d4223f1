"""The memory of conversations: what was said before a message, and what becomes part of it.

``worker/asking.py`` asks it before an agent runs and after; ``/new`` forgets. What is on is said by
``HISTORY_TURNS``, or by the agent. Nothing is stored while it is off.

**A turn is remembered when its answer has arrived**: as part of the step of the store that says so,
whoever brings it there (see :class:`worker.store.Exchange`). So a model is never told that somebody
has read what never came, and what made an agent fail is not given to it again. Silence has nothing
to arrive: the question alone is remembered.

**It never fails a message.** What cannot be read is logged and left out.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from contract.envelope import Conversation, Envelope
from contract.sealing import Sealer, SealError
from contract.turn import place
from dingwire.replies import Reply
from worker.agents.context import Said
from worker.agents.tokens import UTTERANCE_TOKENS, estimated_tokens
from worker.bots import Bots
from worker.settings import WorkerSettings
from worker.store import Exchange, Scope, StoreError, StoreUnavailableError
from worker.utterances import exchange_of, said_in

__all__ = ["Memory", "Remembered", "last_within"]

logger = logging.getLogger(__name__)


class Remembered(Protocol):
    """The part of :class:`worker.patience.PatientStore` that is used here."""

    def exchanges(
        self, scope: Scope, *, before: tuple[int, int], turns: int, within_s: float
    ) -> list[Any]:
        """Return what was said."""

    def forget(
        self,
        *,
        conversation_id: str = "",
        person: str = "",
        bot: str = "",
        before_ms: int | None = None,
    ) -> int:
        """Forget it."""


class Memory:
    """Of all bots; shared by the threads of a process."""

    def __init__(
        self, store: Remembered, *, bots: Bots, sealer: Sealer, clock: Callable[[], datetime]
    ) -> None:
        """Prepare; ``clock`` is ours, aware UTC."""
        self._store, self._bots, self._sealer, self._clock = store, bots, sealer, clock

    def turns_of(self, envelope: Envelope) -> int:
        """Return how many turns the message's bot remembers; 0 when its memory is off."""
        bot = self._bots.of(envelope)
        turns = bot.settings.history_turns
        if not envelope.conversation_id:
            return 0
        return bot.runner.history_turns if turns is None else turns

    def recalled(self, envelope: Envelope) -> tuple[Said, ...]:
        """Return what was said before a message, oldest first; nothing when memory is off.

        Whole turns, the last ones that ``HISTORY_TOKENS``, or else the agent, leaves room for.

        Raises:
            StoreUnavailableError: The process stops while the store is away.
        """
        turns = self.turns_of(envelope)
        if not turns:
            return ()
        settings = self._bots.of(envelope).settings
        try:
            found = self._store.exchanges(
                _scope(envelope, settings),
                before=place(envelope),
                turns=turns,
                within_s=settings.history_hours * 3600,
            )
        except StoreUnavailableError:
            raise
        except StoreError as error:
            _unreadable(envelope, {str(error)}, count=None)
            return ()
        exchanges = self._opened(envelope, found)
        asked, limit = self._bots.of(envelope).runner.history_tokens, settings.history_tokens
        limit = asked if limit is None else limit
        return tuple(said for exchange in last_within(exchanges, limit) for said in exchange)

    def exchange(self, envelope: Envelope, replies: Sequence[Reply]) -> Exchange | None:
        """Return what is to be remembered of a message and its answer; None when memory is off.

        Args:
            envelope: In clear.
            replies: None are silence.
        """
        turns = self.turns_of(envelope)
        if not turns:
            return None
        settings = self._bots.of(envelope).settings
        said: Any = exchange_of(envelope, replies, answered_at=self._clock())
        if self._sealer.is_sealing:
            said = self._sealer.seal_text(json.dumps(said))
        return Exchange(
            _scope(envelope, settings),
            person=_person(envelope),
            place=place(envelope),
            said=said,
            turns=turns,
            ttl_s=settings.history_hours * 3600,
        )

    def forget(self, envelope: Envelope) -> int:
        """Forget what was said before a message, in the memory that its answer would go to.

        With ``HISTORY_BY=conversation`` that is everybody's, with ``person`` in a group the
        sender's own. Also when memory is off by now.

        Returns:
            How many turns were forgotten.

        Raises:
            StoreUnavailableError: The process stops while the store is away.
        """
        if not envelope.conversation_id:
            return 0
        scope = _scope(envelope, self._bots.of(envelope).settings)
        return self._store.forget(
            conversation_id=scope.conversation_id,
            person=scope.person,
            bot=scope.bot,
            before_ms=place(envelope)[0],
        )

    def _opened(self, envelope: Envelope, found: Sequence[Any]) -> list[tuple[Said, ...]]:
        """Return what can be read, and say of the rest that it cannot."""
        opened, faults = [], []
        for each in found:
            try:
                is_sealed = isinstance(each, str)
                exchange = json.loads(self._sealer.unseal_text(each)) if is_sealed else each
                opened.append(said_in(exchange))
            except SealError as error:
                faults.append(str(error))
            except (ValueError, RecursionError):
                faults.append("written by a later release, or damaged")
        if faults:
            _unreadable(envelope, set(faults), count=len(faults))
        return opened


def _scope(envelope: Envelope, settings: WorkerSettings) -> Scope:
    is_shared = (
        settings.history_by == "conversation" or envelope.conversation is not Conversation.GROUP
    )
    person = "" if is_shared else _person(envelope)
    return Scope(envelope.bot, envelope.conversation_id, person)


def _person(envelope: Envelope) -> str:
    """Return what an operator knows of who asked, else what DingTalk calls them."""
    return envelope.sender_staff_id or envelope.sender_id


def last_within(
    exchanges: Sequence[tuple[Said, ...]], limit: int | None
) -> Sequence[tuple[Said, ...]]:
    """Return the last whole turns that are no more than so many tokens; all of them without."""
    if limit is None:
        return exchanges
    return list(_fitting(exchanges, limit))[::-1]


def _fitting(exchanges: Sequence[tuple[Said, ...]], limit: int) -> Iterator[tuple[Said, ...]]:
    """Yield the newest first, as long as there is room."""
    left = limit
    for exchange in reversed(exchanges):
        left -= sum(estimated_tokens(said.text) + UTTERANCE_TOKENS for said in exchange)
        if left < 0:
            return
        yield exchange


def _unreadable(envelope: Envelope, why: set[str], *, count: int | None) -> None:
    logger.warning(
        "what was said before cannot be read, and is left out: %s",
        "; ".join(sorted(why)),
        extra={
            "action": "memory_unreadable",
            "message_id": envelope.message_id,
            "conversation_id": envelope.conversation_id,
            **({} if count is None else {"turns": count}),
        },
    )
