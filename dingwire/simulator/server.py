"""The simulator as one object: all faces on one port of 127.0.0.1, driven from Python.

Tests use ``async with Simulator() as simulator``; ``thread`` wraps it for tests without a loop;
``__main__`` serves it.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Self

from aiohttp import web

from dingwire.simulator.access import Access
from dingwire.simulator.composing import Quotable, Utterance, compose
from dingwire.simulator.control import Control
from dingwire.simulator.faults import Faults, ReplyFault
from dingwire.simulator.filestore import File
from dingwire.simulator.gateway import Credentials, Gateway
from dingwire.simulator.media import Media
from dingwire.simulator.observed import Observed, WaitedTooLongError
from dingwire.simulator.openapi import OpenApi
from dingwire.simulator.page import Page
from dingwire.simulator.records import Message, Push, as_json
from dingwire.simulator.refusals import ApiFault
from dingwire.simulator.robot import GroupRobots
from dingwire.simulator.stream import Switchboard
from dingwire.simulator.webhook import Webhooks
from dingwire.simulator.world import DEFAULT_GROUP, World

__all__ = ["Simulator", "WaitedTooLongError"]

MAX_BODY = 32 * 1024 * 1024


def _system_clock() -> datetime:
    return datetime.now(UTC)


class Simulator(Observed):
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
        credentials = Credentials(client_id, client_secret)
        self._first_faults = Faults(**switches)
        world = World(clock=clock, faults=self._first_faults)
        self._gateway = Gateway(world, credentials)
        self._webhooks = Webhooks(world)
        self.robots = GroupRobots(world)
        access = Access(world, credentials)
        super().__init__(world, Switchboard(world, self._gateway), access)
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
            await self._runner.cleanup()
            self._runner = None

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
        to: str | None = None,
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
            to: Only to connections of this client id.
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
            omit=omit,
            raw_data=raw_data,
            payload=payload,
        )
        message = compose(self.world, said)
        self.world.add_message(message)
        self._switchboard.push_message(message, to=to)
        await asyncio.sleep(0)
        return message

    async def push(self, topic: str, data: str = "{}", kind: str = "CALLBACK") -> Push | None:
        """Push a frame of another topic or type, with any ``data`` text."""
        return self._switchboard.push(topic, data, kind)

    async def raw(self, frame: str | bytes, connection_id: str | None = None) -> int:
        """Send a frame as it is to one connection or all; returns to how many."""
        lines = self._switchboard.select(connection_id)
        for line in lines:
            line.send(frame)
        return len(lines)

    async def disconnect(self, connection_id: str | None = None) -> None:
        """Recycle one connection, or all: frame, no more pushes, cut later."""
        for line in self._switchboard.select(connection_id):
            self._switchboard.disconnect(line)

    async def drop(self, connection_id: str | None = None) -> None:
        """Cut one connection, or all, without a word."""
        for line in self._switchboard.select(connection_id):
            line.kill()

    async def set_connection(self, state: str, connection_id: str | None = None) -> None:
        """Make connections ``mute``, ``half_open`` or ``open`` again."""
        if state not in ("open", "mute", "half_open"):
            raise ValueError(f"a connection is open, mute or half_open, not {state!r}")
        for line in self._switchboard.select(connection_id):
            self._switchboard.set_state(line, state)

    async def switch(self, **switches: Any) -> None:
        """Move switches of :class:`~dingwire.simulator.faults.Faults`."""
        self.world.faults = self.world.faults.changed(**switches)

    async def fail_registrations(self, *modes: str) -> None:
        """Let the next registrations meet these values of the ``registration`` switch."""
        for mode in modes:
            Faults(registration=mode)
        self._gateway.scripted.extend(modes)

    async def fail_replies(
        self, times: int | None = 1, conversation: str | None = None, **fault: Any
    ) -> None:
        """Let the next replies meet a fault; see :class:`~dingwire.simulator.faults.ReplyFault`.

        Args:
            times: How many replies; ``None`` for all until :meth:`heal_replies`.
            conversation: A conversation's id, a group's name or a staff id; any when ``None``.
            fault: Members of ``ReplyFault``.
        """
        conversation_id = None
        if conversation is not None:
            found = self.world.find_conversation(conversation)
            known = found or self.world.private_chat(conversation)
            conversation_id = known.conversation_id
        self.world.reply_faults.append(
            ReplyFault(times=times, conversation_id=conversation_id, **fault)
        )

    async def heal_replies(self) -> None:
        """Forget all scripted reply faults."""
        self.world.reply_faults.clear()

    async def expire_session(self, conversation: str) -> None:
        """End a conversation's session now, whatever its webhook's expiry said."""
        found = self.world.find_conversation(conversation)
        if found is not None and found.session is not None:
            found.session.expires_at_ms = self.world.now_ms()

    async def invalidate_tokens(self) -> None:
        """Make every access token worthless before its time."""
        self._access.tokens.invalidate()

    async def fail_api(self, path: str = "*", times: int | None = 1, **fault: Any) -> None:
        """Let the next OpenAPI calls meet a fault.

        Args:
            path: The API's path; a final ``*`` stands for any end.
            times: How many calls; ``None`` for all until :meth:`heal_api`.
            fault: Members of :class:`~dingwire.simulator.refusals.ApiFault`.
        """
        self._access.faults.append(ApiFault(path=path, times=times, **fault))

    def api_faults(self) -> list[dict[str, Any]]:
        """The scripted API faults and how often each was met."""
        return [as_json(each) for each in self._access.faults]

    async def heal_api(self) -> None:
        """Forget all scripted API faults."""
        self._access.faults.clear()

    async def expire_codes(self) -> None:
        """End every download code now."""
        self.world.files.expire_codes()

    def file(
        self,
        content: bytes,
        name: str,
        *,
        media_type: str = "",
        duration_ms: int = 4000,
    ) -> File:
        """A file that people can send: ``say("", kind="picture", file=...)``."""
        return File(content, name, media_type, duration_ms)

    def download_code(self, file: File, robot: str | None = None) -> str:
        """A download code for a payload of your own, good for one robot code or for any."""
        robots = None if robot is None else {robot}
        life_s = self.world.faults.download_code_ttl_s
        return self.world.files.code(file, robots=robots, life_s=life_s)

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
        app = web.Application(client_max_size=MAX_BODY)
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
                *Control(self).routes(),
                *Page(self.world.journal).routes(),
            ]
        )
        return app

    async def _set_date(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(self.world.now(), usegmt=True)
