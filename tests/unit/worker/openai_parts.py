"""A message for the agent that asks a language model, and what it says of it."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.content import Attachment as Code
from contract.envelope import Conversation, Envelope
from dingwire.errors import MediaRefusedError
from tests.openai_double import KEY, MODEL, OpenAIDouble
from worker.agents import Context, Message, Said
from worker.agents.openai import OpenAISettings
from worker.agents.openai import agent as OpenAIAgent  # noqa: N812, a class

_numbers = itertools.count()

__all__ = ["PNG", "answer", "code", "message", "pieces_of", "said", "settings"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def code(name: str, kind: str = "file", **fields: Any) -> Code:
    return Code(kind=kind, name=name, download_code=name, **fields)


def message(
    text: str = "hello",
    *,
    is_group: bool = False,
    files: Mapping[str, bytes] | None = None,
    folder: Path | None = None,
    **fields: Any,
) -> Message:
    """Of Alice; ``files`` are what their codes fetch, and what they do not name is refused."""

    def fetch(wanted: Code) -> Path:
        assert folder is not None
        if wanted.download_code not in (files or {}):
            raise MediaRefusedError("its code is too old")
        path = folder / f"{next(_numbers)}"
        path.write_bytes((files or {})[wanted.download_code])
        return path

    values = {
        "bot": "ding1",
        "message_id": "m1",
        "text": text,
        "sender_nick": "Alice",
        "conversation": Conversation.GROUP if is_group else Conversation.PRIVATE,
        "received_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Message.of(Envelope.model_validate(values | fields), fetch)


def said(*texts: str) -> tuple[Said, ...]:
    """A conversation with Alice, in turns."""
    return tuple(
        Said("assistant", text) if number % 2 else Said("user", text, "Alice")
        for number, text in enumerate(texts)
    )


def settings(double: OpenAIDouble, **fields: Any) -> OpenAISettings:
    values = {"base_url": double.base_url, "api_key": KEY, "model": MODEL}
    return OpenAISettings(**values | fields)


async def pieces_of(
    agent: OpenAIAgent, what: Message, context: Context[Any] | None = None
) -> list[str]:
    """Run it in this loop."""
    async with aclosing(agent(what, context or Context(what))) as pieces:
        return [piece async for piece in pieces]


def answer(
    agent: OpenAIAgent, what: Message, history: Iterable[Said] = (), **more: Any
) -> tuple[str, Context[Any]]:
    """Run it once, in a loop of its own; return what it said, and its context."""
    context: Context[Any] = Context(what, history=tuple(history), **more)

    async def run() -> str:
        try:
            return "".join(await pieces_of(agent, what, context))
        finally:
            await agent.shutdown()

    return asyncio.run(run()), context
