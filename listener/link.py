"""One socket to DingTalk, read until it closes; opened and replaced by ``listener/connection.py``.

A link says that it is ``over`` as soon as nothing can be expected of it any more. It is read on
all the same, until its successor is up and it is told to :meth:`Link.finish`.
"""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dingwire.errors import GatewayError
from dingwire.frames import Frame, ack
from dingwire.protocol import (
    BotPush,
    CardPush,
    Disconnect,
    EventPush,
    Malformed,
    Ping,
    Received,
    StreamProtocol,
    Unhandled,
)
from listener.tally import Cause, FrameType, Tally

__all__ = ["Link", "Push", "Take", "reason_of"]

logger = logging.getLogger(__name__)

DRAIN_S = 15.0  # DingTalk drops a socket 10 s after its disconnect frame
TICKS = 12  # parts of the silence limit
PING_TICKS = frozenset({4, 8})
# A few batches of the broker's, and less than what makes the disk step in (listener/spooling.py):
# what comes faster than broker or disk can take it waits in the socket, not in our memory, and so
# do pushes from a peer that does not read its acks.
MAX_IN_HAND = 600

Push = BotPush | CardPush | EventPush
Take = Callable[[Push, timedelta], Awaitable[str | None]]

_TYPES: dict[type[Received], FrameType] = {
    BotPush: FrameType.BOT,
    EventPush: FrameType.EVENT,
    CardPush: FrameType.CARD,
    Ping: FrameType.PING,
    Disconnect: FrameType.DISCONNECT,
    Malformed: FrameType.MALFORMED,
    Unhandled: FrameType.UNHANDLED,
}


@dataclass(slots=True, eq=False)
class _InHand:
    """A push until its answer is written; ``came_at`` is None for what is no message."""

    came_at: float | None
    answer: str | None = None


