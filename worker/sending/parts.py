"""An answer as the parts that are sent, the same for a webhook and for a rescue.

A delivery that began by one way may end by the other, so the cuts must not depend on the way.
"""

from collections.abc import Sequence

from dingwire.parts import split
from dingwire.replies import MAX_PROACTIVE_BYTES, Reply

__all__ = ["parts_of", "uuid_of"]

# The smaller of the two limits, and room for a note before the first part.
_PART_BYTES = MAX_PROACTIVE_BYTES - 1500


def parts_of(replies: Sequence[Reply]) -> list[Reply]:
    """Return the parts of all replies in the order they are sent, always the same ones.

    A long reply is numbered by itself; how far a delivery came counts through all of them.
    """
    return [part for reply in replies for part in split(reply, limit_bytes=_PART_BYTES)]


def uuid_of(base: str, number: int, parts: int) -> str:
    """Return what names part ``number``, from 0, of so many; the same on every attempt."""
    return base if parts == 1 else f"{base}-{number + 1}"
