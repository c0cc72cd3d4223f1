"""A bot's access token, shared by all processes through the store.

``worker/wiring.py`` gives one to each :class:`dingwire.openapi.OpenApiClient`. The token is a
secret: it is kept sealed when there is an ``ENVELOPE_KEY``, and shown by no command. See
docs/security.md.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from contract.sealing import Sealer, SealError
from dingwire.tokens import Token
from worker.store import Note, StoreError

__all__ = ["SharedToken"]

_KIND = "token"


class NoteStore(Protocol):
    """The part of :class:`worker.store.Store` that is used here."""

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep a note."""

    def recalled(self, kind: str, key: str) -> Note | None:
        """Return a note."""


class SharedToken:
    """A :class:`dingwire.tokens.TokenCache`; an away store is an empty one."""

    def __init__(
        self,
        store: NoteStore,
        *,
        client_id: str,
        endpoint: str,
        sealer: Sealer,
        clock: Callable[[], datetime],
    ) -> None:
        """Prepare.

        Args:
            store: Keeps it.
            client_id: Whose token it is.
            endpoint: Who gave it: shown to nobody else, such as a simulator on the same store.
            sealer: Seals and opens it.
            clock: Ours; how long the token is good is measured by the store's.
        """
        self._store, self._sealer, self._clock = store, sealer, clock
        self._key = f"{client_id} {endpoint}"

    def get(self) -> Token | None:
        """See :meth:`dingwire.tokens.TokenCache.get`."""
        try:
            note = self._store.recalled(_KIND, self._key)
            if note is None:
                return None
            value = self._sealer.unseal_text(str(note.facts["token"]))
            left = timedelta(seconds=float(note.facts["life_s"]) - note.age_s)
        except (StoreError, SealError, KeyError, TypeError, ValueError):
            return None
        return Token(value, self._clock() + left)

    def put(self, token: Token) -> None:
        """See :meth:`dingwire.tokens.TokenCache.put`."""
        life_s = (token.good_until - self._clock()).total_seconds()
        if life_s <= 0:
            return
        facts = {"token": self._sealer.seal_text(token.value), "life_s": life_s}
        try:
            self._store.remember(_KIND, self._key, facts, ttl_s=life_s)
        except StoreError:
            return
