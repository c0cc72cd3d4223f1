"""Calls the agent, for as long as it may take and no longer.

An agent that overruns, or is stopped, ends in one of three ways: an async one is cancelled; in a
prefork child, where the agent has the main thread, a plain one is interrupted by a signal; anywhere
else a plain one cannot be stopped, so it is abandoned: its thread goes on, and what it returns is
thrown away.

Async agents run on the event loop of ``worker/agents/loop.py``, which all of a process share.

An agent may yield its reply in pieces, plain or async; it is read where it runs, so its time limit
and its ends are those of the others. One that is abandoned is closed at the next piece it yields.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from dingwire.replies import InvalidReplyError
from worker.agents import interrupting, pieces
from worker.agents.base import Agent, Message, wanted_tokens, wanted_turns
from worker.agents.cancelling import ENDING, OVERRAN, AgentStoppedError, Cancellation
from worker.agents.context import AgentError, Context, Retry
from worker.agents.interrupting import InterruptedByUsError, interrupted_after
from worker.agents.loop import AgentLoop
from worker.agents.pieces import OnPiece, Pieces
from worker.agents.shape import shape_of
from worker.agents.threads import AgentThreads

__all__ = [
    "AgentCancelledError",
    "AgentFailedError",
    "AgentRetryError",
    "AgentRunner",
    "AgentStoppedError",
    "AgentTimeoutError",
]

logger = logging.getLogger(__name__)

_threads = AgentThreads()

# Left out of what is shown of an agent's failure.
_OURS = {__file__, interrupting.__file__, pieces.__file__}


class AgentTimeoutError(Exception):
    """The agent took longer than it may."""


class AgentCancelledError(Exception):
    """The process ends, and with it the agent; its message is for another worker."""


class AgentFailedError(Exception):
    """The agent raised, or returned or yielded what is no reply.

    ``detail`` is safe to show: it never holds the exception's own text, which may quote the
    message, unless that was made to be shown. ``frames`` is the way to the line that raised.
    """

    def __init__(self, detail: str, frames: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.frames = frames


class AgentRetryError(AgentFailedError):
    """The agent asked for another run, in ``after_s``; ``detail`` says why, if it told."""

    def __init__(self, after_s: float, detail: str, frames: str) -> None:
        super().__init__(detail, frames)
        self.after_s = after_s


def _described(error: BaseException) -> AgentFailedError:
    frames = traceback.extract_tb(error.__traceback__)
    ours = max((i for i, frame in enumerate(frames) if frame.filename in _OURS), default=-1)
    shown = "".join(traceback.format_list(frames[ours + 1 :]))
    if isinstance(error, Retry):
        return AgentRetryError(error.after_s, _safe_words(error), shown)
    return AgentFailedError(_safe_words(error), shown)


def _safe_words(error: BaseException) -> str:
    """Return what may be shown of an agent's failure."""
    if isinstance(error, Retry) and isinstance(error.__cause__, AgentError):
        return str(error.__cause__)
    # Those of a reply name fields and limits.
    is_safe = isinstance(error, AgentError | InvalidReplyError)
    return str(error) if is_safe else type(error).__name__


def _result_of(
    future: concurrent.futures.Future[Any], limit_s: float, cancellation: Cancellation
) -> Any:
    """Wait for ``future``; an agent's own TimeoutError is not taken for ours."""
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    forget = cancellation.on_cancel(ended.set)
    ended.wait(max(limit_s, 0))
    forget()
    if not future.done():
        raise _end_of(cancellation)
    try:
        return future.result()
    except AgentFailedError:
        raise
    except BaseException as error:  # noqa: BLE001, an agent may raise anything
        raise _described(error) from None


def _end_of(cancellation: Cancellation) -> Exception:
    """Return why an agent that has not ended is not waited for, and say so to the agent."""
    cancellation.cancel(OVERRAN)
    why = cancellation.reason or OVERRAN
    if why == OVERRAN:
        return AgentTimeoutError()
    return AgentCancelledError() if why == ENDING else AgentStoppedError(why)


def _check_wanted(cancellation: Cancellation) -> None:
    """Take what an agent says that ends because it was stopped for no answer, and no failure."""
    if cancellation.reason not in (None, OVERRAN, ENDING):
        raise _end_of(cancellation)


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


