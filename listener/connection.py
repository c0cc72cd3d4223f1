"""The Stream connection: kept open for ever, and moved to a new socket before the old one dies.

Run by ``listener/service.py``. One :class:`_Link` reads one socket; :class:`Stream` sees to it
that there is always one that DingTalk still pushes to.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dingwire.errors import (
    CredentialsRefusedError,
    GatewayError,
    GatewayRefusedError,
    GatewayUnavailableError,
)
from dingwire.frames import ack
from dingwire.gateway import Registration
from dingwire.protocol import (
    BotPush,
    CardPush,
    Disconnect,
    EventPush,
    Malformed,
    Ping,
    StreamProtocol,
    Unhandled,
)
from listener.backoff import Backoff
from listener.daemon_thread import in_daemon_thread

__all__ = ["Stream"]

logger = logging.getLogger(__name__)

MAX_FRAME = 2 * 1024 * 1024  # a larger one ends the socket, not the listener
PING_S = 20.0  # also how long a pong may take
OPEN_LIMIT_S = 10.0
DRAIN_S = 15.0  # DingTalk drops a socket 10 s after its disconnect frame
REFUSED_DELAY_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
AT_ONCE_EVERY_S = 5.0

Take = Callable[[BotPush, timedelta], Awaitable[str | None]]


class Stream:
    """Keeps one connection to DingTalk; :meth:`run` it in a task."""

    def __init__(
        self,
        register: Callable[[], Registration],
        take: Take,
        *,
        delays: Sequence[float] | None = None,
        refused_delay_s: float = REFUSED_DELAY_S,
    ) -> None:
        """Prepare.

        Args:
            register: Asks for a ticket; blocks, so it is called in a thread.
            take: Given every chat message and the clock offset; returns its ack, or None.
            delays: Between attempts to connect; for tests.
            refused_delay_s: After DingTalk refused the credentials.
        """
        self._register, self._take = register, take
        self._refused_delay_s = refused_delay_s
        self._backoff = Backoff(first_s=1, cap_s=60, delays=delays)
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._moved_at = float("-inf")

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; sockets stay open for :meth:`close`."""
        while True:
            try:
                link = await self._open()
            except Exception as error:  # noqa: BLE001, nothing that happens here may end the listener
                await self._pause(_reason(error), self._delay_after(error), error)
                continue
            await link.over.wait()
            if link.is_healthy:
                self._backoff.reset()
            await self._pause(link.reason, self._delay_after_link(link))

    async def close(self, limit_s: float) -> None:
        """Let messages in hand be acknowledged, then close, reading what still comes until then."""
        await self._settle(limit_s)
        await asyncio.gather(
            *(link.close() for link in self._links.values()), return_exceptions=True
        )
        if self._links:
            await asyncio.wait(self._links, timeout=1)

    async def _settle(self, limit_s: float) -> None:
        # Only what is in hand now: on a busy day there is always a next one.
        in_hand = {task for link in self._links.values() for task in link.taking}
        if in_hand:
            await asyncio.wait(in_hand, timeout=limit_s)

    async def _open(self) -> "_Link":
        # A ticket opens one connection and dies after 90 s, so every attempt asks again.
        registration = await in_daemon_thread(self._register)
        socket = await connect(
            registration.url,
            max_size=MAX_FRAME,
            open_timeout=OPEN_LIMIT_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=1,
        )
        link = _Link(socket, self._take, registration.clock_offset)
        reader = asyncio.create_task(link.read())
        self._links[reader] = link
        reader.add_done_callback(self._links.pop)
        logger.info(
            "connected to DingTalk",
            extra={
                "action": "connected",
                "peer": "dingtalk",
                "connection_id": link.connection_id,
                "clock_offset_s": registration.clock_offset.total_seconds(),
            },
        )
        return link

    def _delay_after(self, error: Exception) -> float:
        if isinstance(error, CredentialsRefusedError | GatewayRefusedError):
            return self._refused_delay_s
        delay_s = self._backoff.next_s()
        if isinstance(error, GatewayUnavailableError) and error.retry_after_s is not None:
            return max(delay_s, min(error.retry_after_s, LONGEST_RETRY_AFTER_S))
        return delay_s

    def _delay_after_link(self, link: "_Link") -> float:
        now = asyncio.get_running_loop().time()
        # Nothing is pushed to a socket that was told to go, so its successor is urgent; but a
        # gateway that sends everybody away again is not stormed.
        if link.is_leaving and link.is_healthy and now - self._moved_at > AT_ONCE_EVERY_S:
            self._moved_at = now
            return 0
        return self._backoff.next_s()

    async def _pause(self, reason: str, delay_s: float, error: Exception | None = None) -> None:
        refused = isinstance(error, CredentialsRefusedError | GatewayRefusedError)
        logger.log(
            logging.ERROR if refused else logging.WARNING,
            reason if refused else "reconnecting to DingTalk",
            extra={
                "action": "reconnecting",
                "peer": "dingtalk",
                "reason": reason,
                "attempt": self._backoff.attempts,
                "delay_s": round(delay_s, 2),
            },
        )
        await asyncio.sleep(delay_s)


