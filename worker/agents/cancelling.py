"""The word that an agent's work is not wanted any more.

Made by ``worker/asking.py`` for each run of an agent, cancelled from any thread: by the runner when
the time is over or the process ends, and by whoever learns that the message is not ours any more.
"""

import threading
from collections.abc import Callable

__all__ = ["ENDING", "OVERRAN", "STOPPED", "AgentStoppedError", "Cancellation"]

STOPPED = "stopped"
OVERRAN = "out of time"
ENDING = "the process ends"


class AgentStoppedError(Exception):
    """Its work was called off before it was done; ``why`` is safe to show."""

    def __init__(self, why: str = STOPPED) -> None:
        super().__init__(why)
        self.why = why


class Cancellation:
    """Of one run of an agent; once cancelled it stays so, for the first reason that was given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._callbacks: list[Callable[[], object]] = []

    def cancel(self, why: str = STOPPED) -> None:
        """Call it off.

        Args:
            why: One safe line, for the log and the outcome.
        """
        with self._lock:
            if self._reason is not None:
                return
            self._reason = why
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Why; None while it is not cancelled."""
        return self._reason

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have something called once, by whoever cancels; at once when that has happened.

        Args:
            callback: Must neither block nor raise.

        Returns:
            What takes the callback away again.
        """
        with self._lock:
            is_late = self._reason is not None
            if not is_late:
                self._callbacks.append(callback)
        if is_late:
            callback()

        def forget() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return forget
