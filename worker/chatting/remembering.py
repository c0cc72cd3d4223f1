"""The memory of a conversation in the terminal: as long as the worker's would be, and kept nowhere.

``direct.py`` asks it before the agent runs, and tells it what was said; ``/new`` forgets.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from contract.envelope import Envelope
from dingwire.replies import Reply
from worker.agents.context import Said
from worker.memory import last_within
from worker.utterances import exchange_of, said_in

__all__ = ["Remembering"]


class Remembering:
    """Of one conversation."""

    def __init__(
        self, *, turns: int, hours: float, tokens: int | None, clock: Callable[[], datetime]
    ) -> None:
        """Prepare.

        Args:
            turns: So many questions and answers are remembered; 0: none.
            hours: For so long.
            tokens: Most that they may be together; None for any number.
            clock: Ours, aware UTC.
        """
        self._turns, self._within, self._tokens = turns, timedelta(hours=hours), tokens
        self._clock = clock
        self._exchanges: list[tuple[datetime, tuple[Said, ...]]] = []

    def recalled(self) -> tuple[Said, ...]:
        """Return what was said before, oldest first."""
        since = self._clock() - self._within
        self._exchanges = [each for each in self._exchanges if each[0] > since][-self._turns :]
        exchanges = last_within([exchange for _, exchange in self._exchanges], self._tokens)
        return tuple(said for exchange in exchanges for said in exchange)

    def add(self, envelope: Envelope, replies: Sequence[Reply]) -> None:
        """Remember a message and its answer; without replies the message alone."""
        if self._turns:
            now = self._clock()
            exchange = said_in(exchange_of(envelope, replies, answered_at=now))
            self._exchanges.append((now, exchange))

    def forget(self, envelope: Envelope) -> int:
        """Forget all of it; return how many turns that were."""
        forgotten, self._exchanges = len(self._exchanges), []
        return forgotten
