"""What a user has called for card buttons and events: ``CARD_ACTION_HANDLER``, ``EVENT_HANDLER``.

Loaded at start, like the agent, and run the same way: within a time limit, plain or async, never
in the way of others.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contract.pushes import Push
from contract.routing import HANDLE_CARD_ACTION, HANDLE_EVENT
from worker.agents.base import AgentLoadError, load_object
from worker.agents.loop import AgentLoop
from worker.agents.runner import AgentRunner
from worker.bots import Bots
from worker.settings import WorkerSettings

__all__ = ["Handler", "HandlerRunner", "Handlers", "load_handler", "load_handlers"]

Handler = Callable[[Any], Any]
"""Plain or async, called with a :class:`CardAction` or an :class:`OrgEvent`."""


def load_handler(variable: str, spec: str, argument: str) -> Handler:
    """Import the handler that a variable names.

    Args:
        variable: For the error.
        spec: ``module:attribute``, as ``AGENT``.
        argument: What it is called with, for the error.

    Raises:
        AgentLoadError: Saying what does not hold, and what would.
    """
    found, named = load_object(variable, spec), f"{variable}={spec!r}"
    if inspect.isclass(found):
        raise AgentLoadError(f"{named} is a class: name an instance or a function")
    if not callable(found):
        raise AgentLoadError(f"{named} is a {type(found).__name__}, which nobody can call")
    for called in (found, getattr(found, "__call__", None)):  # noqa: B004, it may be a method
        if inspect.isasyncgenfunction(called) or inspect.isgeneratorfunction(called):
            raise AgentLoadError(f"{named} yields: return the result instead")
    try:
        inspect.signature(found).bind(object())
    except TypeError:
        raise AgentLoadError(f"{named} cannot be called with one argument, {argument}") from None
    except ValueError:  # written in C, and tells nothing
        pass
    return found  # type: ignore[no-any-return]


Named = tuple[str, str]
"""The name of a task, and ``module:attribute`` of what is called for it."""


def load_handlers(settings: WorkerSettings) -> dict[Named, Handler]:
    """Import the handlers of all bots.

    Raises:
        AgentLoadError: As :func:`load_handler`.
    """
    return {
        (task, spec): load_handler(_VARIABLES[task][0], spec, _VARIABLES[task][1])
        for bot in settings.of_bots
        for task, spec in _specs(bot).items()
    }


_VARIABLES = {
    HANDLE_CARD_ACTION: ("CARD_ACTION_HANDLER", "the action"),
    HANDLE_EVENT: ("EVENT_HANDLER", "the event"),
}


def _specs(bot: WorkerSettings) -> dict[str, str]:
    named = {HANDLE_CARD_ACTION: bot.card_action_handler, HANDLE_EVENT: bot.event_handler}
    return {task: spec for task, spec in named.items() if spec}


class Handlers:
    """The handlers of all bots; shared by the threads of a process."""

    def __init__(
        self,
        bots: Bots,
        handlers: Mapping[Named, Handler],
        *,
        loop: AgentLoop | None = None,
        on_abandoned: Callable[[int], object] = lambda count: None,
        on_returned: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            bots: Say which is whose.
            handlers: From :func:`load_handlers`.
            loop: As for :class:`AgentRunner`.
            on_abandoned: As for :class:`AgentRunner`.
            on_returned: As for :class:`AgentRunner`.
        """
        self._bots = bots
        self._runners = {
            named: HandlerRunner(
                handler, loop=loop, on_abandoned=on_abandoned, on_returned=on_returned
            )
            for named, handler in handlers.items()
        }

    def of(self, task: str, client_id: str) -> "HandlerRunner | None":
        """Return what handles this task for an app; None when nothing does.

        Raises:
            UnknownBotError: No bot of ours is this app's.
        """
        spec = _specs(self._bots.of_app(client_id).settings).get(task)
        return None if spec is None else self._runners.get((task, spec))

    def cancel_all(self) -> None:
        """End what can be ended; for a process that must end."""
        for runner in self._runners.values():
            runner.cancel_all()


@dataclass
class _Call:
    """One call, and what came of it; a runner of agents lets nothing but a reply through."""

    push: Push
    result: Any = None


class HandlerRunner:
    """Runs one handler in this process, from any thread."""

    def __init__(
        self,
        handler: Handler,
        *,
        loop: AgentLoop | None = None,
        on_abandoned: Callable[[int], object] = lambda count: None,
        on_returned: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare; all but ``handler`` as for :class:`AgentRunner`."""
        is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004, an object whose call is async
        )
        agent: Any = _async(handler) if is_async else _plain(handler)
        self._runner = AgentRunner(
            agent, loop=loop, on_abandoned=on_abandoned, on_returned=on_returned
        )

    def run(self, push: Push, *, limit_s: float) -> Any:
        """Return what the handler does.

        Raises:
            AgentTimeoutError: ``limit_s`` was over first.
            AgentFailedError: It raised.
            AgentCancelledError: The process ends.
        """
        call: Any = _Call(push)
        self._runner.run(call, limit_s=limit_s)
        return call.result

    def cancel_all(self) -> None:
        """As :meth:`AgentRunner.cancel_all`."""
        self._runner.cancel_all()


def _async(handler: Handler) -> Callable[[_Call], Any]:
    async def run(call: _Call) -> None:
        call.result = await handler(call.push)

    return run


def _plain(handler: Handler) -> Callable[[_Call], Any]:
    async def wait(call: _Call, result: Any) -> None:
        call.result = await result

    def run(call: _Call) -> Any:
        result = handler(call.push)
        if inspect.isawaitable(result):
            return wait(call, result)
        call.result = result
        return None

    return run
