"""One WebSocket of the simulator: what goes out, and what comes back.

``stream`` opens lines and chooses between them.
"""

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from dingwire.simulator.records import Ack, Connection, Push
from dingwire.simulator.wire import readable
from dingwire.simulator.world import World

__all__ = ["Line", "record_ack"]

OK = 200


class Line:
    """One live WebSocket: its record, its outbox and the socket under it.

    Frames wait in the outbox, so a client that reads slowly delays nobody else.
    """

    def __init__(
        self,
        world: World,
        record: Connection,
        socket: web.WebSocketResponse,
        request: web.Request,
    ) -> None:
        self._world = world
        self.record = record
        self.socket = socket
        self._request = request
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()

    def send(self, frame: str | bytes, title: str = "RAW", push: Push | None = None) -> None:
        """Queue a frame: text as a text frame, bytes as a binary one.

        Args:
            frame: Goes out as it is.
            title: What the record of the wire calls it.
            push: What it is, unless it was made by hand.
        """
        self._outbox.put_nowait(frame)
        self._world.wire.note(
            self._world.now_ms(),
            "out",
            "ping" if push is not None and push.kind == "ping" else "push",
            title,
            client_id=self.record.client_id,
            message_id=(push.message_id if push is not None else None) or "",
            request=readable(frame) if isinstance(frame, str) else f"binary, {len(frame)} bytes",
        )

    def note_state(self) -> None:
        """Note in the record of the wire what has become of the connection."""
        code = self.record.close_code if self.record.state == "closed" else None
        title = f"connection {self.record.state}" + (f", code {code}" if code else "")
        client_id = self.record.client_id
        self._world.wire.note(
            self._world.now_ms(), "in", "registration", title, client_id=client_id
        )

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
    world.wire.note(
        ack.at_ms,
        "in",
        "ping" if ack.kind == "ping" else "ack",
        f"ACK {push.topic}" if push is not None else f"ACK {ack.kind}",
        client_id=line.record.client_id,
        message_id=ack.message_id or "",
        status=ack.code,
        took_ms=None if ack.latency_s is None else round(ack.latency_s * 1000),
        request=readable(raw),
    )
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
