"""One call of the endpoint: what was said goes there, words and wishes for tools come back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion

from dingwire.values import whole_number
from worker.agents.context import AgentError, Usage
from worker.agents.openai.errors import BusyError, meant_by
from worker.agents.openai.thoughts import Thoughtless

__all__ = ["Call", "Wish"]

_CONNECT_S = 10.0
_MOST_WISHES = 64
# DeepSeek, DashScope and others; vLLM and Ollama.
_THOUGHTS = ("reasoning_content", "reasoning")
_CUT_OFF = "OpenAI endpoint broke its answer off"
_NOTHING = "OpenAI endpoint said nothing of a chat completion; is OPENAI_BASE_URL its address?"


@dataclass
class Wish:
    """A tool that the model wants to have called; arguments are JSON, if the model wrote such."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Call:
    """Asks; after :meth:`words` it has all that came of the last time.

    Attributes:
        client: Of the running loop.
        options: What the request holds.
        said: All words of the answer.
        thoughts: What the endpoint told of them, which some want back with the tools' results.
        wishes: Tools to be called.
        finish: Why the answer ended; "" of one that did not.
        is_used: Whether the model was at work, which costs tokens.
    """

    client: openai.AsyncOpenAI
    options: dict[str, Any]
    said: str = ""
    thoughts: str = ""
    finish: str = ""
    is_used: bool = False
    wishes: list[Wish] = field(default_factory=list)
    _tokens: CompletionUsage | None = None
    _thoughts_are: str = _THOUGHTS[0]
    _begun: dict[int, Wish] = field(default_factory=dict)
    _last_index: int = 0

    def _begin(self) -> None:
        self.said = self.thoughts = self.finish = ""
        self.wishes, self._tokens, self.is_used = [], None, True
        self._begun, self._last_index = {}, 0

    @property
    def usage(self) -> Usage:
        """What it took so far; unknown of an endpoint that does not tell."""
        model, told = str(self.options["model"]), self._tokens
        return Usage(model, _count(told, "prompt_tokens"), _count(told, "completion_tokens"))

    @property
    def as_message(self) -> dict[str, Any]:
        """What was answered, as the next call tells it."""
        message: dict[str, Any] = {"role": "assistant", "content": self.said}
        if self.thoughts:
            message[self._thoughts_are] = self.thoughts
        if self.wishes:
            message["tool_calls"] = [
                {
                    "id": wish.id,
                    "type": "function",
                    "function": {"name": wish.name, "arguments": wish.arguments},
                }
                for wish in self.wishes
            ]
        return message

    async def words(self, *, is_streamed: bool, within_s: float) -> AsyncGenerator[str, None]:
        """Yield the words as they come.

        Args:
            is_streamed: Whether they come in pieces.
            within_s: Longest silence of the endpoint.

        Raises:
            AgentError: It said no.
            BusyError: It may say more later.
            TooLongError: The model takes less.
        """
        timeout = openai.Timeout(within_s, connect=min(within_s, _CONNECT_S))
        asked = {**self.options, "timeout": timeout}
        if is_streamed:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        self._begin()
        try:
            answer = await self._answer(asked)
            if isinstance(answer, openai.AsyncStream):
                async with aclosing(self._streamed(answer)) as pieces:
                    async for piece in pieces:
                        self.said += piece
                        yield piece
            elif isinstance(answer, ChatCompletion):
                self.said = self._whole(answer)
                yield self.said
            else:  # a page, say
                raise AgentError(_NOTHING)
        except (openai.OpenAIError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise meant_by(error) from error
        self._end()
        if not self.finish:
            raise BusyError(_CUT_OFF) if self._tokens or self.said else AgentError(_NOTHING)

    async def _answer(self, asked: dict[str, Any]) -> Any:
        try:
            return await self.client.chat.completions.create(**asked)
        except openai.OpenAIError:
            self.is_used = False
            raise

    async def _streamed(self, stream: openai.AsyncStream[Any]) -> AsyncGenerator[str, None]:
        thoughtless = Thoughtless()
        async with stream:
            async for chunk in stream:
                self._tokens = chunk.usage or self._tokens
                if not chunk.choices:
                    continue
                choice = chunk.choices[0]
                self.finish = choice.finish_reason or self.finish
                if choice.delta is None:
                    continue
                self._think(choice.delta)
                for wish in choice.delta.tool_calls or ():
                    self._wish(wish)
                if piece := thoughtless.piece(choice.delta.content or ""):
                    yield piece
        if rest := thoughtless.rest():
            yield rest

    def _whole(self, answer: ChatCompletion) -> str:
        self._tokens = answer.usage
        choice = answer.choices[0]
        self.finish = choice.finish_reason or "stop"
        self._think(choice.message)
        for wish in choice.message.tool_calls or ():
            if wish.type == "function":
                self.wishes.append(Wish(wish.id, wish.function.name, wish.function.arguments))
        thoughtless = Thoughtless()
        return thoughtless.piece(choice.message.content or "") + thoughtless.rest()

    def _think(self, said: Any) -> None:
        """Note what an endpoint tells of thoughts, in a field that OpenAI itself has not."""
        for name in _THOUGHTS:
            if isinstance(thoughts := getattr(said, name, None), str):
                self.thoughts += thoughts
                self._thoughts_are = name
                return

    def _wish(self, delta: Any) -> None:
        """Add a piece of a wish.

        One without a number goes on with the last. A new id and a name begin another wish, whatever
        its number: some endpoints give all of them the same.
        """
        name = (delta.function.name or "") if delta.function is not None else ""
        index = self._last_index if delta.index is None else delta.index
        wish = self._begun.get(index)
        is_new = wish is None or bool(name and delta.id and wish.id and delta.id != wish.id)
        if wish is None or is_new:
            if len(self.wishes) == _MOST_WISHES:
                return
            wish = self._begun[index] = Wish()
            self.wishes.append(wish)
        self._last_index = index
        wish.id = wish.id or delta.id or ""
        wish.name = wish.name or name
        if delta.function is not None:
            wish.arguments += delta.function.arguments or ""

    def _end(self) -> None:
        """Leave out wishes for no tool, and give each an id, by which its result is told."""
        self.wishes = [wish for wish in self.wishes if wish.name]
        for number, wish in enumerate(self.wishes):
            wish.id = wish.id or f"call_{number}"


def _count(told: Any, name: str) -> int | None:
    """Return a number of tokens; None where the endpoint tells none, or what is no such number."""
    count = whole_number(getattr(told, name, None))
    return None if count is None or count < 0 else count
