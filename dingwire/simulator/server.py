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

from dingwire.simulator import payloads
from dingwire.simulator.control import Control
from dingwire.simulator.faults import Faults, ReplyFault
from dingwire.simulator.gateway import Credentials, Gateway
from dingwire.simulator.observed import Observed, WaitedTooLongError
from dingwire.simulator.openapi import OpenApi
from dingwire.simulator.page import Page
from dingwire.simulator.records import Message, Push
from dingwire.simulator.robot import GroupRobots
from dingwire.simulator.stream import Switchboard
from dingwire.simulator.webhook import Webhooks
from dingwire.simulator.world import DEFAULT_GROUP, World, new_message_id

__all__ = ["Simulator", "WaitedTooLongError"]

MAX_BODY = 16 * 1024 * 1024


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
        super().__init__(world, Switchboard(world, self._gateway), OpenApi(world, credentials))
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
            omit: Payload members that are left out.
            raw_data: Sent as the frame's ``data`` instead of the payload.
            to: Only to connections of this client id.
            payload: Payload members by their wire names, replacing ours.

        Returns:
            The record of the message, which moves on as things happen to it.
        """
        name = DEFAULT_GROUP if group is True else group
        message = self._compose(text, person, name or None, kind, payload)
        message.omitted, message.raw_data = tuple(omit), raw_data
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
        self._openapi.invalidate_tokens()

    async def reset(self) -> None:
        """Forget what happened and set every switch back to its start; live connections stay."""
        self.world.faults = self._first_faults
        self._gateway.scripted.clear()
        self.robots.messages.clear()
        self._switchboard.forget_waiting()
        self.world.reset()
        self.world.journal.connections.extend(self.live_connections)
        self.world.journal.changed("reset", {})

    def _compose(
        self, text: str, person: str, group: str | None, kind: str, payload: dict[str, Any]
    ) -> Message:
        world = self.world
        sender = world.person(person)
        conversation = world.group(group) if group else world.private_chat(person)
        conversation.members.add(person)
        created_at_ms = world.now_ms()
        session = world.open_session(conversation)
        data = payloads.message_data(
            text=text,
            kind=kind,
            message_id=str(payload.get("msgId") or new_message_id()),
            sender=sender,
            conversation=conversation,
            created_at_ms=created_at_ms,
            session_webhook=world.webhook_url(session),
            expires_at_ms=session.expires_at_ms,
            faults=world.faults,
        )
        return Message(
            message_id=data["msgId"],
            conversation_id=conversation.conversation_id,
            conversation=conversation.name,
            is_group=conversation.is_group,
            person=person,
            nick=sender.nick,
            text=text,
            kind=kind,
            created_at_ms=created_at_ms,
            session_webhook=world.webhook_url(session),
            expires_at_ms=session.expires_at_ms,
            payload={**data, **payload},
        )

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.on_response_prepare.append(self._set_date)
        app.add_routes(
            [
                web.post("/v1.0/gateway/connections/open", self._gateway.open),
                web.get("/connect", self._switchboard.accept),
                web.post("/robot/sendBySession", self._webhooks.post),
                web.post("/robot/send", self.robots.send),
                web.post("/v1.0/oauth2/accessToken", self._openapi.access_token),
                web.post("/v1.0/robot/oToMessages/batchSend", self._openapi.send_to_people),
                web.post("/v1.0/robot/groupMessages/send", self._openapi.send_to_group),
                *Control(self).routes(),
                *Page(self.world.journal).routes(),
            ]
        )
        return app

    async def _set_date(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(self.world.now(), usegmt=True)
