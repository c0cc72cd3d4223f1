"""Which messages were pushed before? DingTalk pushes one again when an ack is late or lost.

In two phases: a message is in hand until the broker or the disk has it and done after that, so that
a message that could not be enqueued is not taken for a duplicate when it comes again. A shortcut
only, for this process: two listeners, or one that restarted, enqueue twice, and the worker's
claim decides.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Duplicates", "Key"]

Key = tuple[str, str]
"""Bot and message id: one group message that mentions two bots is two messages."""

REMEMBER_S = 30 * 60.0
LIMIT = 20_000


class Duplicates:
    """The messages of the last half hour; used in one event loop."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        remember_s: float = REMEMBER_S,
        limit: int = LIMIT,
    ) -> None:
        self._monotonic = monotonic
        self._remember_s, self._limit = remember_s, limit
        self._done: OrderedDict[Key, float] = OrderedDict()
        self._in_hand: dict[Key, asyncio.Future[bool]] = {}

    def __len__(self) -> int:
        """Return how many messages are remembered."""
        return len(self._done) + len(self._in_hand)

    def is_done(self, key: Key) -> bool:
        """Whether something that outlives this process had the message already."""
        self._forget_old()
        return key in self._done

    def in_hand(self, key: Key) -> asyncio.Future[bool] | None:
        """Return the outcome to wait for when the message is on its way to the broker.

        It becomes True when the broker or the disk has it and False when neither does.
        Shield it: others wait for it, too.
        """
        return self._in_hand.get(key)

    def begin(self, key: Key) -> None:
        """Take the message in hand; call :meth:`finish` whatever happens."""
        self._in_hand[key] = asyncio.get_running_loop().create_future()

    def finish(self, key: Key, *, confirmed: bool) -> None:
        """Say how it went."""
        if confirmed:
            self._done[key] = self._monotonic()
        self._in_hand.pop(key).set_result(confirmed)

    def _forget_old(self) -> None:
        oldest = self._monotonic() - self._remember_s
        while self._done:
            key, since = next(iter(self._done.items()))
            if since > oldest and len(self._done) <= self._limit:
                return
            del self._done[key]
