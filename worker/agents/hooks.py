"""What agents do before the first message and after the last: ``startup`` and ``shutdown``.

Each is plain or async, with no argument or with the agent's settings. Of an object they are its
methods, of a function those of these names in the module that ``AGENT`` names. Called by each
process that runs agents, at its start and its end; the async ones on the loop of all agents.
"""

import asyncio
import concurrent.futures
import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from worker.agents.base import Agent, AgentLoadError, place_of
from worker.agents.loading import LoadedAgent
from worker.agents.loop import AgentLoop

__all__ = ["STARTUP_LIMIT_S", "Hooks"]

logger = logging.getLogger(__name__)

STARTUP_LIMIT_S = 60.0
"""Of all startups of a process together; ``celeryconfig.py`` gives a pool's process longer."""
SHUTDOWN_LIMIT_S = 5.0

Name = Literal["startup", "shutdown"]


@dataclass(frozen=True)
class _Hook:
    """One of them, ready to be called."""

    spec: str
    name: Name
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def failed(self, why: str) -> AgentLoadError:
        return AgentLoadError(f"AGENT={self.spec!r}: its {self.name} {why}")


class Hooks:
    """Those of all agents of a process."""

    def __init__(self, agents: Sequence[tuple[LoadedAgent, Agent]], loop: AgentLoop) -> None:
        """Prepare.

        Args:
            agents: As they were loaded, and what was built of them.
            loop: Where the async ones are called.

        Raises:
            AgentLoadError: One of them cannot be called.
        """
        self._loop = loop
        self._startups = _found(agents, "startup")
        self._shutdowns = _found(agents, "shutdown")
        self._has_started = False
        if any(hook.is_async for hook in self._startups):
            loop.on_replaced(self._start_again)

    def start(self, limit_s: float = STARTUP_LIMIT_S) -> None:
        """Call every startup, once.

        Args:
            limit_s: The longest that all of them may take.

        Raises:
            AgentLoadError: Naming the agent whose startup raised, or took too long; its words are
                not shown, as they may hold a secret.
        """
        if self._has_started:
            return
        self._has_started = True
        end = time.monotonic() + limit_s
        for hook in self._startups:
            self._call(hook, end - time.monotonic(), limit_s)

    def stop(self, limit_s: float = SHUTDOWN_LIMIT_S) -> None:
        """Call every shutdown, the last agent's first; what fails there is logged.

        Args:
            limit_s: The longest that all of them may take.
        """
        if not self._has_started:
            return
        self._has_started = False
        end = time.monotonic() + limit_s
        for hook in reversed(self._shutdowns):
            try:
                self._call(hook, end - time.monotonic(), limit_s)
            except AgentLoadError as error:
                logger.error("%s", error, extra={"action": "agent_shutdown_failed"})  # noqa: TRY400

    def _start_again(self) -> None:
        """On a new loop, in place of one that an agent blocks: what was made there is lost."""
        for hook in self._startups:
            if hook.is_async:
                try:
                    self._call(hook, STARTUP_LIMIT_S, STARTUP_LIMIT_S)
                except AgentLoadError as error:
                    logger.error("%s", error, extra={"action": "agent_startup_failed"})  # noqa: TRY400

    def _call(self, hook: _Hook, left_s: float, limit_s: float) -> None:
        future = self._begun(hook)
        if not concurrent.futures.wait([future], max(0.0, left_s)).done:
            future.cancel()
            raise hook.failed(f"did not end within {limit_s:g} s")
        try:
            future.result()
        except BaseException as error:  # noqa: BLE001, an agent raises what it likes
            raise hook.failed(f"raised {_told(error)}") from None

    def _begun(self, hook: _Hook) -> concurrent.futures.Future[Any]:
        if hook.is_async:
            return asyncio.run_coroutine_threadsafe(
                hook.function(*hook.arguments), self._loop.running()
            )
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()  # a thread cannot be cancelled

        def run() -> None:
            try:
                future.set_result(hook.function(*hook.arguments))
            except BaseException as error:  # noqa: BLE001, it is raised where it is waited for
                future.set_exception(error)

        threading.Thread(target=run, name=hook.name, daemon=True).start()
        return future


def _told(error: BaseException) -> str:
    if isinstance(error, AgentLoadError):  # of one that says what it lacks
        return str(error)
    return f"{type(error).__name__}{place_of(error)}"


def _found(agents: Sequence[tuple[LoadedAgent, Agent]], name: Name) -> list[_Hook]:
    """Return the hooks of this name; what two agents share and tells them not apart is one."""
    hooks = list[_Hook]()
    for loaded, agent in agents:
        function = getattr(_owner_of(loaded, agent), name, None)
        if function is None:
            continue
        arguments = _arguments_of(function, loaded, name)
        hook = _Hook(loaded.spec, name, function, arguments)
        if not any(h.function == function and h.arguments == arguments for h in hooks):
            hooks.append(hook)
    return hooks


def _owner_of(loaded: LoadedAgent, agent: Agent) -> Any:
    """Return what the hooks of an agent belong to: its object, or the module it was named in."""
    if inspect.ismethod(agent):
        return agent.__self__
    is_object = not (hasattr(agent, "__code__") or inspect.isroutine(agent))
    return agent if is_object else sys.modules.get(loaded.spec.partition(":")[0])


def _arguments_of(function: Any, loaded: LoadedAgent, name: Name) -> tuple[Any, ...]:
    wrong = AgentLoadError(
        f"AGENT={loaded.spec!r}: its {name} cannot be called without an argument, nor with one, "
        "the agent's settings"
    )
    if not callable(function):
        raise wrong
    try:
        signature = inspect.signature(function)
    except ValueError:  # written in C, and tells nothing
        return ()
    for arguments in ((), (loaded.settings,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return arguments
    raise wrong