class Link:
    """One socket; :meth:`read` it in a task."""

    def __init__(
        self,
        socket: ClientConnection,
        take: Take,
        clock_offset: timedelta,
        *,
        silence_limit_s: float,
        tally: Tally,
    ) -> None:
        self._socket, self._take, self._clock_offset = socket, take, clock_offset
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._tick_s, self._silent_ticks = silence_limit_s / TICKS, 0
        self._protocol = StreamProtocol()
        self._pings: set[asyncio.Task[None]] = set()
        # Ours: DingTalk's own is the ticket.
        self.connection_id = uuid.uuid4().hex[:8]
        self.opened_at = self._loop.time()
        self._in_hand: set[_InHand] = set()
        self._answers: deque[_InHand] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self.over = asyncio.Event()
        self.reason, self.cause = "", Cause.CLOSED
        self.is_reading = True
        self.is_healthy = self.is_leaving = self.is_told_to_leave = False

    @property
    def is_silent(self) -> bool:
        """Whether nothing came for as long as the limit."""
        return self._silent_ticks >= TICKS

    async def read(self) -> None:
        """Read until the end; never raises."""
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(None) as self._limit:
                while True:
                    raw = await self._socket.recv()
                    self._silent_ticks = 0
                    self._tally.last_frame_at = self._loop.time()
                    await self._received(raw)
        except TimeoutError:
            await self._socket.close()
        except Exception as error:  # noqa: BLE001, the next socket must be opened whatever ended this one
            self.reason = self.reason or reason_of(error)
            await self._socket.close()
        finally:
            for task in (watching, *self._pings):
                task.cancel()
            self.is_reading = False
            self.over.set()

    def retire(self, reason: str, cause: Cause) -> None:
        """Ask for a successor; reading goes on."""
        if not self.over.is_set():
            self.is_leaving, self.reason, self.cause = True, reason, cause
            self.over.set()

    async def finish(self) -> None:
        """Close once what is in hand is acknowledged; for when the successor is up."""
        if not self.is_told_to_leave:  # else it is DingTalk who closes
            await self.settle(DRAIN_S)
            await self.close()

    async def settle(self, limit_s: float) -> None:
        """Wait until the messages now in hand are acknowledged, and those that come meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                for _ in range(2):  # and no more: on a busy day there is always a next one
                    in_hand = set(self._in_hand)
                    while in_hand & self._in_hand:
                        await self._until_written()

    async def _until_written(self) -> None:
        """Wait until one that is in hand is answered."""
        self._written.clear()
        await self._written.wait()

    async def close(self) -> None:
        """Say goodbye; what DingTalk sent before it heard that is still read."""
        await self._socket.close()

    async def _watch(self) -> None:
        # In ticks and not by a clock: a time in which this process stood still counts as one, and
        # what came meanwhile is read before the next.
        while self._silent_ticks < TICKS:
            await asyncio.sleep(self._tick_s)
            self._silent_ticks += 1
            if self._silent_ticks in PING_TICKS:
                self._start_ping()
        self.retire(f"silent for {self._tick_s * TICKS:g} s", Cause.SILENCE)

    def _start_ping(self) -> None:
        # Beside the watching, as a peer that reads nothing more can block the sending as well.
        task = asyncio.create_task(self._ping())
        self._pings.add(task)
        task.add_done_callback(self._pings.discard)

    async def _ping(self) -> None:
        with suppress(ConnectionClosed):
            await (await self._socket.ping())
            self._silent_ticks = 0

    async def _received(self, raw: str | bytes) -> None:
        received = self._protocol.receive(raw)
        self._tally.frames[_TYPES[type(received)]] += 1
        self.is_healthy = self.is_healthy or not isinstance(received, Disconnect | Malformed)
        match received:
            case BotPush() | CardPush() | EventPush():
                await self._start_taking(received)
            case Ping(reply=reply) | Unhandled(reply=str(reply)):
                await self._socket.send(reply)
            case Disconnect():
                await self._leave(received)
            case Malformed(reason=reason):
                self._say("frame_malformed", "malformed frame dropped", reason=reason)
            case Unhandled(frame=frame):
                self._say("frame_unhandled", "frame of no use dropped", kind=frame.kind.value)

    async def _leave(self, disconnect: Disconnect) -> None:
        self.is_told_to_leave = True
        self._limit.reschedule(self._loop.time() + DRAIN_S)
        self.retire(disconnect.reason or "told to disconnect", Cause.DISCONNECT_FRAME)
        await self._socket.send(disconnect.reply)

    async def _start_taking(self, push: Push) -> None:
        # Beside the reading, as the broker may take its time and pings do not wait. The push itself
        # is not kept meanwhile: many may wait.
        kind, frame = _TYPES[type(push)], Frame(push.frame.kind, push_id=push.frame.push_id)
        it = _InHand(self._loop.time() if kind is FrameType.BOT else None)
        while len(self._in_hand) >= MAX_IN_HAND:
            await self._until_written()
        self._in_hand.add(it)

        def taken(taking: asyncio.Future[str | None]) -> None:
            error = None if taking.cancelled() else taking.exception()
            if error is not None:
                it.answer = self._failed(kind, frame, error)
            elif not taking.cancelled():
                it.answer = taking.result()
            self._answer(it)

        try:
            taking = asyncio.ensure_future(self._take(push, self._clock_offset))
        except Exception as error:  # noqa: BLE001, one message must not take the others with it
            it.answer = self._failed(kind, frame, error)
            self._answer(it)
        else:
            taking.add_done_callback(taken)

    def _failed(self, kind: FrameType, frame: Frame, error: BaseException) -> str:
        """Return the answer to a push that was lost to an error of ours."""
        self._tally.failed(kind)
        # By its kind alone: its text, or a traceback, may hold what was written.
        logger.error(
            "message lost to an error of ours",
            extra={
                "action": "message_failed",
                "kind": kind.value,
                "push_id": frame.push_id,
                "reason": type(error).__name__,
            },
        )
        return ack(frame, code=500, message="internal error")

    def _answer(self, it: "_InHand") -> None:
        """Have an answer written, behind those that wait already."""
        self._answers.append(it)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._answers:
                it = self._answers.popleft()
                try:
                    if it.answer is not None:
                        await self._socket.send(it.answer)
                        if it.came_at is not None:
                            self._tally.acks.add(self._loop.time() - it.came_at)
                except ConnectionClosed:
                    pass  # its redelivery will be dropped
                finally:
                    self._in_hand.discard(it)
                    self._written.set()
        finally:
            self._writing = None

    def _say(self, action: str, words: str, **fields: Any) -> None:
        extra = {"action": action, "connection_id": self.connection_id, **fields}
        logger.warning(words, extra=extra)


def reason_of(error: Exception) -> str:
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
