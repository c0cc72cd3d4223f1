"""A store that is waited for: while it is away, work in hand pauses instead of failing.

Wraps the store for ``worker/answering.py`` and what it calls. A reply that was posted must be
recorded as posted, and an answer that was paid for must be kept, so those writes are tried until
the store takes them, whatever it says meanwhile. Stopping the process ends the wait.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from worker.store import (
    Claim,
    Lease,
    LeaseLostError,
    Reason,
    Store,
    StoreError,
    StoreUnavailableError,
)

__all__ = ["PatientStore"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_FIRST_S, _LONGEST_S = 0.2, 5.0


class PatientStore:
    """The writing half of :class:`worker.store.Store`, tried again until it works.

    A write whose answer was lost is repeated. A second ``claim`` of our own may then find the first
    one (:class:`worker.store.Held`), and the message comes back when that lease runs out. A write
    that gave the lease up may find it gone: that counts as done.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.stopping = threading.Event()

    def _patiently(self, call: Callable[[], _T], *, waits_out: type[StoreError] = StoreError) -> _T:
        wait_s = _FIRST_S
        while True:
            try:
                return call()
            except LeaseLostError:
                raise
            except waits_out as error:
                level = logging.WARNING if _is_away(error) else logging.ERROR
                logger.log(
                    level, "waiting for the store: %s", error, extra={"action": "store_away"}
                )
                if self.stopping.wait(wait_s):
                    raise
                wait_s = min(_LONGEST_S, wait_s * 2)

    def _last_write(self, call: Callable[[], None]) -> None:
        """Make a write after which the lease is not ours any more."""
        is_repeated = False

        def write() -> None:
            nonlocal is_repeated
            try:
                call()
            except LeaseLostError:
                if not is_repeated:
                    raise
            except StoreError:
                is_repeated = True
                raise

        self._patiently(write)

    def claim(
        self, task_id: str, *, owner: str, lease_s: float, envelope: dict[str, Any] | None
    ) -> Claim:
        """See :meth:`worker.store.Store.claim`.

        Waits for a store that is away only: before it, nothing is lost by giving up.
        """
        return self._patiently(
            lambda: self._store.claim(task_id, owner=owner, lease_s=lease_s, envelope=envelope),
            waits_out=StoreUnavailableError,
        )

    def keep_answer(self, lease: Lease, answer: str) -> None:
        """See :meth:`worker.store.Store.keep_answer`."""
        self._patiently(lambda: self._store.keep_answer(lease, answer))

    def release(self, lease: Lease, *, due_in_s: float, attempts: int | None = None) -> None:
        """See :meth:`worker.store.Store.release`."""
        self._last_write(lambda: self._store.release(lease, due_in_s=due_in_s, attempts=attempts))

    def finish(self, lease: Lease, outcome: str) -> None:
        """See :meth:`worker.store.Store.finish`."""
        self._last_write(lambda: self._store.finish(lease, outcome))

    def miss(
        self, lease: Lease, *, state: str, reason: Reason, errcode: int | None, detail: str
    ) -> None:
        """See :meth:`worker.store.Store.miss`."""
        self._last_write(
            lambda: self._store.miss(
                lease, state=state, reason=reason, errcode=errcode, detail=detail
            )
        )


def _is_away(error: StoreError) -> bool:
    return isinstance(error, StoreUnavailableError)
