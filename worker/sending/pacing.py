"""Keeps the posts of all workers to a conversation within what DingTalk takes.

DingTalk documents 20 messages a minute for robots of groups, and no limit for session webhooks. So
by default nothing is paced, until it says that posts come too fast (130101, 410100): then nobody
posts to this conversation for as long as it says, and no more than 20 a minute for half an hour
after that. ``REPLIES_PER_MINUTE`` paces always instead.

``worker/sending/carrying.py`` posts through :meth:`Pacing.wait`. It asks in the very step by which
the store is told that a part is about to be posted, so pacing costs no round trip of its own (in
SQL still one statement, unless something is paced), and no worker can miss that another one was
told to wait. A copy of what is held, in each process, would cost round trips as well, and be late.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from contract.envelope import Envelope
from dingwire.errors import OpenApiThrottledError, WebhookThrottledError
from worker.sending.api_gate import PACED
from worker.store import Limit, StoreError
from worker.store.records import conversation_key

__all__ = ["PacedError", "Pacing", "paced_s"]

logger = logging.getLogger(__name__)

# Slept through before the post; who has to wait longer gives the message back.
SHORT_WAIT_S = 2.0
SLOW_COUNT = 20
SLOW_S = 1800.0
_MINUTE_S = 60.0


class PacedError(WebhookThrottledError):
    """It is not its time yet: nothing was posted, and DingTalk was not asked."""

    def __str__(self) -> str:
        return f"paced: no post to this conversation for {self.retry_after_s:.3g} s"


def paced_s(error: Exception) -> float | None:
    """Return how long to wait when nothing failed, and it was not its time; None for others."""
    if isinstance(error, PacedError):
        return error.retry_after_s
    if isinstance(error, OpenApiThrottledError) and error.code == PACED:
        return error.retry_after_s
    return None


class LimitStore(Protocol):
    """The part of :class:`worker.store.Store` that is used here."""

    def admit(self, limits: Sequence[Limit]) -> float:
        """Let one in, or say for how long not."""

    def hold_back(self, key: str, *, for_s: float, slow_s: float = 0.0) -> None:
        """Let nobody in for a while."""


Sending = Callable[[Sequence[Limit]], float]
"""Notes in the store that a part is about to be posted, if the limits let it; returns the wait."""


class Pacing:
    """One for a process; safe to share between threads."""

    def __init__(
        self,
        store: LimitStore,
        *,
        replies_per_minute: int | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Prepare.

        Args:
            store: Knows the pace of all processes.
            replies_per_minute: Of one conversation; None paces only after DingTalk said so.
            sleep: Waits for so many seconds.
        """
        self._store, self._sleep = store, sleep
        self._count = replies_per_minute or SLOW_COUNT
        self._is_dormant = replies_per_minute is None

    def wait(self, envelope: Envelope, sending: Sending) -> None:
        """Return when the next part may be posted; ``sending`` has noted it then.

        Args:
            envelope: Names bot and conversation.
            sending: Called until it says 0.

        Raises:
            PacedError: That takes too long to wait here.
        """
        limits = self._limits(envelope)
        waited_s = 0.0
        while wait_s := sending(limits):
            if waited_s + wait_s > SHORT_WAIT_S:
                raise PacedError(None, wait_s)
            self._sleep(wait_s)
            waited_s += wait_s

    def wait_unnoted(self, envelope: Envelope) -> None:
        """As :meth:`wait`, for a post that the store is not told of otherwise.

        A store that does not answer stops nobody.

        Raises:
            PacedError: That takes too long to wait here.
        """
        try:
            self.wait(envelope, self._store.admit)
        except StoreError as error:
            logger.debug("a post is made unpaced: %s", error)

    @contextmanager
    def heeding(self, envelope: Envelope) -> Iterator[None]:
        """Hold the conversation back for all workers, should DingTalk throttle the post within."""
        try:
            yield
        except WebhookThrottledError as error:
            self._hold_back(envelope, error)
            raise

    def _hold_back(self, envelope: Envelope, error: WebhookThrottledError) -> None:
        if not envelope.conversation_id:
            return
        logger.warning(
            "DingTalk throttles a conversation: no worker posts to it for a while",
            extra={
                "action": "conversation_held_back",
                "message_id": envelope.message_id,
                "conversation_id": envelope.conversation_id,
                "errcode": error.errcode,
                "retry_in_s": error.retry_after_s,
            },
        )
        try:
            self._store.hold_back(_key(envelope), for_s=error.retry_after_s, slow_s=SLOW_S)
        except StoreError as failure:
            logger.debug("a hold is not shared: %s", failure)

    def _limits(self, envelope: Envelope) -> tuple[Limit, ...]:
        if not envelope.conversation_id:
            return ()
        return (Limit(_key(envelope), self._count, _MINUTE_S, self._is_dormant),)


def _key(envelope: Envelope) -> str:
    return f"webhook {conversation_key(envelope.bot, envelope.conversation_id)}"
