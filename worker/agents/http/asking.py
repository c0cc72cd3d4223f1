"""Asks the server, and gives on what it answers.

One client for all messages of a process, on the event loop of all agents: hundreds of requests may
wait at once, and none takes a thread.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from contract.content import Attachment as Code
from contract.routing import task_id
from dingwire.errors import MediaError
from dingwire.replies import Reply
from worker.agents.attachments import Attachment
from worker.agents.base import Message
from worker.agents.context import Context, Retry
from worker.agents.http.answers import BadAnswerError, json_of, replies_in, reply_of, retry_after_s
from worker.agents.http.request import Content, request_of
from worker.agents.http.settings import HttpAgentSettings
from worker.agents.http.signing import signed

__all__ = ["HttpAgent"]

CONNECT_S = 10.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024  # a file of 20 MB in base64, and what stands around it
_MB = 1_000_000
_AGAIN_AFTER_S = 1.0
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_EVENTS = "text/event-stream"
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": f"application/json, {_EVENTS}",
    "Accept-Encoding": "identity",  # a small body that unpacks to a large one would be no bound
    "Connection": "close",
}


class HttpAgent:
    """One a process; ``reads`` is for the worker, as of every agent."""

    def __init__(
        self, settings: HttpAgentSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare; nothing is connected to.

        Args:
            settings: Where the server is.
            clock: Unix time, for the signature.
        """
        self.reads = frozenset(settings.reads)
        self._settings, self._clock = settings, clock
        self._keys = settings.signing_keys
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(
        self, message: Message, context: Context[HttpAgentSettings]
    ) -> AsyncIterator[Reply | str]:
        """Yield what the server replies, as it comes.

        Raises:
            Retry: The server is away or busy, or asks for it.
            BadAnswerError: It failed, or its answer cannot be read.
        """
        contents = await self._contents(message)
        body = request_of(message, context, contents).to_wire()
        async with self._asked(message, body) as response:
            if response.status_code == HTTPStatus.NO_CONTENT:
                return
            if _media_type(response) != _EVENTS:
                for reply in replies_in(json_of(await _bounded(response))):
                    yield reply
                return
            async for reply in _streamed(response, context):
                yield reply

    async def shutdown(self) -> None:
        """Close the connections."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            await self._client.aclose()
        self._client = None

    @asynccontextmanager
    async def _asked(self, message: Message, body: bytes) -> AsyncIterator[httpx2.Response]:
        """Post it; what the library raises holds the address, so none of it is let through."""
        id_ = task_id(message.bot, message.message_id)
        given = {k: v.get_secret_value() for k, v in self._settings.headers.items()}
        headers = given | _HEADERS | signed(self._keys, id_=id_, at_s=int(self._clock()), body=body)
        try:
            async with self._here().stream(
                "POST", self._settings.url, content=body, headers=headers
            ) as response:
                _check(response)
                yield response
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise BadAnswerError("cannot be asked: TLS certificate not trusted") from None
            raise Retry(_AGAIN_AFTER_S) from BadAnswerError("cannot be asked: no connection")
        except httpx2.HTTPError as error:
            raise BadAnswerError(f"broke off: {type(error).__name__}") from None
        except httpx2.InvalidURL:
            raise BadAnswerError("cannot be asked: its address is not usable") from None

    def _here(self) -> httpx2.AsyncClient:
        """Return the client; a new one when the event loop is a new one."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = httpx2.AsyncClient(
                headers={"User-Agent": "celery-dingtalk"},
                timeout=httpx2.Timeout(None, connect=CONNECT_S),  # the runner ends what takes long
                # An agent takes seconds, a connection none: one that was kept, and that the server
                # closes just now, would cost a message.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
                follow_redirects=False,
                trust_env=not self._settings.is_local,  # proxies, and SSL_CERT_FILE
            )
        return self._client

    async def _contents(self, message: Message) -> dict[Code, Content]:
        """Fetch the files of a message, one after the other, until the limit is reached."""
        left = int(self._settings.files_mb * _MB)
        found = dict[Code, Content]()
        quoted = message.quoted.attachments if message.quoted else ()
        for each in (*message.attachments, *quoted) if left else ():
            found[each.code], size = await _content(each, left)
            left -= size
        return found


async def _content(attachment: Attachment, left: int) -> tuple[Content, int]:
    """Return what is in a file, and its bytes."""
    try:
        path = await attachment.adownload()
    except MediaError as error:
        return Content(error=error.reason), 0
    return await asyncio.to_thread(_encoded, path, left)


def _encoded(path: Path, left: int) -> tuple[Content, int]:
    if path.stat().st_size > left:
        return Content(error="larger than HTTP_AGENT_FILES_MB allows"), 0
    content = path.read_bytes()
    return Content(data=base64.b64encode(content).decode()), len(content)


def _check(response: httpx2.Response) -> None:
    status = response.status_code
    if status in _BUSY:
        after_s = retry_after_s(response.headers.get("Retry-After"))
        if after_s is not None:
            raise Retry(after_s) from BadAnswerError(f"answered {status}")
    if not 200 <= status < 300:
        raise BadAnswerError(f"answered {status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise BadAnswerError("answered compressed, which was not asked for")


def _media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def _bounded(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise BadAnswerError(f"answered with more than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


async def _streamed(response: httpx2.Response, context: Context[Any]) -> AsyncIterator[Reply | str]:
    """Yield the pieces of server-sent events; a stream without its end is cut off."""
    left = MAX_ANSWER_BYTES
    response.encoding = "utf-8-sig"  # theirs is always UTF-8, and some begin with its mark
    async for event in httpx2.EventSource(response, max_event_size=MAX_ANSWER_BYTES):
        left -= len(event.data.encode())
        if left < 0:
            raise BadAnswerError(f"answered with more than {MAX_ANSWER_BYTES} bytes")
        match event.event:
            case "message" | "piece" if not event.data:
                pass  # an id, or when to connect again, and no message
            case "message" | "piece":
                yield reply_of(json_of(event.data))
            case "say":
                await context.asay(reply_of(json_of(event.data)))
            case "progress":
                context.progress(_progress(json_of(event.data)))
            case "done":
                return
            case "error":
                replies_in(json_of(event.data))
                raise BadAnswerError("failed: error")
    raise BadAnswerError("broke off: its stream ended without the event done")


def _progress(value: Any) -> str:
    if not isinstance(value, str):
        raise BadAnswerError("answered with a progress that is no text")
    return value
