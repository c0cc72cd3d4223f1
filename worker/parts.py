"""A reply as the parts that are sent, the same for a webhook and for a rescue.

A delivery that began by one way may end by the other, so the cuts must not depend on the way.
"""

from dingwire.parts import split
from dingwire.replies import MAX_PROACTIVE_BYTES, Reply

__all__ = ["parts_of"]

# The smaller of the two limits, and room for a note before the first part.
_PART_BYTES = MAX_PROACTIVE_BYTES - 1500


def parts_of(reply: Reply) -> list[Reply]:
    """Return the parts of ``reply``, one at least, always the same ones."""
    return split(reply, limit_bytes=_PART_BYTES)
