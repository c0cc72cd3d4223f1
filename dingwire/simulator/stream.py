"""The Stream face: WebSocket connections, pings, pushes, redelivery and disconnects.

``server`` mounts :meth:`Switchboard.accept` at ``/connect``; ``simulator`` pushes through it.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from dingwire.simulator import payloads
from dingwire.simulator.gateway import Gateway, Ticket
from dingwire.simulator.line import Line, record_ack
from dingwire.simulator.records import Connection, Message, Push
from dingwire.simulator.world import World, bot_user_id

__all__ = ["Switchboard"]

MAX_CLIENT_FRAME = 16 * 1024 * 1024
BUSY_STATES = frozenset({"open", "mute"})  # states in which pings go on


class Switchboard:
    """All connections, and who gets which push."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self._world = world
        self._gateway = gateway
        self._turn = 0
        self._waiting: list[tuple[Message, str | None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.lines: list[Line] = []

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Redeem the ticket and hold the connection until it ends."""
        faults = self._world.faults
        ticket = self._gateway.redeem(request.query.get("ticket", ""))
        is_full = 0 < faults.max_connections <= len(self.lines)
        if ticket is None or is_full:
            return web.Response(status=faults.ticket_reject_status, text="ticket refused")
        socket = web.WebSocketResponse(autoping=False, max_msg_size=MAX_CLIENT_FRAME)
        await socket.prepare(request)
        line = Line(self._world, self._new_connection(ticket), socket, request)
        self.lines.append(line)
        self._world.journal.connections.append(line.record)
        line.note_state()
        self._world.journal.changed("connection", line.record)
        helpers = [self._spawn(line.write()), self._spawn(self._keep_alive(line))]
        if faults.disconnect_after_s:
            helpers.append(self.later(faults.disconnect_after_s, lambda: self.disconnect(line)))
        self._send_waiting()
        try:
            await self._read(line)
        finally:
            for helper in helpers:
                helper.cancel()
            self._ended(line)
        return socket

    def push_message(self, message: Message, *, to: str | None = None) -> Push | None:
        """Push a bot message to one subscribed connection; lost or queued when there is none.

        Args:
            message: What a person wrote; its payload goes out with the bot's robot code.
            to: Only connections of this client id.
        """
        faults = self._world.faults
        is_pushed = faults.pushes == "all" or (faults.pushes == "private" and not message.is_group)
        line = self._choose(message.topic, to) if is_pushed else None
        if line is None:
            is_queued = is_pushed and faults.queue_until_connected
            if is_queued:
                self._waiting.append((message, to))
            if not message.pushes:
                self._world.mark(message, "queued" if is_queued else "lost")
            return None
        for code in message.codes:
            self._world.files.grant(code, line.record.client_id)
        data = _data_for(line, message)
        push = self._send(line, "CALLBACK", message.topic, data, kind="message", message=message)
        if message.state not in ("acked", "answered", "stopped"):
            self._world.mark(message, "pushed")
        self._plan_redelivery(message, to)
        return push

    def push_to(
        self,
        topic: str,
        data: str,
        *,
        kind: str,
        client_id: str | None,
        frame_kind: str = "CALLBACK",
        headers: Mapping[str, str] | None = None,
    ) -> Push | None:
        """Push a frame to a connection that subscribed to it; None when there is none.

        Args:
            topic: What was subscribed to.
            data: JSON text.
            kind: What the push is in our records.
            client_id: Only connections of this client id.
            frame_kind: ``CALLBACK`` or ``EVENT``.
            headers: Further headers of the frame.
        """
        line = self._choose(topic, client_id, frame_kind)
        if line is None:
            return None
        return self._send(line, frame_kind, topic, data, kind=kind, headers=headers)

    def push(self, topic: str, data: str, kind: str = "CALLBACK") -> Push | None:
        """Push any other frame, to a random live connection whatever it subscribed to."""
        line = self._choose(None, None)
        return None if line is None else self._send(line, kind, topic, data, kind="other")

    def disconnect(self, line: Line) -> None:
        """Recycle a connection: say so, push nothing more, cut it some seconds later."""
        if line.record.state in ("closed", "draining"):
            return
        faults = self._world.faults
        if faults.disconnect_frame:
            data = json.dumps({"reason": faults.disconnect_reason})
            self._send(line, "SYSTEM", "disconnect", data, kind="disconnect")
        self._set_state(line, "draining")
        self.later(faults.disconnect_close_s, lambda: self._cut(line))

    def set_state(self, line: Line, state: str) -> None:
        """Make a connection ``mute`` (pings only), ``half_open`` (nothing) or ``open`` again."""
        self._set_state(line, state)

    def select(self, connection_id: str | None) -> list[Line]:
        """The live connections meant: one by its id, or all."""
        return [line for line in self.lines if connection_id in (None, line.record.connection_id)]

    async def close(self) -> None:
        """End everything at once, for the server's own stop."""
        for line in tuple(self.lines):
            line.kill()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget_waiting(self) -> None:
        """Drop messages that waited for a connection."""
        self._waiting.clear()

    def _new_connection(self, ticket: Ticket) -> Connection:
        return Connection(
            connection_id=ticket.value,
            client_id=ticket.client_id,
            subscriptions=ticket.subscriptions,
            ua=ticket.ua,
            opened_at_ms=self._world.now_ms(),
        )

    def _choose(
        self, topic: str | None, client_id: str | None, frame_kind: str = "CALLBACK"
    ) -> Line | None:
        ready = [
            line
            for line in self.lines
            if (line.wants(topic, frame_kind) if topic else line.record.state == "open")
            and client_id in (None, line.record.client_id)
        ]
        if not ready:
            return None
        match self._world.faults.distribution:
            case "newest":
                return ready[-1]
            case "round_robin":
                self._turn += 1
                return ready[self._turn % len(ready)]
            case _:
                return random.choice(ready)  # noqa: S311 - load sharing, not security

    def _send(
        self,
        line: Line,
        frame_kind: str,
        topic: str,
        data: str,
        *,
        kind: str,
        message: Message | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Push:
        now_ms = self._world.now_ms()
        push = Push(
            push_id=payloads.new_push_id(now_ms),
            connection_id=line.record.connection_id,
            kind=kind,
            topic=topic,
            data=data,
            at_ms=now_ms,
            at_s=time.monotonic(),
            message_id=message.message_id if message else None,
            client_id=line.record.client_id,
        )
        self._world.journal.pushes[push.push_id] = push
        if message is not None:
            message.pushes.append(push.push_id)
        bare = kind == "disconnect"  # real ones name neither app nor connection
        frame = payloads.frame(
            kind=frame_kind,
            topic=topic,
            push_id=push.push_id,
            now_ms=now_ms,
            data=data,
            connection_id=None if bare else line.record.connection_id,
            more=headers,
        )
        line.send(frame, f"{frame_kind} {topic}", push)
        self._world.journal.changed("push", push)
        return push

    async def _read(self, line: Line) -> None:
        async for received in line.socket:
            if line.record.state == "half_open":
                continue
            if received.type is WSMsgType.PING:
                if self._world.faults.answer_ws_pings:
                    await line.socket.pong(received.data)
            elif received.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                record_ack(self._world, line, received.data)

    async def _keep_alive(self, line: Line) -> None:
        await asyncio.sleep(self._world.faults.ping_first_s)
        while line.record.state != "closed":
            faults = self._world.faults
            if not faults.ping_every_s:
                return
            missed = line.record.unanswered_pings
            if 0 < faults.ping_misses_before_drop <= missed:
                line.kill()
                return
            if line.record.state in BUSY_STATES:
                data = json.dumps({"opaque": payloads.opaque()})
                line.record.unanswered_pings += 1
                self._send(line, "SYSTEM", "ping", data, kind="ping")
            await asyncio.sleep(faults.ping_every_s)

    def _plan_redelivery(self, message: Message, to: str | None) -> None:
        faults, pushes = self._world.faults, self._world.journal.pushes

        def sent() -> list[Push]:
            known = [pushes[each] for each in message.pushes if each in pushes]
            return [each for each in known if to in (None, each.client_id)]

        def again() -> None:
            if faults.redeliver_acked or not any(each.ack_code == 200 for each in sent()):
                self.push_message(message, to=to)

        if faults.redeliver_after_s and len(sent()) <= faults.redeliver_times:
            self.later(faults.redeliver_after_s, again)

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for message, to in waiting:
            self.push_message(message, to=to)

    def _cut(self, line: Line) -> None:
        code = self._world.faults.disconnect_close_code
        if code:
            self._spawn(_close(line, code))
        else:
            line.kill()

    def _set_state(self, line: Line, state: str) -> None:
        line.record.state = state
        line.note_state()
        self._world.journal.changed("connection", line.record)

    def _ended(self, line: Line) -> None:
        self.lines.remove(line)
        line.record.closed_at_ms = self._world.now_ms()
        line.record.close_code = line.socket.close_code
        self._set_state(line, "closed")

    def later(self, delay_s: float, action: Callable[[], None]) -> asyncio.Task[None]:
        """Do something after a while, unless the simulator stops before."""

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            action()

        return self._spawn(wait())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _data_for(line: Line, message: Message) -> str:
    if message.raw_data is not None:
        return message.raw_data
    robot = line.record.client_id
    payload = {"robotCode": robot, **message.payload}
    if robot in message.webhooks and payload.get("sessionWebhook") == message.session_webhook:
        payload["sessionWebhook"] = message.webhooks[robot]
        payload["chatbotUserId"] = bot_user_id(robot)
    for name in message.omitted:
        payload.pop(name, None)
    return json.dumps(payload, ensure_ascii=False)


async def _close(line: Line, code: int) -> None:
    await line.socket.close(code=code)
