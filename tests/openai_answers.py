"""What an OpenAI-compatible endpoint of the tests says, and what it was asked.

``tests/openai_double.py`` serves it.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Answer",
    "Asked",
    "Gate",
    "Refuses",
    "Says",
    "busy",
    "deltas_of",
    "of_its_own",
    "throttled",
]

_USED = (12, 7)


class Gate:
    """Holds an answer back until a test, of another thread, opens it."""

    def __init__(self) -> None:
        self._is_open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def open(self) -> None:
        """Let pass whoever waits, and whoever comes."""
        self._is_open = True
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        """Wait; cancelled when the client leaves."""
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        if not self._is_open:
            await event.wait()


@dataclass(frozen=True)
class Says:
    """Words, tool calls, or both.

    Attributes:
        text: Streamed word by word.
        tools: Names and arguments (a dict, or text that may be no JSON) of the tools it calls.
        thoughts: What a reasoning model tells beside its answer.
        thoughts_are: The field that tells them, which endpoints do not agree on.
        used: Tokens in and out; None of an endpoint that tells none.
        gate: Waited for after the first piece of a stream, or before an answer in one go.
        is_broken: The connection ends after all that was said.
        finish: Why it ends; "" for what is usual.
        numbers: Of its tool calls, each told in one piece then; () for 0, 1 and so on, in halves.
    """

    text: str = ""
    tools: tuple[tuple[str, Any], ...] = ()
    thoughts: str = ""
    thoughts_are: str = "reasoning_content"
    used: tuple[int, int] | None = _USED
    gate: Gate | None = None
    is_broken: bool = False
    finish: str = ""
    numbers: tuple[int | None, ...] = ()

    @property
    def why(self) -> str:
        """The finish reason."""
        return self.finish or ("tool_calls" if self.tools else "stop")

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The tool calls as a message has them."""
        return [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": given if isinstance(given, str) else json.dumps(given),
                },
            }
            for number, (name, given) in enumerate(self.tools)
        ]


@dataclass(frozen=True)
class Refuses:
    """An error instead of an answer."""

    status: int
    code: str | None = None
    message: str = "no"
    headers: dict[str, str] = field(default_factory=dict)


Answer = Says | Refuses


def throttled(after_s: float = 0) -> Refuses:
    """Too many requests; come back in ``after_s``."""
    return Refuses(429, "rate_limit_exceeded", headers={"Retry-After": f"{after_s:g}"})


def busy() -> Refuses:
    """A fault of the endpoint's own, to be tried again soon."""
    return Refuses(500, headers={"retry-after-ms": "1"})


@dataclass
class Asked:
    """One request that came in; ``connection`` is the same for those on one connection."""

    body: dict[str, Any]
    key: str
    connection: tuple[str, int]
    was_left: bool = False  # the client went before the end
    is_over: bool = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was said so far."""
        return list(self.body["messages"])

    @property
    def roles(self) -> list[str]:
        """Whose messages they are."""
        return [each["role"] for each in self.messages]

    @property
    def last(self) -> str:
        """The words of the last message."""
        return _words(self.messages[-1])

    @property
    def size(self) -> int:
        """Characters of all messages."""
        return sum(len(_words(each)) for each in self.messages)

    @property
    def pictures(self) -> list[str]:
        """The addresses of all pictures."""
        return [
            part["image_url"]["url"]
            for message in self.messages
            if isinstance(message.get("content"), list)
            for part in message["content"]
            if part["type"] == "image_url"
        ]


def _words(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def of_its_own(asked: Asked) -> Says:
    """Return what makes the memory visible."""
    if asked.roles[-1] == "tool":
        return Says(f"the tool said {asked.last}")
    offered = {each["function"]["name"] for each in asked.body.get("tools", ())}
    wanted = re.fullmatch(r"(?:.*: )?use (\w+) (\{.*\})", asked.last, re.DOTALL)
    if wanted and wanted[1] in offered:
        return Says(tools=((wanted[1], wanted[2]),))
    said = [_words(each) for each in asked.messages if each["role"] == "user"]
    shown = f" with {len(asked.pictures)} pictures" if asked.pictures else ""
    return Says(f"turn {len(said)}{shown}; first you said: {said[0]}; now: {said[-1]}")


def deltas_of(says: Says) -> Iterator[dict[str, Any]]:
    """Yield the pieces of a stream: the arguments of tools come in halves, as from models."""
    yield {"role": "assistant", "content": ""}
    for word in re.findall(r"\S+\s*", says.thoughts):
        yield {says.thoughts_are: word}
    for word in re.findall(r"\s*\S+", says.text):
        yield {"content": word}
    for number, call in zip(says.numbers, says.calls, strict=False):
        yield {"tool_calls": [{**call, "index": number}]}
    for number, call in enumerate(() if says.numbers else says.calls):
        name, given = call["function"]["name"], call["function"]["arguments"]
        half = len(given) // 2
        first = {"name": name, "arguments": given[:half]}
        yield {"tool_calls": [{**call, "index": number, "function": first}]}
        yield {"tool_calls": [{"index": number, "function": {"arguments": given[half:]}}]}
