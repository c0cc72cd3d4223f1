"""Which message came before this one in its lane? Asked by ``listener/intake.py``.

The worker holds a message back until its predecessor is known to the store, which keeps two
messages in order that overtake each other on their way there. As this process saw them come: two
listeners know nothing of each other.
"""

from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Predecessors"]

REMEMBER_S = 30 * 60.0
LIMIT = 20_000


class Predecessors:
    """The last message of each lane; used in one event loop."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        remember_s: float = REMEMBER_S,
        limit: int = LIMIT,
    ) -> None:
        self._monotonic = monotonic
        self._remember_s, self._limit = remember_s, limit
        self._last: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many lanes are remembered."""
        return len(self._last)

    def of(self, message_id: str, lane: str | None) -> str | None:
        """Return the id of the message accepted last in the lane; never the message's own."""
        last, since = self._last.get(lane or "", ("", 0.0))
        if not last or last == message_id or self._monotonic() - since >= self._remember_s:
            return None
        return last

    def accepted(self, message_id: str, lane: str | None) -> None:
        """Say that the message is on its way, so that the next one comes after it."""
        if not lane:
            return
        self._last[lane] = (message_id, self._monotonic())
        self._last.move_to_end(lane)
        if len(self._last) > self._limit:
            self._last.popitem(last=False)
