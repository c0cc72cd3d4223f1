"""Blocking work beside the event loop; the registration, for ``listener/connection.py``."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own and return what it returns, or raise what it raises.

    ``asyncio.to_thread`` would have the process wait at its end for work that hangs.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            setter(value)

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001, raised where it is awaited
            arguments: tuple[Callable[[Any], None], Any] = (outcome.set_exception, error)
        else:
            arguments = (outcome.set_result, result)
        with suppress(RuntimeError):  # the loop ended first
            loop.call_soon_threadsafe(settle, *arguments)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return await outcome
