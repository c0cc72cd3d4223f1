"""The agent: asks a model, calls the tools that it wants, and says what it says.

One object for each bot's settings and process, built by the worker; see docs/included-agents.md.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import openai

from worker.agents.base import Message
from worker.agents.context import AgentError, Context, Retry
from worker.agents.openai.calls import Call
from worker.agents.openai.conversation import Conversation, question
from worker.agents.openai.errors import BusyError, TooLongError
from worker.agents.openai.reading import Reader
from worker.agents.openai.settings import OpenAISettings
from worker.agents.openai.tools import load_tools

__all__ = ["OpenAIAgent"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
# Kept back for the answer itself when there is a wait before it.
_TO_ANSWER_S = 2.0
_RETRY_S = 5.0
_FOR_EVER_S = 3600.0
# They would tell of every request, at DEBUG with what people wrote and the key.
_TALKERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
_TOO_LONG = "the message is longer than the model takes, even without any history"


class OpenAIAgent:
    """Answers with any OpenAI-compatible chat endpoint."""

    history_turns = 20
    history_tokens = 8_000  # the present message, tools and the answer want room as well

    def __init__(self, settings: OpenAISettings) -> None:
        """Prepare; nothing is connected.

        Raises:
            AgentLoadError: A tool cannot be used.
        """
        for name in _TALKERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._settings, self._prompt = settings, settings.prompt
        self._tools = load_tools(settings.tools)
        self._reader = Reader(
            settings.pictures, settings.picture_bytes, settings.text_file_kb * 1024
        )
        self._clients: dict[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = {}

    async def startup(self) -> None:
        """Prepare the client, whose connections all messages of this process share."""
        self._here()

    async def shutdown(self) -> None:
        """Close the connections."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def __call__(
        self, message: Message, context: Context[OpenAISettings]
    ) -> AsyncGenerator[str, None]:
        """Yield the answer as it comes.

        Raises:
            AgentError: The endpoint said no.
            Retry: It is busy, and was so for as long as it was asked.
        """
        conversation, has_said = await self._conversation(message, context), False
        for step in range(self._settings.tool_steps + 1):
            is_last = step == self._settings.tool_steps
            call = Call(self._here(), self._options(is_last=is_last))
            async with aclosing(self._asked(call, conversation, context)) as pieces:
                async for piece in pieces:
                    yield piece
            has_said = has_said or bool(call.said.strip())
            if is_last or not call.wishes:
                _check(call, has_said=has_said)
                return
            if call.said.strip():
                yield "\n\n"  # what comes after the tools is a paragraph of its own
            await self._grant(call, conversation, context)

    async def _conversation(self, message: Message, context: Context[Any]) -> Conversation:
        has_words = bool(message.text)
        own = await self._reader.read(message.attachments, has_words=has_words)
        quoted = message.quoted
        theirs = []
        if quoted is not None:
            theirs = await self._reader.read(quoted.attachments, has_words=bool(quoted.text))
        present = question(message, own, theirs)
        return Conversation(self._prompt, context.history, present, is_group=message.is_group)

    def _options(self, *, is_last: bool) -> dict[str, Any]:
        options = self._settings.options
        if self._tools:
            options["tools"] = [tool.definition for tool in self._tools.values()]
            if is_last:
                options["tool_choice"] = "none"
        return options

    async def _asked(
        self, call: Call, conversation: Conversation, context: Context[Any]
    ) -> AsyncGenerator[str, None]:
        """Yield the words of one answer; asks again what can be asked again."""
        attempt = 0
        while True:
            call.options["messages"] = conversation.messages
            # A little longer than there is: who is out of time is cancelled, and told so.
            within_s = min(context.remaining_s(), _FOR_EVER_S) + _TO_ANSWER_S
            words = call.words(is_streamed=self._settings.stream, within_s=within_s)
            try:
                async with aclosing(words) as pieces:
                    async for piece in pieces:
                        yield piece
            except TooLongError:
                if not conversation.forget():
                    raise AgentError(_TOO_LONG) from None
                context.logger.info(
                    "the model takes less: older messages are left out",
                    extra={"action": "history_cut", "left": len(conversation.history)},
                )
            except BusyError as error:
                attempt += 1
                await self._wait(error, attempt, call, context)
            else:
                return
            finally:
                if call.is_used:
                    context.used(call.usage)

    async def _wait(
        self, error: BusyError, attempt: int, call: Call, context: Context[Any]
    ) -> None:
        """Wait before the next attempt, or give up when there is no use in it."""
        backoff_s = min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S)
        wait_s = backoff_s * random.uniform(0.75, 1) if error.after_s is None else error.after_s  # noqa: S311, no secret
        is_in_time = wait_s + _TO_ANSWER_S < context.remaining_s()
        if call.said or attempt > self._settings.retries or not is_in_time:
            raise Retry(max(wait_s, _RETRY_S)) from AgentError(str(error))
        context.logger.warning(
            "%s; asked again", error, extra={"action": "model_retried", "attempt": attempt}
        )
        await asyncio.sleep(wait_s)

    async def _grant(self, call: Call, conversation: Conversation, context: Context[Any]) -> None:
        """Call the tools that the model wants, all at once, and tell it what came of it."""
        results = await asyncio.gather(
            *(self._result(wish.name, wish.arguments, context) for wish in call.wishes)
        )
        conversation.steps.append(call.as_message)
        conversation.steps += [
            {"role": "tool", "tool_call_id": wish.id, "content": result}
            for wish, result in zip(call.wishes, results, strict=True)
        ]

    async def _result(self, name: str, arguments: str, context: Context[Any]) -> str:
        tool = self._tools.get(name)
        if tool is None:
            return f"error: there is no {name}"
        return await tool.call(arguments, context)

    def _here(self) -> openai.AsyncOpenAI:
        """Return the client of the running loop.

        One of a loop that an agent has blocked is kept: closing it elsewhere would not be safe.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = openai.AsyncOpenAI(
                base_url=self._settings.base_url,
                api_key=self._settings.key,
                max_retries=0,
                # Proxies of the environment are for what is elsewhere.
                http_client=openai.DefaultAsyncHttpxClient(trust_env=not self._settings.is_local),
            )
        return self._clients[loop]


def _check(call: Call, *, has_said: bool) -> None:
    """Refuse an answer that is none.

    Raises:
        AgentError: It is empty, or was withheld.
    """
    if call.finish == "content_filter":
        raise AgentError("OpenAI endpoint withheld the answer (content_filter)")
    if call.wishes:
        raise AgentError("the model goes on calling tools, more often than OPENAI_TOOL_STEPS")
    if not has_said:
        raise AgentError(f"the model said nothing ({call.finish})")
