"""Calls the agent, for as long as it may take and no longer.

Three kinds of overrun, three ends: an async agent is cancelled; in a prefork child, where the
agent has the main thread, a plain one is interrupted by a signal; anywhere else a plain one cannot
be stopped, so it is abandoned: its thread goes on, and what it returns is thrown away.

Async agents of a process share one event loop in a thread of its own, so hundreds wait at once. One
that blocks the loop is abandoned with it, and the next ones get a new loop.

An agent may yield its reply in pieces, plain or async; it is read where it runs, so its time limit
and its ends are those of the others. One that is abandoned is closed at the next piece it yields.
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
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

from dingwire.replies import InvalidReplyError
from worker.agents import pieces
from worker.agents.base import Agent, Message
from worker.agents.pieces import OnPiece, Pieces

__all__ = ["AgentCancelledError", "AgentFailedError", "AgentRunner", "AgentTimeoutError"]

logger = logging.getLogger(__name__)

_INTERRUPT_AGAIN_S = 1.0
_SHORTEST_S = 0.001  # a timer of nothing would never go off
# An event loop that does not turn for so long is blocked by an agent.
_LOOP_TURNS_S = 5.0
# Left out of what is shown of an agent's failure.
_OURS = {__file__, pieces.__file__}


class AgentTimeoutError(Exception):
    """The agent took longer than it may."""


class AgentCancelledError(Exception):
    """The process ends, and with it the agent; its message is for another worker."""


class AgentFailedError(Exception):
    """The agent raised, or returned or yielded what is no reply.

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
    ours = max((i for i, frame in enumerate(frames) if frame.filename in _OURS), default=-1)
    # Its own words are safe: they name fields and limits.
    detail = str(error) if isinstance(error, InvalidReplyError) else type(error).__name__
    return AgentFailedError(detail, "".join(traceback.format_list(frames[ours + 1 :])))


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


async def _awaited(result: Any, yielded: Pieces) -> Any:
    """Return what an async agent returns, or all that it yields."""
    try:
        if inspect.isawaitable(result):
            result = await result
        return await yielded.awaited(result) if isinstance(result, AsyncIterator) else result
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001, a SystemExit would end the loop of all agents
        raise _described(error) from None


def _is_async(agent: Agent) -> bool:
    """Whether calling the agent takes no time, because all it does is done by the event loop."""
    return any(
        inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)
        for called in (agent, getattr(agent, "__call__", None))  # noqa: B004, an async method
    )


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

    @property
    def reads(self) -> frozenset[str]:
        """Kinds of message that the agent says it reads, beside those with content we know."""
        kinds = getattr(self._agent, "reads", ())
        return (
            frozenset(kinds) if isinstance(kinds, set | frozenset | list | tuple) else frozenset()
        )

    def run(self, message: Message, *, limit_s: float, on_piece: OnPiece = lambda _: None) -> Any:
        """Return what the agent returned, or all that it yielded; ``results.py`` reads it.

        Args:
            message: For the agent.
            limit_s: Longest it may take, all that it yields included.
            on_piece: Called with each piece as it is yielded, in the agent's thread or on the event
                loop of all agents: it must neither block nor raise.

        Raises:
            AgentTimeoutError: ``limit_s`` was over first.
            AgentFailedError: It raised.
            AgentCancelledError: The process ends.
        """
        end = time.monotonic() + limit_s
        with Pieces(on_piece) as yielded:
            if _is_async(self._agent):
                result: Any = self._agent(message)
            else:
                result = self._call(lambda: yielded.of(self._agent(message)), limit_s)
            if inspect.isawaitable(result) or isinstance(result, AsyncIterator):
                result = self._wait(_awaited(result, yielded), end - time.monotonic())
            if isinstance(result, Iterator):  # an async agent returned a plain one
                made = result
                result = self._call(lambda: yielded.of(made), end - time.monotonic())
        return result

    def _call(self, call: Callable[[], Any], limit_s: float) -> Any:
        if threading.current_thread() is threading.main_thread():
            return self._run_here(call, limit_s)
        return self._run_beside(call, limit_s)

    def _run_here(self, call: Callable[[], Any], limit_s: float) -> Any:
        try:
            return _interrupted_after(max(limit_s, _SHORTEST_S), call)
        except _InterruptedError:
            raise AgentTimeoutError from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001, an agent may raise anything, SystemExit too
            raise _described(error) from None

    def _run_beside(self, call: Callable[[], Any], limit_s: float) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001, an agent may raise anything
                future.set_exception(error)

        name = f"agent-{next(self._numbers)}"
        threading.Thread(target=run, name=name, daemon=True).start()
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

    def _wait(self, result: Coroutine[Any, Any, Any], limit_s: float) -> Any:
        loop = self._running_loop()
        future = asyncio.run_coroutine_threadsafe(result, loop)
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
