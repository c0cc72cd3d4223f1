"""Calls the agent, for as long as it may take and no longer.

Three kinds of overrun, three ends: an async agent is cancelled; in a prefork child, where the
agent has the main thread, a plain one is interrupted by a signal; anywhere else a plain one cannot
be stopped, so it is abandoned: its thread goes on, and what it returns is thrown away.

Async agents of a process share one event loop in a thread of its own, so hundreds wait at once. One
that blocks the loop is abandoned with it, and the next ones get a new loop.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import itertools
import logging
import signal
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from worker.agents.base import Agent, Message

__all__ = ["AgentCancelledError", "AgentFailedError", "AgentRunner", "AgentTimeoutError"]

logger = logging.getLogger(__name__)

_INTERRUPT_AGAIN_S = 1.0
# An event loop that does not turn for so long is blocked by an agent.
_LOOP_TURNS_S = 5.0


class AgentTimeoutError(Exception):
    """The agent took longer than it may."""


class AgentCancelledError(Exception):
    """The process ends, and with it the agent; its message is for another worker."""


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
    frames = traceback.extract_tb(error.__traceback__)
    ours = max((i for i, frame in enumerate(frames) if frame.filename == __file__), default=-1)
    return AgentFailedError(
        type(error).__name__, "".join(traceback.format_list(frames[ours + 1 :]))
    )


def _text(result: Any) -> str | None:
    if result is None or isinstance(result, str):
        return result
    raise AgentFailedError(f"returned {type(result).__name__}, not text")


def _result_of(future: concurrent.futures.Future[Any], limit_s: float) -> Any:
    """Wait for ``future``; an agent's own TimeoutError is not taken for ours."""
    if not concurrent.futures.wait([future], max(limit_s, 0)).done:
        raise AgentTimeoutError
    try:
        return future.result()
    except AgentFailedError:
        raise
    except BaseException as error:  # noqa: BLE001, an agent may raise anything
        raise _described(error) from None


async def _awaited(result: Awaitable[Any]) -> Any:
    try:
        return await result
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001, a SystemExit would end the loop of all agents
        raise _described(error) from None


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    while True:  # past an agent's task that calls sys.exit()
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def _interrupted_after(limit_s: float, call: Callable[[], Any]) -> Any:
    """Return what ``call`` returns, or raise in it when ``limit_s`` is over.

    Only in the main thread. The signal may come at any moment, the ones at which ``call`` has just
    ended included; it must never strike outside of this function.
    """
    is_armed = True

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if is_armed:
            raise _InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, limit_s, _INTERRUPT_AGAIN_S)
            return call()
        finally:
            is_armed = False
    finally:
        # Reached within the second before the signal comes again.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class AgentRunner:
    """Runs one agent in this process, from any thread."""

    def __init__(
        self, agent: Agent, *, on_abandoned: Callable[[int], object] = lambda count: None
    ) -> None:
        """Prepare; ``on_abandoned`` is told how many threads have been lost so far."""
        self._agent = agent
        self._on_abandoned = on_abandoned
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._is_ending = False
        self.abandoned = 0

    def run(self, message: Message, *, limit_s: float) -> str | None:
        """Return the reply; None or "" is silence.

        Raises:
            AgentTimeoutError: ``limit_s`` was over first.
            AgentFailedError: It raised, or returned no text.
            AgentCancelledError: The process ends.
        """
        end = time.monotonic() + limit_s
        if inspect.iscoroutinefunction(self._agent) or inspect.iscoroutinefunction(
            getattr(self._agent, "__call__", None)  # noqa: B004, an object whose call is async
        ):
            result: Any = self._agent(message)
        elif threading.current_thread() is threading.main_thread():
            result = self._run_here(message, limit_s)
        else:
            result = self._run_beside(message, limit_s)
        if inspect.isawaitable(result):
            result = self._wait(result, end - time.monotonic())
        return _text(result)

    def _run_here(self, message: Message, limit_s: float) -> Any:
        try:
            return _interrupted_after(limit_s, lambda: self._agent(message))
        except _InterruptedError:
            raise AgentTimeoutError from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001, an agent may raise anything, SystemExit too
            raise _described(error) from None

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
            return _result_of(future, limit_s)
        except AgentTimeoutError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        with self._lock:
            self.abandoned += 1
            count = self.abandoned
        logger.warning(
            "an agent does not return; its thread is lost",
            extra={"action": "agent_abandoned", "abandoned": count},
        )
        self._on_abandoned(count)

    def _wait(self, result: Awaitable[Any], limit_s: float) -> Any:
        loop = self._running_loop()
        future = asyncio.run_coroutine_threadsafe(_awaited(result), loop)
        try:
            return _result_of(future, limit_s)
        except AgentTimeoutError:
            future.cancel()
            self._replace_if_blocked(loop)
            raise
        except AgentFailedError:
            if future.cancelled() and self._is_ending:
                raise AgentCancelledError from None
            raise

    def _replace_if_blocked(self, loop: asyncio.AbstractEventLoop) -> None:
        turns = threading.Event()
        loop.call_soon_threadsafe(turns.set)
        if turns.wait(_LOOP_TURNS_S):
            return
        with self._lock:
            is_first = self._loop is loop  # of those that find it blocked
            if is_first:
                self._loop = None
        if is_first:
            self._abandon()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_for_ever, args=(self._loop,), name="agents", daemon=True
                ).start()
            return self._loop

    def cancel_all(self) -> None:
        """Cancel what the event loop runs; for a process that must end."""
        with self._lock:
            self._is_ending = True
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(lambda: [t.cancel() for t in asyncio.all_tasks(loop)])
