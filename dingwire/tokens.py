"""The access token of DingTalk's API: where it is kept, and for how long.

``openapi.py`` fetches tokens and holds the one it uses; whoever builds it may pass a
:class:`TokenCache` by which several processes share one. Source: docs/protocol.md, "Proactive
messages".
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

__all__ = ["INVALID_TOKEN", "NotShared", "Token", "TokenCache", "good_for"]

# What DingTalk says of a token that it does not know, or not any more: by name in the new API, by
# number in the old one, whose answers come with HTTP 200.
INVALID_TOKEN = frozenset({"InvalidAuthentication", "40014", "42001"})

REFRESH_EARLY = timedelta(minutes=5)
DEFAULT_LIFE_S = 7200


@dataclass(frozen=True)
class Token:
    """A token, and until when (our clock, aware UTC) it is used; it lives for longer."""

    value: str = field(repr=False)
    good_until: datetime


class TokenCache(Protocol):
    """Where a bot's token is kept for all processes; one object serves one client id.

    Neither method raises: a cache that cannot be reached is an empty one, since a token can always
    be fetched. Two processes that fetch one at once do no harm, DingTalk gives both the same.
    """

    def get(self) -> Token | None:
        """Return the token that is shared now, if there is one."""

    def put(self, token: Token) -> None:
        """Share this one from now on, in place of what was shared before."""


class NotShared:
    """Of a process that keeps its token to itself."""

    def get(self) -> None:
        """There is never one."""

    def put(self, token: Token) -> None:
        """Nobody else needs it."""


def good_for(life_s: int | None) -> timedelta:
    """Return for how long to use a token of this life (None: not said), a while less than that."""
    life = timedelta(seconds=life_s or DEFAULT_LIFE_S)
    return max(life - REFRESH_EARLY, life / 2)
