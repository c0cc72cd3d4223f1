"""One WebSocket of the simulator: what goes out, and what comes back.

``stream`` opens lines and chooses between them.
"""

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from dingwire.simulator.records import Ack, Connection, Push
from dingwire.simulator.world import World

__all__ = ["Line", "record_ack"]

OK = 200


class Line:
    """One live WebSocket: its record, its outbox and the socket under it.

    Frames wait in the outbox, so a client that reads slowly delays nobody else.
    """

    def __init__(
        self, record: Connection, socket: web.WebSocketResponse, request: web.Request
    ) -> None:
        self.record = record
        self.socket = socket
        self._request = request
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()

    def send(self, frame: str | bytes) -> None:
        """Queue a frame: text as a text frame, bytes as a binary one."""
        self._outbox.put_nowait(frame)

    async def write(self) -> None:
        """Send what is queued until cancelled or the socket is gone."""
        while True:
            frame = await self._outbox.get()
            try:
                if isinstance(frame, bytes):
                    await self.socket.send_bytes(frame)
                else:
                    await self.socket.send_str(frame)
            except ConnectionError:
                return

    def kill(self) -> None:
        """End the TCP connection without a close frame."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def wants(self, topic: str, kind: str = "CALLBACK") -> bool:
        """Whether pushes of a topic go to this connection now."""
        return self.record.state == "open" and any(
            each["type"] == kind and each["topic"] == topic for each in self.record.subscriptions
        )


def record_ack(world: World, line: Line, raw: str | bytes) -> None:
    """Record a frame from a client, and what it says about the push it answers."""
    ack = _read_ack(world, line, raw)
    push = world.journal.pushes.get(ack.push_id)
    if push is not None:
        _match(world, line, ack, push)
    world.journal.acks.append(ack)
    world.journal.changed("ack", ack)


def _match(world: World, line: Line, ack: Ack, push: Push) -> None:
    push.ack_code = ack.code
    ack.kind, ack.message_id = push.kind, push.message_id
    ack.latency_s = time.monotonic() - push.at_s
    if push.kind == "ping":
        ack.data_matches = ack.data == json.loads(push.data)
        line.record.unanswered_pings = 0
    message = world.journal.messages.get(push.message_id or "")
    if message is not None and message.state != "acked":
        world.mark(message, "acked" if ack.code == OK else "refused")


def _read_ack(world: World, line: Line, raw: str | bytes) -> Ack:
    frame = _parsed(raw)
    headers = frame.get("headers") if isinstance(frame, dict) else None
    is_ack = isinstance(frame, dict) and isinstance(headers, dict)
    fields: dict[str, Any] = frame if is_ack else {}
    code = fields.get("code")
    data = fields.get("data")
    return Ack(
        push_id=str((headers or {}).get("messageId", "")) if is_ack else "",
        connection_id=line.record.connection_id,
        kind="unknown" if is_ack else "malformed",
        code=code if isinstance(code, int) else None,
        data=_parsed(data) if isinstance(data, str) else data,
        message=str(fields.get("message", "")),
        at_ms=world.now_ms(),
    )


def _parsed(raw: str | bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
