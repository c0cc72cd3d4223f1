"""Keeps the leases of this process alive while their messages are worked on.

One thread for all of them, started with the first. Between its beats it asks, each second, whether
something at work was stopped, so that who has lost a message learns of it soon.

When the process dies the thread dies with it, the leases run out, and other workers take over: that
is the point. A process that ends in order gives its messages back, save those whose reply is on its
way: nobody else must send it again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.store import Lease, LeaseLostError, Step, Store, StoreError

__all__ = ["Heartbeat"]

logger = logging.getLogger(__name__)

# A post gives up after 13 s without an answer; the rest is for recording how it ended.
_LAST_POSTS_S = 15.0
# Between two looks at whether something was stopped.
_LOOK_EVERY_S = 1.0


class Heartbeat:
    """Renews held leases three times a lease, and when a message at work was stopped."""

    def __init__(self, store: Store, *, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        # By lease, not by task: a message we lost may come back to this process at once.
        self._held: set[Lease] = set()
        self._sending: set[Lease] = set()
        self._open: set[Lease] = set()
        self._lost: set[Lease] = set()
        self._on_lost: dict[Lease, Callable[[], object]] = {}
        self._last_stop: int | None = None
        self._lock = threading.Lock()
        self._sent = threading.Condition(self._lock)
        self._is_ending = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Keep ``lease`` alive inside the ``with`` block.

        Raises:
            LeaseLostError: This process is ending; the message went back.
        """
        with self._lock:
            if not self._is_ending:
                self._held.add(lease)
                self._open.add(lease)
            is_held = lease in self._held
            if is_held and self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()
        if not is_held:
            self._give_back(lease)
            raise LeaseLostError(lease.task_id)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(lease)
                self._open.discard(lease)

    @contextmanager
    def sending(self, lease: Lease) -> Iterator[None]:
        """Send a reply, and record how that ended, inside the ``with`` block.

        A process that ends does not give the message back meanwhile.

        Raises:
            LeaseLostError: This process is ending, or another one has the message; send nothing.
        """
        with self._lock:
            may_send = lease in self._held and not self._is_ending
            if may_send:
                self._sending.add(lease)
        if not may_send:
            self._give_back(lease)
            raise LeaseLostError(lease.task_id)
        try:
            yield
        finally:
            with self._sent:
                self._sending.discard(lease)
                self._sent.notify_all()

    @contextmanager
    def when_lost(self, lease: Lease, call: Callable[[], object]) -> Iterator[None]:
        """Have ``call`` called when the message is found not to be ours any more.

        Once, within the ``with`` block, in another thread; or at once, when that is known.

        Args:
            lease: Held.
            call: Must neither block nor raise.
        """
        with self._lock:
            is_lost = lease not in self._held and not self._is_ending
            if not is_lost:
                self._on_lost[lease] = call
        if is_lost:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._on_lost.pop(lease, None)

    def holds(self, lease: Lease) -> bool:
        """Whether the message is still ours, as far as is known."""
        with self._lock:
            return lease in self._held

    def confirms(self, lease: Lease) -> bool:
        """Whether the message is still ours, as the store says now, or as far as is known."""
        if self.holds(lease):
            self._renew([lease])
        return self.holds(lease)

    @property
    def is_ending(self) -> bool:
        """Whether this process is to begin nothing new."""
        return self._is_ending

    def _beat(self) -> None:
        beat_at = time.monotonic() + self._lease_s / 3
        while not self._ended.wait(min(_LOOK_EVERY_S, max(0.0, beat_at - time.monotonic()))):
            is_time = time.monotonic() >= beat_at
            if is_time:
                beat_at = time.monotonic() + self._lease_s / 3
                self._tell_lost()
            with self._lock:
                leases = list(self._held)
            if leases and (is_time or self._is_any_stopped()):
                has_answered = self._renew(leases)
                if not has_answered and not is_time:
                    self._last_stop = None  # what was stopped is still to be learnt

    def _is_any_stopped(self) -> bool:
        """Whether any message at work was stopped since we looked last, of whatever process."""
        try:
            last_stop = self._store.last_stop()
        except Exception as error:  # noqa: BLE001, as below, where it is said aloud
            logger.debug("cannot look for what was stopped: %s", _shown(error))
            return False
        is_new, self._last_stop = last_stop != self._last_stop, last_stop
        return is_new

    def _renew(self, leases: list[Lease]) -> bool:
        """Return whether the store has answered."""
        try:
            lost = self._store.renew(leases, lease_s=self._lease_s)
        except Exception as error:  # noqa: BLE001, the heart beats on whatever happens
            # A lease that runs out meanwhile is noticed by whoever writes with it next.
            logger.warning("cannot renew %s leases: %s", len(leases), _shown(error))
            return False
        with self._lock:
            newly = self._held.intersection(lost)
            self._lost.update(newly)
            self._held.difference_update(newly)
            calls = [self._on_lost.pop(lease) for lease in newly if lease in self._on_lost]
        for call in calls:
            call()
        return True

    def _tell_lost(self) -> None:
        """Say which were lost at the beat before, save those that were just being finished then."""
        with self._lock:
            lost = self._lost & self._open
            self._lost.clear()
        for lease in lost:
            logger.warning(
                "lost the lease on a message that is still worked on",
                extra={"action": "lease_lost", "task_id": lease.task_id},
            )

    def release_all(self) -> int:
        """Give held messages back at once, wait for replies on their way; return how many went.

        For a process that must end with agents still at work: what they return later is fenced
        off, and another worker starts on their messages now rather than when the lease runs out.
        """
        with self._lock:
            self._is_ending = True
            leases = self._held - self._sending
            self._held -= leases
        given_back = sum(self._give_back(lease) for lease in leases)
        with self._sent:
            if not self._sent.wait_for(lambda: not self._sending, timeout=_LAST_POSTS_S):
                logger.error("ending with %s posts unanswered", len(self._sending))
        self._ended.set()
        return given_back

    def _give_back(self, lease: Lease) -> bool:
        try:
            self._store.release(lease, due_in_s=0, steps=[Step("given_back")])
        except LeaseLostError:  # it is somebody else's already, or finished
            return False
        except StoreError as error:
            logger.warning("cannot give a message back: %s", error)
            return False
        return True


def _shown(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else type(error).__name__
