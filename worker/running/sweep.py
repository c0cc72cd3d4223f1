"""Publishes what is due: retries whose time has come, messages of workers that died or drained.

One thread in every worker's main process. The store hands each due message to one of them, so the
fleet needs no leader.
"""

import logging
import threading
from collections.abc import Callable

from kombu.exceptions import OperationalError

from worker.store import DueMessage, Store, StoreError

__all__ = ["Sweeper"]

logger = logging.getLogger(__name__)

_BATCH = 100
_PRUNE_EVERY_S, _PRUNE_ON_S = 600.0, 5.0


class Sweeper:
    """Asks the store every ``every_s`` what is due, and hands it to ``publish``."""

    def __init__(
        self,
        store: Store,
        publish: Callable[[DueMessage], None],
        *,
        lease_s: float = 15.0,
        every_s: float = 0.5,
    ) -> None:
        """Prepare; a message that was published and not claimed is due again after ``lease_s``."""
        self._store = store
        self._publish = publish
        self._lease_s, self._every_s = lease_s, every_s
        self._taken: list[DueMessage] = []
        self._refused: dict[str, DueMessage] = {}
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

        After a failure the next sweep goes on with the rest. What the broker did not take comes
        last, in each sweep: the store would hand it out again, but later each time, and a broker
        that was away for an hour would be waited for some time more when it is back.
        """
        published = 0
        while not self._stopped.is_set():
            self._taken = self._taken or self._store.due(limit=_BATCH, hold_s=self._lease_s)
            if not self._taken:
                break
            while self._taken:
                self._publish_one(self._taken.pop(0))
                published += 1
        for task_id in list(self._refused):
            self._publish_one(self._refused.pop(task_id))
            published += 1
        return published

    def _publish_one(self, message: DueMessage) -> None:
        try:
            self._publish(message)
        except (OperationalError, OSError):
            self._refused[message.task_id] = message
            raise
        _log(message)

    def _prune_now_and_then(self) -> None:
        self._until_prune_s -= self._every_s
        if self._until_prune_s <= 0:
            self._until_prune_s = _PRUNE_EVERY_S
            if self._store.prune():
                self._until_prune_s = _PRUNE_ON_S  # a part at a time, as this waits for it


def _log(message: DueMessage) -> None:
    logger.info(
        "message published again",
        extra={
            "action": "message_republished",
            "message_id": message.message_id,
            "task_id": message.task_id,
        },
    )
