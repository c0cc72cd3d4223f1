"""A store that is waited for: while it is away, work in hand pauses instead of failing.

Wraps the store for ``worker/answering.py`` and what it calls. A reply that was posted must be
recorded as posted, and an answer that was paid for must be kept, so those writes are tried until
the store takes them, whatever it says meanwhile. Stopping the process ends the wait.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from worker.store import (
    Claim,
    DueMessage,
    Exchange,
    Kept,
    Lease,
    LeaseLostError,
    Limit,
    MissedReply,
    Note,
    Open,
    Pace,
    Reason,
    Scope,
    Step,
    StopResult,
    Store,
    StoreError,
    StoreUnavailableError,
    Story,
    Turn,
)

__all__ = ["PatientStore"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_FIRST_S, _LONGEST_S = 0.2, 5.0


class PatientStore:
    """The writing half of :class:`worker.store.Store`, tried again until it works.

    A write whose answer was lost is repeated. A second ``claim`` of our own may then find the first
    one (:class:`worker.store.Held`), and the message comes back when that lease runs out. A write
    that gave the lease up may find it gone: that counts as done. (Who was next is then not known
    here; the sweep publishes it when the lease's length is over.)
    """

    def __init__(self, store: Store, publish: Callable[[DueMessage], object]) -> None:
        """Wrap ``store``; ``publish`` puts the next of a lane on the broker."""
        self._store = store
        self._publish = publish
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._is_away = False

    def _patiently(self, call: Callable[[], _T], *, waits_out: type[StoreError] = StoreError) -> _T:
        wait_s = _FIRST_S
        while True:
            try:
                result = call()
            except LeaseLostError:
                self._say_back()
                raise
            except waits_out as error:
                self._say_away(error)
                if self.stopping.wait(wait_s):
                    raise
                wait_s = min(_LONGEST_S, wait_s * 2)
            else:
                self._say_back()
                return result

    def _say_away(self, error: StoreError) -> None:
        """Say it once an outage, however many messages wait."""
        with self._lock:
            is_first = not self._is_away
            self._is_away = True
        if is_first:
            level = logging.WARNING if _is_away(error) else logging.ERROR
            logger.log(level, "waiting for the store: %s", error, extra={"action": "store_away"})

    def _say_back(self) -> None:
        if not self._is_away:
            return
        with self._lock:
            was_away = self._is_away
            self._is_away = False
        if was_away:
            logger.info("the store is back", extra={"action": "store_back"})

    def _last_write(self, call: Callable[[], DueMessage | None]) -> None:
        """Make a write after which the lease is not ours any more; publish who is next."""
        is_repeated = False

        def write() -> DueMessage | None:
            nonlocal is_repeated
            try:
                return call()
            except LeaseLostError:
                if not is_repeated:
                    raise
                return None
            except StoreError:
                is_repeated = True
                raise

        self.hand_over(self._patiently(write))

    def hand_over(self, message: DueMessage | None) -> None:
        """Publish the message that has the turn now, if any; should it fail, the sweep does it."""
        if message is None:
            return
        try:
            self._publish(message)
        except Exception as error:  # noqa: BLE001, the broker's clients raise what they like
            logger.warning(
                "cannot publish who is next, the sweep will: %s",
                type(error).__name__,
                extra={"action": "hand_over_failed", "task_id": message.task_id},
            )

    def claim(
        self,
        task_id: str,
        *,
        owner: str,
        lease_s: float,
        envelope: dict[str, Any] | None,
        turn: Turn | None = None,
        written: tuple[int, int] | None = None,
        steps: Sequence[Step] = (),
    ) -> Claim:
        """See :meth:`worker.store.Store.claim`.

        Waits for a store that is away only: before it, nothing is lost by giving up.
        """
        return self._patiently(
            lambda: self._store.claim(
                task_id,
                owner=owner,
                lease_s=lease_s,
                envelope=envelope,
                turn=turn,
                written=written,
                steps=steps,
            ),
            waits_out=StoreUnavailableError,
        )

    def keep_answer(
        self,
        lease: Lease,
        answer: str,
        steps: Sequence[Step] = (),
        *,
        exchange: Exchange | None = None,
    ) -> None:
        """See :meth:`worker.store.Store.keep_answer`."""
        self._patiently(lambda: self._store.keep_answer(lease, answer, steps, exchange=exchange))

    def exchanges(
        self, scope: Scope, *, before: tuple[int, int], turns: int, within_s: float
    ) -> list[Any]:
        """See :meth:`worker.store.Store.exchanges`.

        Waits for a store that is away only: until it is back, no answer could be kept either.
        """
        return self._patiently(
            lambda: self._store.exchanges(scope, before=before, turns=turns, within_s=within_s),
            waits_out=StoreUnavailableError,
        )

    def forget(
        self,
        *,
        conversation_id: str = "",
        person: str = "",
        bot: str = "",
        before_ms: int | None = None,
    ) -> int:
        """See :meth:`worker.store.Store.forget`."""
        return self._patiently(
            lambda: self._store.forget(
                conversation_id=conversation_id, person=person, bot=bot, before_ms=before_ms
            )
        )

    def sending(
        self,
        lease: Lease,
        *,
        sent: int,
        steps: Sequence[Step] = (),
        limits: Sequence[Limit] = (),
        kept: Kept | None = None,
    ) -> float:
        """See :meth:`worker.store.Store.sending`."""
        return self._patiently(
            lambda: self._store.sending(lease, sent=sent, steps=steps, limits=limits, kept=kept)
        )

    def route(self, bot: str, conversation_id: str) -> dict[str, Any] | None:
        """See :meth:`worker.store.Store.route`."""
        return self._patiently(lambda: self._store.route(bot, conversation_id))

    def take_missed(
        self, bot: str, conversation_id: str, *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[Lease, MissedReply]]:
        """See :meth:`worker.store.Store.take_missed`; not waited for, as nobody asked for them."""
        return self._store.take_missed(
            bot, conversation_id, owner=owner, lease_s=lease_s, limit=limit
        )

    def release(
        self,
        lease: Lease,
        *,
        due_in_s: float,
        attempts: int | None = None,
        sent: int | None = None,
        in_doubt: bool | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        """See :meth:`worker.store.Store.release`."""

        def release() -> None:
            self._store.release(
                lease,
                due_in_s=due_in_s,
                attempts=attempts,
                sent=sent,
                in_doubt=in_doubt,
                steps=steps,
            )

        self._last_write(release)

    def finish(
        self,
        lease: Lease,
        outcome: str,
        steps: Sequence[Step] = (),
        *,
        paced: bool = True,
        exchange: Exchange | None = None,
    ) -> None:
        """See :meth:`worker.store.Store.finish`."""
        self._last_write(
            lambda: self._store.finish(lease, outcome, steps, paced=paced, exchange=exchange)
        )

    def miss(
        self,
        lease: Lease,
        *,
        state: str,
        reason: Reason,
        errcode: int | None,
        detail: str,
        in_doubt: bool = False,
        by_hand_only: bool = False,
        steps: Sequence[Step] = (),
    ) -> None:
        """See :meth:`worker.store.Store.miss`."""
        self._last_write(
            lambda: self._store.miss(
                lease,
                state=state,
                reason=reason,
                errcode=errcode,
                detail=detail,
                in_doubt=in_doubt,
                by_hand_only=by_hand_only,
                steps=steps,
            )
        )

    def settle(self, lease: Lease, outcome: str, steps: Sequence[Step] = ()) -> None:
        """See :meth:`worker.store.Store.settle`."""
        self._last_write(lambda: self._store.settle(lease, outcome, steps))

    # For commands, which are messages in hand: one that gave up would be nobody's until its lease
    # runs out.

    def stop(
        self,
        bot: str,
        conversation_id: str,
        *,
        before: tuple[int, int],
        facts: dict[str, Any],
        hold_s: float,
        task_id: str | None = None,
    ) -> StopResult:
        """See :meth:`worker.store.Store.stop`; who is next is published."""
        result = self._patiently(
            lambda: self._store.stop(
                bot, conversation_id, before=before, facts=facts, hold_s=hold_s, task_id=task_id
            ),
            waits_out=StoreUnavailableError,
        )
        for message in result.next:
            self.hand_over(message)
        return result

    def open_in(self, bot: str, conversation_id: str) -> list[Open]:
        """See :meth:`worker.store.Store.open_in`."""
        return self._patiently(
            lambda: self._store.open_in(bot, conversation_id), waits_out=StoreUnavailableError
        )

    # Not waited for: nobody may want to know any more.

    def story(self, id_: str) -> Story | None:
        """See :meth:`worker.store.Store.story`."""
        return self._store.story(id_)

    # Not waited for: what is noted is of use for a moment only.

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """See :meth:`worker.store.Store.remember`."""
        self._store.remember(kind, key, facts, ttl_s=ttl_s)

    def is_first(self, kind: str, key: str, *, within_s: float) -> bool:
        """See :meth:`worker.store.Store.is_first`."""
        return self._store.is_first(kind, key, within_s=within_s)

    def remembered(self, kind: str) -> list[Note]:
        """See :meth:`worker.store.Store.remembered`."""
        return self._store.remembered(kind)

    def recalled(self, kind: str, key: str) -> Note | None:
        """See :meth:`worker.store.Store.recalled`."""
        return self._store.recalled(kind, key)

    def pace(self, *, over_s: float) -> Pace:
        """See :meth:`worker.store.Store.pace`."""
        return self._store.pace(over_s=over_s)

    def admit(self, limits: Sequence[Limit]) -> float:
        """See :meth:`worker.store.Store.admit`."""
        return self._store.admit(limits)

    def hold_back(self, key: str, *, for_s: float, slow_s: float = 0.0) -> None:
        """See :meth:`worker.store.Store.hold_back`."""
        self._store.hold_back(key, for_s=for_s, slow_s=slow_s)


def _is_away(error: StoreError) -> bool:
    return isinstance(error, StoreUnavailableError)
