"""Keeps the leases of this process alive while their messages are worked on.

One thread for all of them, started with the first. When the process dies the thread dies with it,
the leases run out, and other workers take over: that is the point.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.store import Lease, LeaseLostError, Store, StoreUnavailableError

__all__ = ["Heartbeat"]

logger = logging.getLogger(__name__)


class Heartbeat:
    """Renews held leases three times a lease."""

    def __init__(self, store: Store, *, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Keep ``lease`` alive inside the ``with`` block."""
        with self._lock:
            self._held[lease.task_id] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(lease.task_id, None)

    def _beat(self) -> None:
        while not self._wake.wait(self._lease_s / 3):
            with self._lock:
                leases = list(self._held.values())
            if leases:
                self._renew(leases)

    def _renew(self, leases: list[Lease]) -> None:
        try:
            lost = self._store.renew(leases, lease_s=self._lease_s)
        except StoreUnavailableError as error:
            # A lease that runs out meanwhile is noticed by whoever writes with it next.
            logger.warning("cannot renew %s leases: %s", len(leases), error)
            return
        for lease in lost:
            with self._lock:
                still_held = self._held.get(lease.task_id) == lease
            if still_held:
                logger.warning(
                    "lost the lease on a message that is still worked on",
                    extra={"action": "lease_lost", "task_id": lease.task_id},
                )

    def release_all(self) -> int:
        """Give every held message back at once and stop; return how many.

        For a process that must end with agents still at work: what they return later is fenced
        off, and another worker starts on their messages now rather than when the lease runs out.
        """
        self._wake.set()
        with self._lock:
            leases = list(self._held.values())
            self._held.clear()
        released = 0
        for lease in leases:
            try:
                self._store.release(lease, due_in_s=0)
                released += 1
            except (LeaseLostError, StoreUnavailableError) as error:
                logger.warning("cannot give a message back: %s", error)
        return released