class AgentRunner:
    """Runs one agent in this process, from any thread."""

    def __init__(
        self,
        agent: Agent,
        *,
        settings: Any = None,
        loop: AgentLoop | None = None,
        on_abandoned: Callable[[int], object] = lambda count: None,
        on_returned: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            agent: No class.
            settings: The agent's own.
            loop: Of all agents of the process; one of its own, if left out.
            on_abandoned: Told how many threads have been lost so far.
            on_returned: Told of each of them that came to its end after all, in that thread.
        """
        self._agent, self._shape, self.settings = agent, shape_of(agent), settings
        self._on_abandoned, self._on_returned = on_abandoned, on_returned
        self._loop = AgentLoop() if loop is None else loop
        self._lock = threading.Lock()
        self._is_ending = False
        self._running = set[Cancellation]()
        self.abandoned = 0

    @property
    def reads(self) -> frozenset[str]:
        """Kinds of message that the agent says it reads, beside those with content we know."""
        kinds = getattr(self._agent, "reads", ())
        return (
            frozenset(kinds) if isinstance(kinds, set | frozenset | list | tuple) else frozenset()
        )

    @property
    def history_turns(self) -> int:
        """How many turns of a conversation the agent asks to be reminded of; 0: none."""
        return wanted_turns(self._agent)

    @property
    def history_tokens(self) -> int | None:
        """How many tokens of it at most the agent asks for; None: any number."""
        return wanted_tokens(self._agent)

    def run(
        self,
        message: Message,
        *,
        context: Context[Any] | None = None,
        limit_s: float,
        on_piece: OnPiece = lambda _: None,
    ) -> Any:
        """Return what the agent returned, or all that it yielded; ``results.py`` reads it.

        Args:
            message: For the agent.
            context: For an agent that takes one; its cancellation ends any agent.
            limit_s: Longest it may take, all that it yields included.
            on_piece: Called with each piece as it is yielded, in the agent's thread or on the event
                loop of all agents: it must neither block nor raise.

        Raises:
            AgentTimeoutError: ``limit_s`` was over first.
            AgentFailedError: It raised.
            AgentStoppedError: The context's cancellation was cancelled, for another reason.
            AgentCancelledError: The process ends.
        """
        end = time.monotonic() + limit_s
        cancellation = context.cancellation if context is not None else Cancellation()
        arguments: tuple[Any, ...] = (message,)
        if self._shape.takes_context:
            arguments = (message, context or Context(message, settings=self.settings))
        with Pieces(on_piece) as yielded, self._known(cancellation):
            if cancellation.is_cancelled:  # before it was run
                raise _end_of(cancellation)
            try:
                result = self._ended(arguments, yielded, end, cancellation)
            except AgentFailedError:
                _check_wanted(cancellation)
                raise
            _check_wanted(cancellation)
        return result

    def _ended(
        self, arguments: tuple[Any, ...], yielded: Pieces, end: float, cancellation: Cancellation
    ) -> Any:
        """Run the agent to its end, or to ``end`` on the monotonic clock."""
        if self._shape.is_async:
            result: Any = self._agent(*arguments)
        else:
            call = lambda: yielded.of(self._agent(*arguments))  # noqa: E731
            result = self._call(call, end - time.monotonic(), cancellation)
        if inspect.isawaitable(result) or isinstance(result, AsyncIterator):
            left_s = end - time.monotonic()
            result = self._wait(_awaited(result, yielded), left_s, cancellation)
        if isinstance(result, Iterator):  # an async agent returned a plain one
            made = result
            left_s = end - time.monotonic()
            result = self._call(lambda: yielded.of(made), left_s, cancellation)
        return result

    @contextlib.contextmanager
    def _known(self, cancellation: Cancellation) -> Iterator[None]:
        """Have the end of the process cancel it, inside the ``with`` block."""
        with self._lock:
            self._running.add(cancellation)
            is_ending = self._is_ending
        if is_ending:
            cancellation.cancel(ENDING)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(cancellation)

    def _call(self, call: Callable[[], Any], limit_s: float, cancellation: Cancellation) -> Any:
        if threading.current_thread() is threading.main_thread():
            return self._run_here(call, limit_s, cancellation)
        return self._run_beside(call, limit_s, cancellation)

    def _run_here(self, call: Callable[[], Any], limit_s: float, cancellation: Cancellation) -> Any:
        try:
            return interrupted_after(limit_s, call, cancellation)
        except InterruptedByUsError:
            raise _end_of(cancellation) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001, an agent may raise anything, SystemExit too
            raise _described(error) from None

    def _run_beside(
        self, call: Callable[[], Any], limit_s: float, cancellation: Cancellation
    ) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001, an agent may raise anything
                future.set_exception(error)

        _threads.run(run)
        try:
            return _result_of(future, limit_s, cancellation)
        except (AgentTimeoutError, AgentStoppedError):
            self._abandon()
            future.add_done_callback(lambda _: self._on_returned())
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

    def _wait(
        self, result: Coroutine[Any, Any, Any], limit_s: float, cancellation: Cancellation
    ) -> Any:
        loop = self._loop.running()
        future = asyncio.run_coroutine_threadsafe(result, loop)
        try:
            return _result_of(future, limit_s, cancellation)
        except (AgentTimeoutError, AgentStoppedError):
            future.cancel()
            if self._loop.give_up_if_blocked(loop):
                self._abandon()
            raise
        except AgentCancelledError:
            future.cancel()
            raise
        except AgentFailedError:
            if future.cancelled() and self._is_ending:
                raise AgentCancelledError from None
            raise

    def cancel_all(self) -> None:
        """Cancel what runs; for a process that must end.

        A plain agent in a thread is only told, and not waited for.
        """
        with self._lock:
            self._is_ending = True
            running = list(self._running)
        for cancellation in running:
            cancellation.cancel(ENDING)
