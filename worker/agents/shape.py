"""What kind of callable an agent is, decided once when it is loaded."""

import inspect
import typing
from dataclasses import dataclass
from typing import Any

from worker.agents.agent_settings import AgentSettings
from worker.agents.context import Context

__all__ = ["NotAnAgentError", "Shape", "shape_of"]

_Parameter = inspect.Parameter
_POSITIONAL = (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD)


class NotAnAgentError(TypeError):
    """It cannot be called with a message; the text goes on after its name."""


@dataclass(frozen=True)
class Shape:
    """How an agent is called.

    Args:
        kind: In words.
        is_async: Whether calling it takes no time, because the event loop does all the rest.
        takes_context: Whether it is given one.
        is_class: Whether it is to be built first, once a process.
        takes_settings: Whether it is built with its settings.
        settings: The class of the settings that it names.
    """

    kind: str
    is_async: bool
    takes_context: bool
    is_class: bool = False
    takes_settings: bool = False
    settings: type[AgentSettings] | None = None


def shape_of(agent: Any) -> Shape:
    """Look at an agent without calling it.

    Raises:
        NotAnAgentError: It is none.
    """
    if inspect.isclass(agent):
        return _of_class(agent)
    if not callable(agent):
        raise NotAnAgentError(f"is a {type(agent).__name__}, which nobody can call")
    is_object = not (hasattr(agent, "__code__") or inspect.isroutine(agent))
    called = agent.__call__ if is_object else agent
    kind = _kind(agent) if _is_async(agent) else _kind(called)
    takes_context = _takes_context(inspect.signature, agent)
    return Shape(
        kind=f"a {type(agent).__name__} that is called as {kind}" if is_object else kind,
        is_async=_is_async(agent) or _is_async(called),
        takes_context=takes_context,
        settings=_settings_in(called) if takes_context else None,
    )


def _of_class(agent: type) -> Shape:
    own = next((c.__dict__["__call__"] for c in agent.__mro__ if "__call__" in c.__dict__), None)
    if own is None:
        raise NotAnAgentError("is a class without __call__, so nobody can call what it builds")
    takes_context = _takes_context(_without_self, own)
    needed = _needed(agent)
    if len(needed) > 1:
        names = ", ".join(each.name for each in needed)
        raise NotAnAgentError(f"is a class that needs {names}: it is given its settings alone")
    settings = _settings_in(vars(agent).get("__init__", agent)) if needed else None
    if needed and settings is None:
        raise NotAnAgentError(
            f"is a class that needs {needed[0].name}: annotate it with a class of AgentSettings"
        )
    if settings is None and takes_context:
        settings = _settings_in(own)
    return Shape(
        kind=f"a class whose objects are called as {_kind(own)}",
        is_async=_is_async(own),
        takes_context=takes_context,
        is_class=True,
        takes_settings=bool(needed),
        settings=settings,
    )


def _needed(agent: type) -> list[inspect.Parameter]:
    """Return the parameters that a class cannot be built without."""
    try:
        signature = inspect.signature(agent)
    except ValueError:  # written in C, and tells nothing
        return []
    return [
        each
        for each in signature.parameters.values()
        if each.default is _Parameter.empty and each.kind not in _VARIADIC
    ]


def _kind(called: Any) -> str:
    if inspect.isasyncgenfunction(called):
        return "an async generator"
    if inspect.iscoroutinefunction(called):
        return "an async function"
    return "a generator" if inspect.isgeneratorfunction(called) else "a function"


def _is_async(called: Any) -> bool:
    return inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


def _without_self(function: Any) -> inspect.Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _takes_context(signature_of: Any, agent: Any) -> bool:
    try:
        signature = signature_of(agent)
    except ValueError:  # written in C, and tells nothing
        return False
    places = [each for each in signature.parameters.values() if each.kind in _POSITIONAL]
    if _binds(signature, object()):
        return len(places) > 1 and _means_context(places[1])
    if _binds(signature, object(), object()):
        return True
    raise NotAnAgentError(
        "cannot be called with one argument, the message, nor with two, the message and its context"
    )


def _means_context(parameter: inspect.Parameter) -> bool:
    """Whether an argument that may be left out is meant for the context."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = annotation.split("[")[0].rpartition(".")[2]
        return parameter.name == "context" or annotation == "Context"
    return parameter.name == "context" or (typing.get_origin(annotation) or annotation) is Context


def _binds(signature: inspect.Signature, *arguments: object) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _settings_in(called: Any) -> type[AgentSettings] | None:
    """Return the class of settings that an annotation of ``called`` names."""
    try:
        hints = typing.get_type_hints(called)
    except (NameError, TypeError, AttributeError):
        return None
    for hint in hints.values():
        named = typing.get_args(hint) if typing.get_origin(hint) is Context else (hint,)
        for each in named:
            if inspect.isclass(each) and issubclass(each, AgentSettings):
                return each
    return None
