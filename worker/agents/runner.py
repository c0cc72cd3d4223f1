"""Calls the agent, for as long as it may take and no longer.

Three kinds of overrun, three ends: an async agent is cancelled; in a prefork child, where the
agent has the main thread, a plain one is interrupted by a signal; anywhere else a plain one cannot
be stopped, so it is abandoned: its thread goes on, and what it returns is thrown away.

Async agents of a process share one event loop in a thread of its own, so hundreds wait at once.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import itertools
import signal
import threading
import traceback
from collections.abc import Awaitable, Coroutine, Iterator
from types import FrameType
from typing import Any

from worker.agents.base import Agent, Message

__all__ = ["AgentFailedError", "AgentRunner", "AgentTimeoutError"]

_INTERRUPT_AGAIN_S = 1.0


class AgentTimeoutError(Exception):
    """The agent took longer than it may."""


class AgentFailedError(Exception):
    """The agent raised, or returned what is no reply.

    ``detail`` is safe to show: it never holds the exception's own text, which may quote the
    message. ``frames`` is the way to the line that raised.
    """

    def __init__(self, detail: str, frames: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.frames = frames


class _InterruptedError(BaseException):
    """Raised in an agent's own frame by the timer; a BaseException, so agents let it pass."""


def _described(error: BaseException) -> AgentFailedError:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return AgentFailedError(type(error).__name__, frames)


def _text(result: Any) -> str | None:
    if result is None or isinstance(result, str):
        return result
    raise AgentFailedError(f"returned {type(result).__name__}, not text")


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


@contextlib.contextmanager
def _interrupt_after(limit_s: float) -> Iterator[None]:
    """Raise in this thread, the process's main one, when ``limit_s`` is over."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise _InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit_s, _INTERRUPT_AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class AgentRunner:
    """Runs one agent in this process, from any thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.abandoned = 0

    def run(self, message: Message, *, limit_s: float) -> str | None:
        """Return the reply; None or "" is silence.

        Raises:
            AgentTimeoutError: ``limit_s`` was over first.
            AgentFailedError: It raised, or returned no text.
        """
        if inspect.iscoroutinefunction(self._agent) or inspect.iscoroutinefunction(
            getattr(self._agent, "__call__", None)  # noqa: B004, an object whose call is async
        ):
            result: Any = self._agent(message)
            return _text(self._wait(result, limit_s))
        if threading.current_thread() is threading.main_thread():
            return _text(self._run_here(message, limit_s))
        return _text(self._run_beside(message, limit_s))

    def _run_here(self, message: Message, limit_s: float) -> Any:
        try:
            with _interrupt_after(limit_s):
                result = self._agent(message)
        except _InterruptedError:
            raise AgentTimeoutError from None
        except Exception as error:  # noqa: BLE001, an agent may raise anything
            raise _described(error) from None
        return self._wait(result, limit_s) if inspect.isawaitable(result) else result

    def _run_beside(self, message: Message, limit_s: float) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def call() -> None:
            try:
                future.set_result(self._agent(message))
            except BaseException as error:  # noqa: BLE001, an agent may raise anything
                future.set_exception(error)

        name = f"agent-{next(self._numbers)}"
        threading.Thread(target=call, name=name, daemon=True).start()
        try:
            result = future.result(limit_s)
        except TimeoutError:
            if not future.done():
                self.abandoned += 1
                raise AgentTimeoutError from None
            raise _described(future.exception() or TimeoutError()) from None
        except BaseException as error:  # noqa: BLE001
            raise _described(error) from None
        return self._wait(result, limit_s) if inspect.isawaitable(result) else result

    def _wait(self, result: Awaitable[Any], limit_s: float) -> Any:
        coroutine: Coroutine[Any, Any, Any] = _awaited(result)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise _described(error) from None  # its own TimeoutError, not ours
            future.cancel()
            raise AgentTimeoutError from None
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            raise AgentFailedError("was cancelled") from None
        except BaseException as error:  # noqa: BLE001
            raise _described(error) from None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="agents", daemon=True).start()
            return self._loop

    def cancel_all(self) -> None:
        """Cancel what the event loop runs; for a process that must end."""
        with self._lock:
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(lambda: [t.cancel() for t in asyncio.all_tasks(loop)])
