"""Python functions that a language model may call."""

import asyncio
import json
import logging
import sys
import threading
import types
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from tests.unit.worker.openai_parts import message
from worker.agents import AgentError, Context, Message
from worker.agents.base import AgentLoadError
from worker.agents.openai.tools import load_tools

SECRET = "hush-9f"


class Place(BaseModel):
    city: str
    country: str = "CN"


def weather(  # noqa: D417, as authors write them
    place: Place,
    days: Annotated[int, Field(ge=1, description="How many.")] = 3,
    unit: Literal["C", "F"] = "C",
    *,
    context: Context,  # type: ignore[type-arg]  # as authors write it
) -> dict[str, object]:
    """Tell the weather of the next days.

    It is never wrong.

    Args:
        place: Where; a city
            of any country.
        unit (str): Celsius or Fahrenheit.

    Returns:
        The weather.
    """
    return {"city": place.city, "days": days, "unit": unit, "who": context.message.sender_nick}


async def who(message: "Message", copy: bool = False) -> str:
    return f"{message.sender_nick} {copy} {threading.current_thread() is not None}"


def failing(how: str) -> None:
    if how == "safely":
        raise AgentError("there is no such city")
    if how == "exit":
        sys.exit(3)
    raise ValueError(SECRET)


def silent() -> None:
    pass


def long() -> str:
    return "x" * 50_000


def thread_name() -> str:
    return threading.current_thread().name


class Counter:
    def add(self, number: int) -> int:
        return number + 1

    def __call__(self, number: int) -> int:
        return number


def keyless(*numbers: int) -> int:
    return sum(numbers)


def untellable(when: threading.Thread) -> str:
    return str(when)


async def ending(how: str) -> None:
    if how == "cancelled":  # by something inside of it
        raise asyncio.CancelledError
    sys.exit(3)


async def endless() -> None:
    await asyncio.Event().wait()


def _module():
    module = types.ModuleType("my_tools")
    module.__dict__.update({k: v for k, v in globals().items() if not k.startswith("__")})
    module.__dict__["counter"] = Counter()
    return module


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "my_tools", _module())


def tool(name):
    [found] = load_tools([f"my_tools:{name}"]).values()
    return found


def call(name, arguments="{}"):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return asyncio.run(tool(name).call(text, Context(message())))


def test_a_model_is_told_what_name_docstring_and_hints_say():
    definition = tool("weather").definition["function"]

    assert definition["name"] == "weather"
    assert definition["description"] == "Tell the weather of the next days.\n\nIt is never wrong."
    schema = definition["parameters"]
    assert schema["type"] == "object"
    assert schema["required"] == ["place"]
    assert set(schema["properties"]) == {"place", "days", "unit"}, "the context is ours"
    assert schema["properties"]["days"] == {
        "type": "integer", "minimum": 1, "description": "How many.", "default": 3,
    }  # fmt: skip
    assert schema["properties"]["unit"] == {
        "enum": ["C", "F"],
        "type": "string",
        "description": "Celsius or Fahrenheit.",
        "default": "C",
    }
    assert schema["properties"]["place"]["description"] == "Where; a city of any country."
    json.dumps(schema)


def test_one_without_parameters_is_an_empty_object():
    assert tool("silent").definition["function"]["parameters"] == {
        "type": "object", "properties": {},
    }  # fmt: skip


def test_arguments_come_as_their_types_and_what_is_left_out_as_its_default():
    told = call("weather", {"place": {"city": "Hangzhou"}, "days": "2"})
    assert json.loads(told) == {"city": "Hangzhou", "days": 2, "unit": "C", "who": "Alice"}


def test_an_async_one_is_awaited_and_a_plain_one_has_a_thread_of_its_own():
    assert call("who", {"copy": True}) == "Alice True True"
    assert call("thread_name") == "tool"


def test_methods_and_objects_can_be_called_too():
    [add] = load_tools(["my_tools:counter.add"]).values()
    assert asyncio.run(add.call('{"number": 1}', Context(message()))) == "2"
    assert call("counter", {"number": 5}) == "5"


def test_nothing_is_done_and_what_is_too_long_is_cut():
    assert call("silent") == "done"
    assert call("silent", "") == "done"
    assert call("long").endswith("[cut: the first 20000 of 50000 characters]")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "place: Field required"),
        ('{"place": {"city": "H"}, "days": 0}', "days: Input should be greater"),
    ],
    ids=["no json", "no object", "missing", "out of range"],
)
def test_a_model_is_told_what_is_wrong_with_its_arguments(arguments, words):
    told = call("weather", arguments)
    assert told.startswith("error: ")
    assert words in told


def test_of_a_failure_the_model_hears_the_kind_and_the_operator_the_lines(caplog):
    with caplog.at_level(logging.WARNING):
        told = call("failing", {"how": "hard"})

    assert told == "error: failing failed (ValueError)"
    [record] = caplog.records
    assert record.action == "tool_failed"
    assert "test_openai_tools.py" in record.getMessage()
    assert "in failing" in record.getMessage()
    assert "openai/tools.py" not in record.getMessage()
    assert SECRET not in told + caplog.text


def test_a_safe_text_is_told_and_an_exit_ends_nothing():
    assert call("failing", {"how": "safely"}) == "error: there is no such city"
    assert call("failing", {"how": "exit"}) == "error: failing failed (RuntimeError)"
    assert call("ending", {"how": "exit"}) == "error: ending failed (SystemExit)"
    assert call("ending", {"how": "cancelled"}) == "error: ending failed (CancelledError)"


async def test_one_whose_message_is_called_off_is_cancelled_with_it():
    running = asyncio.ensure_future(tool("endless").call("{}", Context(message())))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("my_tools", "write module:attribute, such as my_tools:weather"),
        ("my_tools:nothing", "module my_tools has no nothing"),
        ("my_tools:keyless", "numbers cannot be given by name"),
        ("my_tools:untellable", "no model can be told its parameters"),
        ("my_tools:Place", "is no function"),
    ],
)
def test_what_cannot_be_a_tool_is_found_at_the_start(spec, words):
    with pytest.raises(AgentLoadError, match="OPENAI_TOOLS") as found:
        load_tools([spec])
    assert words in str(found.value)


def test_two_of_one_name_are_refused():
    with pytest.raises(AgentLoadError, match="two functions are called silent"):
        load_tools(["my_tools:silent", "my_tools:silent"])
