"""What is remembered: who is answering what, kept answers, missed replies."""

import re
from collections.abc import Callable

from worker.store.base import (
    Claim,
    Claimed,
    DueMessage,
    Exchange,
    Finished,
    Held,
    Kept,
    Lease,
    LeaseLostError,
    Limit,
    Merged,
    MissedBriefly,
    MissedReply,
    Note,
    Open,
    Pace,
    Parked,
    Reason,
    Scope,
    Step,
    StoppedEarly,
    StoppedMessage,
    StopResult,
    Store,
    StoreError,
    StoreSchemaError,
    StoreUnavailableError,
    Story,
    Taken,
    Turn,
    Unfinished,
)

__all__ = [
    "DONE_TTL_S",
    "MISSED_TTL_S",
    "Claim",
    "Claimed",
    "DueMessage",
    "Exchange",
    "Finished",
    "Held",
    "Kept",
    "Lease",
    "LeaseLostError",
    "Limit",
    "Merged",
    "MissedBriefly",
    "MissedReply",
    "Note",
    "Open",
    "Pace",
    "Parked",
    "Reason",
    "Scope",
    "Step",
    "StopResult",
    "StoppedEarly",
    "StoppedMessage",
    "Store",
    "StoreError",
    "StoreSchemaError",
    "StoreUnavailableError",
    "Story",
    "Taken",
    "Turn",
    "Unfinished",
    "open_store",
]

DONE_TTL_S = 86_400.0
MISSED_TTL_S = 7 * 86_400.0

_SCHEME = re.compile(r"([a-z][a-z0-9+]*)://")


def open_store(
    url: str,
    *,
    done_ttl_s: float = DONE_TTL_S,
    missed_ttl_s: float = MISSED_TTL_S,
    clock_ms: Callable[[], int] | None = None,
) -> Store:
    """Return the store that ``url`` names; nothing is connected to yet.

    Args:
        url: ``redis://``, ``rediss://``, ``sqlite:///path``, ``postgres://`` or ``postgresql://``.
        done_ttl_s: How long the id of a finished message is kept.
        missed_ttl_s: How long a missed reply is kept.
        clock_ms: Epoch ms, instead of the store's own clock; for tests.

    Raises:
        StoreError: The URL is none of these, or its client library is not installed.
    """
    found = _SCHEME.match(url)
    # Without a scheme the text may begin with a password, so it is not shown.
    if found is None:
        raise StoreError("store URL has no scheme; it must start with redis://, sqlite:/// or such")
    scheme = found[1]
    try:
        if scheme in {"redis", "rediss"}:
            from worker.store.redis import RedisStore

            return RedisStore(
                url, done_ttl_s=done_ttl_s, missed_ttl_s=missed_ttl_s, clock_ms=clock_ms
            )
        if scheme in {"sqlite", "postgres", "postgresql", "postgresql+psycopg"}:
            from worker.store.sql import SqlStore

            return SqlStore(
                url, done_ttl_s=done_ttl_s, missed_ttl_s=missed_ttl_s, clock_ms=clock_ms
            )
    except ModuleNotFoundError as error:
        library = (error.name or "a library").partition(".")[0]
        raise StoreError(f"store {scheme}:// needs {library}, which is not installed") from error
    raise StoreError(
        f"store URL has scheme {scheme!r}; it must be one of redis, rediss, sqlite, postgres, "
        "postgresql"
    )
