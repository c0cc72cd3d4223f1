"""A Stream connection: kept open for ever, and moved to a new socket before the old one closes.

``listener/service.py`` runs one :class:`Stream` or several. A stream sees to it that there is
always one :class:`~listener.link.Link` that DingTalk still pushes to.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from websockets.asyncio.client import connect

from dingwire.errors import CredentialsRefusedError, GatewayRefusedError
from listener.backoff import Backoff
from listener.gate import Gate
from listener.link import Link, Take, reason_of
from listener.tally import Cause, Tally

__all__ = ["SILENCE_LIMIT_S", "Stream"]

logger = logging.getLogger(__name__)

MAX_FRAME = 2 * 1024 * 1024  # a larger one ends the socket, not the listener
OPEN_LIMIT_S = 10.0
FRAMES_AHEAD = 64  # read from the socket before they are looked at
SILENCE_LIMIT_S = 60.0
AT_ONCE_EVERY_S = 5.0
STABLE_S = 10.0


class Stream:
    """Keeps one connection to DingTalk; :meth:`run` it in a task."""

    def __init__(
        self,
        gate: Gate,
        take: Take,
        *,
        bot: str = "",
        tally: Tally | None = None,
        silence_limit_s: float = SILENCE_LIMIT_S,
        ttl_s: float | None = None,
        delays: Sequence[float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare.

        Args:
            gate: Where tickets come from; shared by all streams of the bot.
            take: Given every message, card button and event, and the clock offset; returns its
                ack, or None.
            bot: What log lines call it, where there are several.
            tally: Where all streams of the bot count.
            silence_limit_s: A socket without a frame or a pong for so long is replaced.
            ttl_s: A socket is replaced after this at the latest; None: when DingTalk says so.
            delays: Between attempts to connect; for tests.
            jitter: Returns a number from 0 to 1.
        """
        self._gate, self._take = gate, take
        self._whose = {"bot": bot} if bot else {}
        self._tally = tally or Tally()
        self._silence_limit_s, self._ttl_s, self._jitter = silence_limit_s, ttl_s, jitter
        self._backoff = Backoff(first_s=1, cap_s=60, delays=delays, jitter=jitter)
        self._links: dict[asyncio.Task[None], Link] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._current: Link | None = None
        self._hurry = asyncio.Event()
        self._moved_at = self._renewed_at = float("-inf")

    @property
    def is_up(self) -> bool:
        """Whether DingTalk is heard; on a move to a new socket the old one is, meanwhile."""
        return any(link.is_reading and not link.is_silent for link in list(self._links.values()))

    @property
    def is_silent(self) -> bool:
        """Whether there is a connection, and nothing came on it for too long."""
        return not self.is_up and any(link.is_reading for link in list(self._links.values()))

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; sockets stay open for :meth:`close`."""
        while True:
            try:
                link = await self._open()
            except Exception as error:  # noqa: BLE001, nothing that happens here may end the listener
                await self._pause_after(error)
                continue
            self._finish_all_but(link)
            await self._until_over(link)
            await self._pause(link.reason, link.cause, self._delay_after(link))

    def renew(self, reason: str) -> None:
        """Move to a new socket now, or stop waiting for the next attempt: the clock jumped."""
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at > AT_ONCE_EVERY_S:
            self._renewed_at = now
            if self._current is None or self._current.over.is_set():
                self._hurry.set()
            else:
                self._current.retire(reason, Cause.CLOCK_JUMP)

    async def close(self, limit_s: float) -> None:
        """Let messages in hand be acknowledged, then close, reading what still comes until then."""
        links = list(self._links.values())
        await asyncio.gather(*(link.settle(limit_s) for link in links))
        for task in self._finishing:
            task.cancel()
        await asyncio.gather(*(link.close() for link in links), return_exceptions=True)
        if self._links:
            await asyncio.wait(self._links, timeout=1)

    async def _open(self) -> Link:
        # A ticket opens one connection and dies after 90 s, so every attempt asks again.
        registration = await self._gate.register()
        socket = await connect(
            registration.url,
            max_size=MAX_FRAME,
            open_timeout=OPEN_LIMIT_S,
            max_queue=FRAMES_AHEAD,
            ping_interval=None,  # the link has a watchdog that counts frames as well as pongs
            close_timeout=1,
        )
        link = Link(
            socket,
            self._take,
            registration.clock_offset,
            silence_limit_s=self._silence_limit_s,
            tally=self._tally,
        )
        reader = asyncio.create_task(link.read())
        self._links[reader] = self._current = link
        reader.add_done_callback(self._links.pop)
        self._hurry.clear()
        self._tally.clock_offset_s = registration.clock_offset.total_seconds()
        logger.info(
            "connected to DingTalk",
            extra={
                "action": "connected",
                "peer": "dingtalk",
                **self._whose,
                "connection_id": link.connection_id,
                "clock_offset_s": registration.clock_offset.total_seconds(),
            },
        )
        return link

    def _finish_all_but(self, successor: Link) -> None:
        for link in self._links.values():
            if link is not successor:
                task = asyncio.create_task(link.finish())
                self._finishing.add(task)
                task.add_done_callback(self._finishing.discard)

    async def _until_over(self, link: Link) -> None:
        # Not all of it, so that connections opened together do not go together.
        ttl_s = self._ttl_s and self._ttl_s * (0.75 + 0.25 * self._jitter())
        try:
            async with asyncio.timeout(ttl_s):
                await link.over.wait()
        except TimeoutError:
            link.retire(f"its own time of {ttl_s:.0f} s was over", Cause.TTL)

    def _delay_after(self, link: Link) -> float:
        now = asyncio.get_running_loop().time()
        # A gateway that greets everybody and then hangs up does not count as healthy.
        if link.is_healthy and now - link.opened_at > STABLE_S:
            self._backoff.reset()
        # Little or nothing comes on a socket that has to go, so its successor is urgent; but a
        # gateway that sends everybody away again is not stormed.
        if link.is_leaving and link.is_healthy and now - self._moved_at > AT_ONCE_EVERY_S:
            self._moved_at = now
            return 0
        return self._backoff.next_s()

    async def _pause_after(self, error: Exception) -> None:
        if isinstance(error, CredentialsRefusedError | GatewayRefusedError):
            await self._pause(str(error), Cause.REFUSED, self._gate.delay_after(error))
        else:
            delay_s = max(self._backoff.next_s(), self._gate.delay_after(error))
            await self._pause(reason_of(error), Cause.UNREACHABLE, delay_s)

    async def _pause(self, reason: str, cause: Cause, delay_s: float) -> None:
        self._tally.reconnecting(cause)
        is_refused = cause is Cause.REFUSED
        logger.log(
            logging.ERROR if is_refused else logging.WARNING,
            reason if is_refused else "reconnecting to DingTalk",
            extra={
                "action": "reconnecting",
                "peer": "dingtalk",
                **self._whose,
                "reason": reason,
                "attempt": self._backoff.attempts,
                "delay_s": round(delay_s, 2),
            },
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._hurry.wait()
        self._hurry.clear()
