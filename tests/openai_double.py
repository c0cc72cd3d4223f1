"""An OpenAI-compatible endpoint played on this machine: real HTTP, on a free port of 127.0.0.1.

``with OpenAIDouble() as endpoint`` in a test, which scripts what comes and reads what was asked;
``python -m tests.openai_double --port 8901`` for a person, who sets what it prints.

Without a script its answer shows what it was given: how many turns, and what the first one said.
``use NAME {"argument": 1}`` as the last message makes it call that tool, if it was offered.
"""

import argparse
import asyncio
import json
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

from aiohttp import web

from tests.openai_answers import Answer, Asked, Refuses, Says, deltas_of, of_its_own

__all__ = ["KEY", "MODEL", "OpenAIDouble"]

KEY = "sk-double-5f3a"
MODEL = "double-1"
_CALL_LIMIT_S = 60
_MAX_BODY = 64 * 1024 * 1024


class OpenAIDouble:
    """The endpoint, in a thread of its own.

    Attributes:
        asked: Every request that came, oldest first.
        longest: Characters of all messages together that it takes; None is any number.
        says_usage: Whether it tells how many tokens were used.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        key: str | None = KEY,
        models: Sequence[str] = (MODEL,),
        pause_s: float = 0,
    ) -> None:
        """Prepare.

        Args:
            port: Of 127.0.0.1; 0 is a free one.
            key: What it lets in; None is everybody.
            models: Those it knows.
            pause_s: Between the pieces of a stream, for people to see.
        """
        self.asked: list[Asked] = []
        self.longest: int | None = None
        self.says_usage = True
        self._port, self._key, self._models, self._pause_s = port, key, tuple(models), pause_s
        self._script: deque[Answer] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="openai-double", daemon=True)
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=1, access_log=None
        )

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_CALL_LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(_CALL_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_LIMIT_S)

    @property
    def base_url(self) -> str:
        """What ``OPENAI_BASE_URL`` is set to."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def variables(self) -> dict[str, str]:
        """All that an operator sets."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self._key or "",
            "OPENAI_MODEL": self._models[0],
        }

    @property
    def connections(self) -> int:
        """How many connections the requests came by."""
        return len({each.connection for each in self.asked})

    def script(self, *answers: Answer) -> None:
        """Answer the next requests with these, in order; after them as without."""
        self._script.extend(answers)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        assert request.transport is not None
        asked = Asked(await request.json(), key, request.transport.get_extra_info("peername"))
        self.asked.append(asked)
        try:
            answer = self._refusal(asked) or (
                self._script.popleft() if self._script else of_its_own(asked)
            )
            if isinstance(answer, Refuses):
                body = {"error": {"message": answer.message, "code": answer.code, "type": "error"}}
                return web.json_response(body, status=answer.status, headers=answer.headers)
            if asked.body.get("stream"):
                return await self._streamed(request, asked, answer)
            return await self._at_once(request, asked, answer)
        except (asyncio.CancelledError, ConnectionError):
            asked.was_left = True
            raise
        finally:
            asked.is_over = True

    def _refusal(self, asked: Asked) -> Refuses | None:
        if self._key is not None and asked.key != self._key:
            # As OpenAI does, which shows a part of the key.
            return Refuses(401, "invalid_api_key", f"Incorrect API key provided: {asked.key}")
        model = asked.body["model"]
        if model not in self._models:
            return Refuses(404, "model_not_found", f"The model `{model}` does not exist")
        if self.longest is not None and asked.size > self.longest:
            message = f"This model's maximum context length is {self.longest}; got {asked.last}"
            return Refuses(400, "context_length_exceeded", message)
        return None

    async def _at_once(self, request: web.Request, asked: Asked, says: Says) -> web.Response:
        if says.gate is not None:
            await says.gate.passed()
        if says.is_broken:
            _cut(request)
        message: dict[str, Any] = {"role": "assistant", "content": says.text or None}
        if says.thoughts:
            message[says.thoughts_are] = says.thoughts
        if says.tools:
            message["tool_calls"] = says.calls
        choice = {"index": 0, "message": message, "finish_reason": says.why}
        head = self._head(asked, "chat.completion")
        return web.json_response({**head, "choices": [choice], **self._usage(says)})

    async def _streamed(self, request: web.Request, asked: Asked, says: Says) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        head = self._head(asked, "chat.completion.chunk")

        async def send(chunk: object) -> None:
            text = chunk if isinstance(chunk, str) else json.dumps({**head, **chunk})  # type: ignore[dict-item]
            await response.write(f"data: {text}\n\n".encode())

        for number, delta in enumerate(deltas_of(says)):
            if number == 1 and says.gate is not None:
                await says.gate.passed()
            await send({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            await asyncio.sleep(self._pause_s)
        if says.is_broken:
            _cut(request)
            return response
        await send({"choices": [{"index": 0, "delta": {}, "finish_reason": says.why}]})
        if asked.body.get("stream_options", {}).get("include_usage") and self._usage(says):
            await send({"choices": [], **self._usage(says)})
        await send("[DONE]")
        await response.write_eof()
        return response

    def _head(self, asked: Asked, kind: str) -> dict[str, Any]:
        id_ = f"chatcmpl-{len(self.asked)}"
        return {"id": id_, "object": kind, "created": 1700000000, "model": asked.body["model"]}

    def _usage(self, says: Says) -> dict[str, Any]:
        if says.used is None or not self.says_usage:
            return {}
        given, made = says.used
        total = given + made
        tokens = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": total}
        return {"usage": tokens}


def _cut(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.openai_double", description=__doc__)
    parser.add_argument("--port", type=int, default=8901, help="of 127.0.0.1 (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two pieces")
    options = parser.parse_args(arguments)
    with OpenAIDouble(port=options.port, pause_s=options.pause) as double:
        lines = [f"export {name}={value}\n" for name, value in double.variables.items()]
        sys.stdout.write("".join(lines))
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
