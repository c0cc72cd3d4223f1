"""How what was said is written down on its way into a memory; for ``redis.py`` and ``sql.py``.

With a kept answer goes, beside what was said, where it is to be remembered: so whoever brings the
answer to its conversation, an operator too, has it remembered by the same step.
"""

from dataclasses import dataclass
from typing import Any

from worker.store.base import Exchange, Scope
from worker.store.records import conversation_key, key_of, ms, pack, plain, unpack

__all__ = ["ARRIVED", "Into", "has_arrived", "mark_of", "pack_exchange", "scope_key"]

# The final states that say that an answer is in its conversation.
ARRIVED = frozenset({"SUCCESS", "RESCUED"})


@dataclass(frozen=True)
class Into:
    """Where an exchange is to be remembered.

    Args:
        conversation: Key of bot and conversation.
        conversation_id: The conversation's own id.
        scope: Key of the memory.
        person: Key of who asked.
        place_ms: When it was asked.
        place_us: The same in its order.
        turns: How many the memory keeps.
        ttl_ms: How long it is kept.
        marks: What would say that it was forgotten before it arrived.
    """

    conversation: str
    conversation_id: str
    scope: str
    person: str
    place_ms: int
    place_us: int
    turns: int
    ttl_ms: int
    marks: tuple[str, ...]

    @classmethod
    def read(cls, packed: str | None) -> "Into | None":
        """Read the second part of :func:`pack_exchange`; None of what is none, or of tomorrow."""
        try:
            into = unpack(packed)
            return cls(
                conversation=str(into["conversation"]),
                conversation_id=str(into["conversation_id"]),
                scope=str(into["scope"]),
                person=str(into["person"]),
                place_ms=int(into["ms"]),
                place_us=int(into["us"]),
                turns=int(into["turns"]),
                ttl_ms=int(into["ttl"]),
                marks=tuple(str(mark) for mark in into["marks"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


def has_arrived(outcome: str) -> bool:
    """Whether a message that ends like this has its answer in the conversation."""
    return outcome in ARRIVED


def scope_key(scope: Scope) -> str:
    """Return the key of a memory."""
    conversation = conversation_key(scope.bot, scope.conversation_id)
    return f"{conversation}:{key_of(scope.person)}" if scope.person else conversation


def mark_of(bot: str, conversation_id: str, person: str) -> str:
    """Return the key of the mark that says since when something is forgotten; "" names all."""
    return key_of("\n".join((bot, conversation_id, person)))


def pack_exchange(exchange: Exchange | None) -> tuple[str, str]:
    """Return what was said, and where it goes; two empty texts of none.

    Numbers are texts, as Redis's JSON would round them; and that reads no half of a pair.
    """
    if exchange is None:
        return "", ""
    scope, who = exchange.scope, exchange.person
    people = ("", who) if who else ("",)
    marks = [(bot, scope.conversation_id, name) for bot in ("", scope.bot) for name in people]
    marks += [("", "", who)] if who else []
    into: dict[str, Any] = {
        "conversation": conversation_key(scope.bot, scope.conversation_id),
        "conversation_id": plain(scope.conversation_id),
        "scope": scope_key(scope),
        "person": key_of(who),
        "ms": str(max(0, exchange.place[0])),
        "us": f"{max(0, exchange.place[1]):017d}",
        "turns": str(exchange.turns),
        "ttl": str(ms(exchange.ttl_s)),
        "marks": [mark_of(*mark) for mark in marks],
    }
    return pack(exchange.said), pack(into)
