"""The simulator as one object: all faces on one port of 127.0.0.1, driven from Python.

Tests use ``async with Simulator() as simulator``; ``thread`` wraps it for tests without a loop;
``__main__`` serves it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Self

from aiohttp import web

from dingwire.simulator.bot_records import Click, Event
from dingwire.simulator.cards import Cards
from dingwire.simulator.clicks import Clicks
from dingwire.simulator.composing import Quotable, Utterance, compose
from dingwire.simulator.control import Control
from dingwire.simulator.emotions import Emotions
from dingwire.simulator.events import Events
from dingwire.simulator.faults import Faults
from dingwire.simulator.filestore import File
from dingwire.simulator.gateway import Credentials
from dingwire.simulator.media import Media
from dingwire.simulator.observed import WaitedTooLongError
from dingwire.simulator.openapi import OpenApi
from dingwire.simulator.orders import Orders
from dingwire.simulator.page import Page, assets
from dingwire.simulator.records import Message, Push
from dingwire.simulator.robot import GroupRobots
from dingwire.simulator.strangers import refuse_pages
from dingwire.simulator.webhook import Webhooks
from dingwire.simulator.wiretap import wiretap
from dingwire.simulator.world import DEFAULT_GROUP, World

__all__ = ["Simulator", "WaitedTooLongError"]

MAX_BODY = 32 * 1024 * 1024
LATE_ROUNDS = 5  # of the loop, from the kernel's accept to the server's list of connections


def _system_clock() -> datetime:
    return datetime.now(UTC)


class Simulator(Orders):
    """DingTalk on this machine.

    Args:
        port: TCP port of 127.0.0.1; 0 takes a free one.
        client_id: With ``client_secret`` the only bot let in; without them any is.
        client_secret: See ``client_id``.
        clock: Aware UTC time; the system's by default.
        switches: Members of :class:`~dingwire.simulator.faults.Faults`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        client_id: str = "",
        client_secret: str = "",
        clock: Callable[[], datetime] = _system_clock,
        **switches: Any,
    ) -> None:
        self.port = port
        self._first_faults = Faults(**switches)
        world = World(clock=clock, faults=self._first_faults)
        super().__init__(world, Credentials(client_id, client_secret))
        self._webhooks = Webhooks(world)
        self._clicks = Clicks(world, self._switchboard)
        self._events = Events(world, self._switchboard)
        self.robots = GroupRobots(world)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: If the port is taken.
        """
        runner = web.AppRunner(
            self._app(), access_log=None, handle_signals=False, shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]
        self.world.origin = self.endpoint

    async def stop(self) -> None:
        """Cut every connection and stop listening."""
        if self._runner is not None:
            await self._switchboard.close()
            for site in tuple(self._runner.sites):
                await site.stop()
            # What was being accepted meanwhile would be forgotten by the clean-up, and stay open.
            for _ in range(LATE_ROUNDS):
                await asyncio.sleep(0)
            await self._runner.cleanup()
            self._runner = None

    def paths(self) -> set[str]:
        """The addresses it answers, with their variable parts in braces; once it listens."""
        app = self._runner.app if self._runner is not None else self._app()
        return {each.canonical for each in app.router.resources()}

    @property
    def endpoint(self) -> str:
        """The API base for ``DINGTALK_OPENAPI_ENDPOINT``; the chat page lives there too."""
        return f"http://{self.webhook_host}"

    @property
    def webhook_host(self) -> str:
        """``host:port`` of the session webhooks, for ``DINGTALK_WEBHOOK_HOSTS``."""
        return f"127.0.0.1:{self.port}"

    async def say(
        self,
        text: str,
        person: str = "alice",
        group: str | bool | None = None,
        *,
        kind: str = "text",
        file: File | Sequence[File] = (),
        quote: Quotable | None = None,
        mentions: Sequence[str] = (),
        delegate: str | None = None,
        omit: Sequence[str] = (),
        raw_data: str | None = None,
        to: str | Sequence[str] = (),
        **payload: Any,
    ) -> Message:
        """Let a person write to the bot; people and groups come into being by being named.

        Args:
            text: What is written; other kinds carry it where they can.
            person: Staff id.
            group: Name of a group, ``True`` for the usual one; private when ``None``.
            kind: The wire's ``msgtype``.
            file: What is sent along, several with ``richText``; a small sample by default.
            quote: The message or reply this one answers; a message's id or a send's key will do.
            mentions: Staff ids of people who are @-mentioned besides the bot.
            delegate: Staff id of the person the bot stands in for; another topic, no webhook.
            omit: Payload members that are left out.
            raw_data: Sent as the frame's ``data`` instead of the payload.
            to: Client id of the bot it is for, whose private chat and session it then is; in a
                group several, which are all mentioned and get the same message id.
            payload: Payload members by their wire names, replacing ours.

        Returns:
            The record of the message, which moves on as things happen to it.
        """
        said = Utterance(
            text=text,
            person=person,
            group=(DEFAULT_GROUP if group is True else group) or None,
            kind=kind,
            files=[file] if isinstance(file, File) else file,
            quote=quote,
            mentions=mentions,
            delegate=delegate,
            robots=[to] if isinstance(to, str) else to,
            omit=omit,
            raw_data=raw_data,
            payload=payload,
        )
        message = compose(self.world, said)
        self.world.add_message(message)
        robots: list[str | None] = [*message.robots] or [None]
        for robot in robots:
            self._switchboard.push_message(message, to=robot)
        await asyncio.sleep(0)
        return message

    async def click(
        self,
        card: str,
        action_id: str = "",
        person: str = "alice",
        params: Mapping[str, Any] | None = None,
    ) -> Click:
        """Press a button of a card.

        Args:
            card: Its ``outTrackId``.
            action_id: The button's id on the card.
            person: Staff id.
            params: Values the button carries.

        Returns:
            The record of the click, which moves on as the bot's ack comes.

        Raises:
            ValueError: If there is no such card.
        """
        known = self.world.journal.cards.get(card)
        if known is None:
            raise ValueError("the card is not known")
        return self._clicks.click(known, person, action_id, dict(params or {}))

    async def push_event(self, event_type: str, data: Any = None, to: str | None = None) -> Event:
        """Let something happen in the organisation: pushed until it is acked SUCCESS.

        Args:
            event_type: As ``user_add_org``.
            data: A JSON value, or the text to be sent as it is.
            to: Only to connections of this client id.
        """
        return self._events.push(event_type, {} if data is None else data, client_id=to)

    async def push(self, topic: str, data: str = "{}", kind: str = "CALLBACK") -> Push | None:
        """Push a frame of another topic or type, with any ``data`` text."""
        return self._switchboard.push(topic, data, kind)

    @property
    def normal(self) -> Faults:
        """The switches it was started with."""
        return self._first_faults

    async def heal(self) -> None:
        """Back to normal, connections too, and no scripted fault is left; what was said stays."""
        self.world.faults = self._first_faults
        self._gateway.scripted.clear()
        self.world.reply_faults.clear()
        self._access.faults.clear()
        for line in self._switchboard.select(None):
            if line.record.state in ("mute", "half_open"):
                self._switchboard.set_state(line, "open")
        self.world.journal.changed("faults", {})

    async def reset(self) -> None:
        """Forget what happened and set every switch back to its start; live connections stay."""
        self.world.faults = self._first_faults
        self._gateway.scripted.clear()
        self.robots.messages.clear()
        self._access.reset()
        self._switchboard.forget_waiting()
        self.world.reset()
        self.world.journal.connections.extend(self.live_connections)
        self.world.journal.changed("reset", {})

    def _app(self) -> web.Application:
        tap = wiretap(self.world, frozenset(assets()))
        app = web.Application(client_max_size=MAX_BODY, middlewares=[refuse_pages, tap])
        app.on_response_prepare.append(self._set_date)
        app.add_routes(
            [
                web.post("/v1.0/gateway/connections/open", self._gateway.open),
                web.get("/connect", self._switchboard.accept),
                web.post("/robot/sendBySession", self._webhooks.post),
                web.post("/robot/send", self.robots.send),
                *self._access.tokens.routes(),
                *OpenApi(self.world, self._access).routes(),
                *Media(self.world, self._access).routes(),
                *Cards(self.world, self._access).routes(),
                *Emotions(self.world, self._access).routes(),
                *Control(self).routes(),
                *Page(self.world).routes(),
            ]
        )
        return app

    async def _set_date(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(self.world.now(), usegmt=True)