class _Link:
    """One socket, read until it closes, or for a while after DingTalk said it will."""

    def __init__(self, socket: ClientConnection, take: Take, clock_offset: timedelta) -> None:
        self._socket, self._take, self._clock_offset = socket, take, clock_offset
        self._protocol = StreamProtocol()
        # Ours: DingTalk's own is the ticket.
        self.connection_id = uuid.uuid4().hex[:8]
        self.taking: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()
        self.reason = ""
        self.is_healthy = self.is_leaving = False

    async def read(self) -> None:
        """Read until the end; never raises."""
        try:
            async with asyncio.timeout(None) as self._limit:
                while True:
                    await self._received(await self._socket.recv())
        except TimeoutError:
            await self._socket.close()
        except Exception as error:  # noqa: BLE001, the next socket must be opened whatever ended this one
            self.reason = self.reason or _reason(error)
            await self._socket.close()
        finally:
            self.over.set()

    async def close(self) -> None:
        """Say goodbye."""
        await self._socket.close()

    async def _received(self, raw: str | bytes) -> None:
        received = self._protocol.receive(raw)
        self.is_healthy = self.is_healthy or not isinstance(received, Disconnect | Malformed)
        match received:
            case BotPush():
                self._start_taking(received)
            case Ping(reply=reply) | Unhandled(reply=str(reply)):
                await self._socket.send(reply)
            case Disconnect():
                await self._leave(received)
            case EventPush(frame=frame):
                await self._socket.send(ack(frame))
            case CardPush(frame=frame):
                await self._socket.send(ack(frame, data={"response": {}}))
            case Malformed(reason=reason):
                self._say("frame_malformed", "malformed frame dropped", reason=reason)
            case Unhandled(frame=frame):
                self._say("frame_unhandled", "frame of no use dropped", kind=frame.kind.value)

    async def _leave(self, disconnect: Disconnect) -> None:
        self.is_leaving, self.reason = True, disconnect.reason or "told to disconnect"
        self._limit.reschedule(asyncio.get_running_loop().time() + DRAIN_S)
        self.over.set()
        await self._socket.send(disconnect.reply)

    def _start_taking(self, push: BotPush) -> None:
        # Beside the reading, as the broker may take its time and pings do not wait.
        task = asyncio.create_task(self._take_and_ack(push))
        self.taking.add(task)
        task.add_done_callback(self.taking.discard)

    async def _take_and_ack(self, push: BotPush) -> None:
        try:
            answer = await self._take(push, self._clock_offset)
        except Exception as error:  # noqa: BLE001, one message must not take the others with it
            # By its kind alone: its text may hold what was written.
            logger.error(  # noqa: TRY400, a traceback shows values
                "message lost to an error of ours",
                extra={
                    "action": "message_failed",
                    "push_id": push.frame.push_id,
                    "reason": type(error).__name__,
                },
            )
            answer = ack(push.frame, code=500, message="internal error")
        if answer is not None:
            # A socket that closed meanwhile: the message is enqueued, its redelivery is dropped.
            with suppress(ConnectionClosed):
                await self._socket.send(answer)

    def _say(self, action: str, words: str, **fields: Any) -> None:
        extra = {"action": action, "connection_id": self.connection_id, **fields}
        logger.warning(words, extra=extra)


def _reason(error: Exception) -> str:
    """Say what ended a connection; never by a text that may hold the ticket or a message."""
    match error:
        case GatewayError():
            return str(error)
        case InvalidStatus():
            return f"the WebSocket was refused with HTTP {error.response.status_code}"
        case ConnectionClosed():
            return f"closed with {error.rcvd.code}" if error.rcvd else "closed without a word"
        case OSError() | ImportError():  # the latter of a proxy that needs another package
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        case _:
            return type(error).__name__
