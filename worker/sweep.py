"""Publishes what is due: retries whose time has come, messages of workers that died or drained.

One thread in every worker's main process. The store hands each due message to one of them, so the
fleet needs no leader.
"""

import logging
import threading
from collections.abc import Callable

from worker.store import DueMessage, Store, StoreError

__all__ = ["Sweeper"]

logger = logging.getLogger(__name__)

_BATCH = 100
# How long a published message may stay in its queue before it is published again; a second copy
# meets the claim of the first, so this costs little and loses nothing.
_HOLD_S = 60.0
_PRUNE_EVERY_S = 600.0


class Sweeper:
    """Asks the store every ``every_s`` what is due, and hands it to ``publish``."""

    def __init__(
        self, store: Store, publish: Callable[[DueMessage], None], *, every_s: float = 0.5
    ) -> None:
        self._store = store
        self._publish = publish
        self._every_s = every_s
        self._taken: list[DueMessage] = []
        self._stopped = threading.Event()
        self._until_prune_s = 0.0
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Start sweeping, beginning now."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, after the message in hand."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.sweep()
                self._prune_now_and_then()
                self._failing = False
            except Exception as error:  # noqa: BLE001, the sweep outlives store and broker
                if not self._failing:
                    known = isinstance(error, StoreError)
                    logger.warning(
                        "cannot sweep, trying again until it works: %s",
                        error if known else type(error).__name__,
                        extra={"action": "sweep_failed"},
                    )
                self._failing = True
            self._stopped.wait(self._every_s * (10 if self._failing else 1))

    def sweep(self) -> int:
        """Publish everything that is due now; return how many.

        After a failure the next sweep goes on with the rest; only the message that failed waits
        until the store hands it out again.
        """
        published = 0
        while not self._stopped.is_set():
            self._taken = self._taken or self._store.due(limit=_BATCH, hold_s=_HOLD_S)
            if not self._taken:
                break
            while self._taken:
                message = self._taken.pop(0)
                self._publish(message)
                published += 1
                _log(message)
        return published

    def _prune_now_and_then(self) -> None:
        self._until_prune_s -= self._every_s
        if self._until_prune_s <= 0:
            self._until_prune_s = _PRUNE_EVERY_S
            self._store.prune()


def _log(message: DueMessage) -> None:
    logger.info(
        "message published again",
        extra={
            "action": "message_republished",
            "message_id": message.message_id,
            "task_id": message.task_id,
        },
    )
