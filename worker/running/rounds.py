"""Small duties of a worker's main process, each done now and then in one thread.

``worker/running/process.py`` runs the presence and the alerts so. A duty never hurts: what it
raises is logged once an outage, and it is done again the next time.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from worker.store import StoreError

__all__ = ["Rounds"]

logger = logging.getLogger(__name__)


class Rounds:
    """Does every duty, then waits, until stopped."""

    def __init__(
        self,
        duties: Sequence[Callable[[], object]],
        *,
        every_s: float,
        at_end: Callable[[], object] = lambda: None,
        end_limit_s: float = 2.0,
    ) -> None:
        """Prepare.

        Args:
            duties: What is done; the name of each says what, in a log.
            every_s: Between two rounds.
            at_end: Done once, when the rounds are stopped and the last one went well.
            end_limit_s: How long stopping may take.
        """
        self._end_limit_s = end_limit_s
        self._duties, self._at_end = duties, at_end
        self._every_s = every_s
        self._failing = set[int]()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)

    def start(self) -> None:
        """Start, beginning now."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the duty in hand, if it does not take long."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(self._end_limit_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.make()
            self._stopped.wait(self._every_s)
        if not self._failing:
            with suppress(StoreError):
                self._at_end()

    def make(self) -> None:
        """Do every duty once."""
        for number, duty in enumerate(self._duties):
            try:
                duty()
            except Exception as error:  # noqa: BLE001, no duty is worth a worker
                if number not in self._failing:
                    shown = str(error) if isinstance(error, StoreError) else type(error).__name__
                    logger.warning(
                        "cannot %s, trying again until it works: %s",
                        duty.__name__.strip("_").replace("_", " "),
                        shown,
                        extra={"action": "rounds_failed"},
                    )
                self._failing.add(number)
            else:
                self._failing.discard(number)
