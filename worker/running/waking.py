"""Ends the wait of the worker's event loop when there is something to do that no socket tells of.

``worker/running/consumer.py`` registers it. Python goes on waiting after a signal, and what a
thread of the pool hands to the loop waits as well: without this, up to a second each.
"""

import os
import signal
import threading
from contextlib import suppress
from typing import Any

__all__ = ["Waking"]


class Waking:
    """A pipe that an event loop looks at."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._is_woken = False

    def register(self, hub: Any) -> None:
        """Have a loop look at it, and wake it on the signals of this process.

        Again for each connection to the broker: a loop that fails forgets what it looks at.
        """
        hub.add_reader(self._read, self._forget)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wake(self) -> None:
        """Have the loop go round once more, from any thread."""
        if not self._is_woken:
            self._is_woken = True
            with suppress(BlockingIOError):
                os.write(self._write, b"!")

    def _forget(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read, 4096)
        # Only now, as what is written before would be read along.
        self._is_woken = False
