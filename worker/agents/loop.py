"""The event loop of a process's async agents, in a thread of its own.

All of them share it, so hundreds wait at once. One that blocks it is abandoned with it, and the
next ones get a new loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable

__all__ = ["AgentLoop"]

# An event loop that does not turn for so long is blocked by an agent.
_TURNS_S = 5.0


class AgentLoop:
    """One a process; its thread starts with the first agent or hook that needs it."""

    def __init__(self, *, turns_s: float = _TURNS_S) -> None:
        self._turns_s = turns_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._on_replaced: list[Callable[[], object]] = []

    def running(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which runs."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_for_ever, args=(self._loop,), name="agents", daemon=True
                ).start()
            return self._loop

    def on_replaced(self, callback: Callable[[], object]) -> None:
        """Have something called, in a thread of its own, when the loop was given up."""
        self._on_replaced.append(callback)

    def give_up_if_blocked(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Leave a loop that does not turn to the agent that blocks it.

        Returns:
            Whether it was given up by this: of many that find it blocked, one is told so.
        """
        turns = threading.Event()
        loop.call_soon_threadsafe(turns.set)
        if turns.wait(self._turns_s):
            return False
        with self._lock:
            is_first = self._loop is loop
            if is_first:
                self._loop = None
        if is_first:
            for callback in self._on_replaced:
                threading.Thread(target=callback, name="agents-again", daemon=True).start()
        return is_first


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    while True:  # past an agent's task that calls sys.exit()
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
