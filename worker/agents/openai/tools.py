"""Python functions that a model may call: ``OPENAI_TOOLS``.

What a model is told of one comes from its name, its docstring and its type hints. A parameter that
is annotated as :class:`worker.agents.Context` or :class:`worker.agents.Message` is given by us, and
no model hears of it.
"""

import asyncio
import contextlib
import contextvars
import inspect
import logging
import re
import threading
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import TypedDict

from worker.agents.base import AgentLoadError, Message, load_object
from worker.agents.context import AgentError, Context

__all__ = ["Tool", "load_tools"]

logger = logging.getLogger(__name__)

_VARIABLE = "OPENAI_TOOLS"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST = 20_000
_SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Example|Examples|Note):\s*$")
_ARGUMENT = re.compile(r"^(\w+)(?: \([^)]*\))?:\s+(.*)$")


@dataclass(frozen=True)
class Tool:
    """One of them."""

    name: str
    function: Callable[..., Any] = field(repr=False)
    definition: Mapping[str, Any] = field(repr=False)
    arguments: TypeAdapter[Any] = field(repr=False)
    given: Mapping[str, type] = field(repr=False)

    async def call(self, arguments: str, context: Context[Any]) -> str:
        """Return what the model is told of a call: the result, or why there is none.

        Args:
            arguments: As the model wrote them, which may be no JSON.
            context: Of the message that is answered.
        """
        try:
            named = self.arguments.validate_json(arguments or "{}")
        except ValidationError as error:
            return f"error: {_faults(error)}"
        ours = {Context: context, Message: context.message}
        named |= {name: ours[kind] for name, kind in self.given.items()}
        try:
            return _told(await self._result(named))
        except AgentError as error:
            return f"error: {error}"
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            # Its text may hold what nobody else is to read; its lines are for the operator.
            context.logger.warning(
                "a tool failed: %s: %s\n%s",
                self.name,
                type(error).__name__,
                _its_lines(error),
                extra={"action": "tool_failed", "tool": self.name},
            )
            return f"error: {self.name} failed ({type(error).__name__})"

    async def _result(self, named: Mapping[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**named)
        result = await _in_thread(lambda: self.function(**named))
        return await result if inspect.isawaitable(result) else result


def load_tools(specs: Sequence[str]) -> dict[str, Tool]:
    """Import the functions, and find out what to tell of them.

    Args:
        specs: ``module:function`` each.

    Returns:
        Each by its name.

    Raises:
        AgentLoadError: Saying which one cannot be used, and why.
    """
    tools: dict[str, Tool] = {}
    for spec in specs:
        tool = _tool(spec, load_object(_VARIABLE, spec))
        if tool.name in tools:
            raise AgentLoadError(f"{_VARIABLE}={spec!r}: two functions are called {tool.name}")
        tools[tool.name] = tool
    return tools


def _tool(spec: str, function: Any) -> Tool:
    named = f"{_VARIABLE}={spec!r}"
    name = str(getattr(function, "__name__", spec.rpartition(":")[2].rpartition(".")[2]))
    if not callable(function) or inspect.isclass(function):
        raise AgentLoadError(f"{named} is no function")
    if not _NAME.fullmatch(name):
        raise AgentLoadError(f"{named}: models take names of letters, digits, _ and - only")
    try:
        hints = typing.get_type_hints(_hinted(function), include_extras=True)
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError, NameError) as error:
        raise AgentLoadError(f"{named}: its parameters cannot be read: {error}") from None
    about, arguments = _documented(inspect.getdoc(function) or "")
    fields, given, defaults = dict[str, Any](), dict[str, type](), dict[str, Any]()
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise AgentLoadError(f"{named}: its parameter {parameter.name} cannot be given by name")
        hint = hints.get(parameter.name, Any)
        if (ours := get_origin(hint) or hint) in (Context, Message):
            given[parameter.name] = ours
            continue
        if parameter.default is not parameter.empty:
            hint = NotRequired[hint]
            defaults[parameter.name] = parameter.default
        fields[parameter.name] = hint
    adapter, schema = _schema(named, fields, arguments, defaults)
    definition = {"name": name, "description": about, "parameters": schema}
    tool = {"type": "function", "function": definition}
    return Tool(name, function, tool, adapter, given)


def _is_cancelled() -> bool:
    """Whether it is the agent that is called off, and not something inside of the tool."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _its_lines(error: BaseException) -> str:
    """Return the way to the line that raised, as far as it is the tool's own."""
    frames = traceback.extract_tb(error.__traceback__)
    return "".join(traceback.format_list([f for f in frames if f.filename != __file__]))


def _hinted(function: Any) -> Any:
    """Return what carries the annotations: of an instance its ``__call__``."""
    return function if inspect.isroutine(function) else function.__call__


def _schema(
    named: str, fields: Mapping[str, Any], about: Mapping[str, str], defaults: Mapping[str, Any]
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Return what checks the arguments, and the JSON schema of them."""
    try:
        adapter = TypeAdapter[Any](TypedDict("arguments", dict(fields)))  # type: ignore[operator]
        schema = adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        raise AgentLoadError(f"{named}: no model can be told its parameters: {reason}") from None
    schema.pop("title", None)
    schema.setdefault("properties", {})
    for name, shown in schema["properties"].items():
        shown.pop("title", None)
        if name in about:
            shown.setdefault("description", about[name])
        with contextlib.suppress(PydanticSerializationError):
            if defaults.get(name) is not None:
                to_json(defaults[name])
                shown.setdefault("default", defaults[name])
    return adapter, schema


def _documented(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into what the function does, and what each argument is."""
    about, arguments = list[str](), dict[str, str]()
    section, last = "", ""
    for line in text.splitlines():
        if found := _SECTION.match(line):
            section = found[1]
        elif not section:
            about.append(line)
        elif section.startswith("Arg") and (argument := _ARGUMENT.match(line.strip())):
            last = argument[1]
            arguments[last] = argument[2]
        elif section.startswith("Arg") and last and line.strip():
            arguments[last] += f" {line.strip()}"
    return "\n".join(about).strip(), arguments


def _faults(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"]]))
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _told(result: Any) -> str:
    """Return a result as words."""
    if result is None:
        return "done"
    text = result if isinstance(result, str) else to_json(result, fallback=str).decode()
    if len(text) > _LONGEST:
        return f"{text[:_LONGEST]}\n[cut: the first {_LONGEST} of {len(text)} characters]"
    return text


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Return what a plain function returns; one that hangs keeps its own thread alone."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    here = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():  # the agent was cancelled
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    def work() -> None:
        result, failure = None, None
        try:
            result = here.run(call)
        except BaseException as error:  # noqa: BLE001, it is raised where it is awaited
            is_plain = isinstance(error, Exception) and not isinstance(error, StopIteration)
            failure = error if is_plain else RuntimeError(type(error).__name__)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="tool", daemon=True).start()
    return await done
