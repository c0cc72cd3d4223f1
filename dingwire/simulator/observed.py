"""What a test sees of the simulator: the records of a run, and waiting for them.

``server`` builds :class:`~dingwire.simulator.server.Simulator` on it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Self

from dingwire.simulator.access import Access
from dingwire.simulator.bot_records import (
    ApiCall,
    Card,
    Click,
    Event,
    ProactiveSend,
    Reaction,
    Upload,
)
from dingwire.simulator.faults import Faults
from dingwire.simulator.records import Ack, Connection, Message, Push, Registration, Reply
from dingwire.simulator.stream import Switchboard
from dingwire.simulator.world import World

__all__ = ["Observed", "WaitedTooLongError"]


class WaitedTooLongError(AssertionError):
    """What a test waited for did not happen in time; the text says what did."""


class Observed:
    """Read-only views of the records, and :meth:`until`."""

    def __init__(self, world: World, switchboard: Switchboard, access: Access) -> None:
        self.world = world
        self._switchboard = switchboard
        self._access = access

    @property
    def faults(self) -> Faults:
        """The switches as they are."""
        return self.world.faults

    @property
    def registrations(self) -> list[Registration]:
        """Every registration, refused ones included."""
        return self.world.journal.registrations

    @property
    def tickets_seen(self) -> list[str]:
        """Every ticket offered at an upgrade, refused ones included."""
        return self.world.journal.tickets_seen

    @property
    def connections(self) -> list[Connection]:
        """Every connection there was."""
        return self.world.journal.connections

    @property
    def live_connections(self) -> list[Connection]:
        """The connections whose socket is still there."""
        return [line.record for line in self._switchboard.lines]

    @property
    def pushes(self) -> list[Push]:
        """Every frame sent."""
        return list(self.world.journal.pushes.values())

    @property
    def acks(self) -> list[Ack]:
        """Every frame received."""
        return self.world.journal.acks

    @property
    def message_acks(self) -> list[Ack]:
        """The acks of bot messages."""
        return [each for each in self.acks if each.kind == "message"]

    @property
    def messages(self) -> list[Message]:
        """Everything people wrote."""
        return list(self.world.journal.messages.values())

    @property
    def replies(self) -> list[Reply]:
        """Every post to a session webhook."""
        return self.world.journal.replies

    @property
    def accepted(self) -> list[Reply]:
        """The replies that reached a chat."""
        return [each for each in self.replies if each.accepted]

    @property
    def proactive(self) -> list[ProactiveSend]:
        """Every proactive send."""
        return self.world.journal.proactive

    @property
    def api_calls(self) -> list[ApiCall]:
        """Every OpenAPI call except those for a token, refused ones included."""
        return self.world.journal.api_calls

    @property
    def uploads(self) -> list[Upload]:
        """Every file a bot uploaded, refused ones included."""
        return self.world.journal.uploads

    def uploaded(self, media_id: str) -> bytes:
        """The bytes behind a media id.

        Raises:
            KeyError: If nothing was uploaded under it.
        """
        file = self.world.files.media(media_id)
        if file is None:
            raise KeyError(media_id)
        return file.content

    @property
    def reactions(self) -> list[Reaction]:
        """Every call for an emotion, refused ones included; a message has those that stand."""
        return self.world.journal.reactions

    @property
    def cards(self) -> dict[str, Card]:
        """Every card by its ``outTrackId``."""
        return self.world.journal.cards

    @property
    def clicks(self) -> list[Click]:
        """Every button somebody pressed."""
        return self.world.journal.clicks

    @property
    def events(self) -> list[Event]:
        """Every event of the organisation."""
        return self.world.journal.events

    @property
    def lost(self) -> list[Message]:
        """Messages nobody was connected for."""
        return [each for each in self.messages if each.state == "lost"]

    @property
    def token_calls(self) -> int:
        """How often an access token was asked for."""
        return self._access.tokens.calls

    async def until(
        self,
        predicate: Callable[[Self], object],
        timeout_s: float = 60.0,
        what: str = "the condition",
    ) -> None:
        """Wait until ``predicate(simulator)`` holds, looking after each change.

        Raises:
            WaitedTooLongError: If it does not hold in time.
        """
        changed = asyncio.Event()
        stop = self.world.journal.listen(lambda _kind, _record: changed.set())
        end = time.monotonic() + timeout_s
        try:
            while not predicate(self):
                left = end - time.monotonic()
                if left <= 0:
                    raise WaitedTooLongError(f"waited {timeout_s} s for {what}; {self.counters()}")
                changed.clear()
                try:
                    # Time alone can make it true as well, so look now and then.
                    await asyncio.wait_for(changed.wait(), min(left, 0.25))
                except TimeoutError:
                    continue
                await asyncio.sleep(0.005)  # one look for a whole burst of changes
        finally:
            stop()

    async def until_connected(self, count: int = 1, timeout_s: float = 60.0) -> None:
        """Wait for that many live connections."""
        await self.until(
            lambda me: len(me.live_connections) >= count, timeout_s, f"{count} connections"
        )

    async def until_answered(self, message: Message, timeout_s: float = 60.0) -> str:
        """Wait for the first answer to a message; returns its text."""
        await self.until(lambda _: message.answers, timeout_s, "an answer")
        return message.answers[0]

    def counters(self) -> dict[str, int]:
        """How much of everything there was."""
        return {
            "registrations": len(self.registrations),
            "connections": len(self.connections),
            "live_connections": len(self.live_connections),
            "messages": len(self.messages),
            "lost": len(self.lost),
            "pushes": sum(each.kind == "message" for each in self.pushes),
            "acks": len(self.message_acks),
            "replies": len(self.replies),
            "accepted": len(self.accepted),
            "proactive": len(self.proactive),
            "token_calls": self.token_calls,
            "api_calls": len(self.api_calls),
            "uploads": len(self.uploads),
            "reactions": len(self.reactions),
            "cards": len(self.cards),
            "clicks": len(self.clicks),
            "events": len(self.events),
        }
