"""A hundred thousand messages while the broker hangs: all are read, and memory stays bounded."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress

import psutil
import pytest
from aiohttp import WSMsgType, web

from dingwire.simulator import payloads
from tests.processes import ROOT, Process

MESSAGES = 100_000
PEOPLE = 500
MIB = 2**20
MOST_GROWTH = 120 * MIB


class Flood:
    """A DingTalk that pushes as fast as the socket takes it, and asks at the end who is alive."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self.acked: set[str] = set()
        self.connected, self.started = asyncio.Event(), asyncio.Event()
        self.read_to_the_end, self.all_answered = asyncio.Event(), asyncio.Event()
        self._port = 0

    @asynccontextmanager
    async def serving(self):
        """Serve; yields the endpoint."""
        app = web.Application()
        app.router.add_post("/v1.0/gateway/connections/open", self._open)
        app.router.add_get("/connect", self._connect)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._port = runner.addresses[0][1]
        try:
            yield f"http://127.0.0.1:{self._port}"
        finally:
            await runner.cleanup()

    async def _open(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"endpoint": f"ws://127.0.0.1:{self._port}/connect", "ticket": "t"}
        )

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(request)
        reading = asyncio.create_task(self._read(socket))
        self.connected.set()
        await self.started.wait()
        for number in range(MESSAGES):
            await socket.send_str(_message(number))
        await socket.send_str(_frame("SYSTEM", "ping", "ping", '{"opaque":"1"}'))
        await reading
        return socket

    async def _read(self, socket: web.WebSocketResponse) -> None:
        async for received in socket:
            if received.type is not WSMsgType.TEXT:
                continue
            answer = json.loads(received.data)
            push_id = answer["headers"]["messageId"]
            if push_id == "ping":
                self.read_to_the_end.set()
                continue
            self.answers[answer["code"]] += 1
            self.acked.add(push_id)
            if len(self.acked) == MESSAGES:
                self.all_answered.set()


def _frame(kind: str, topic: str, push_id: str, data: str) -> str:
    now_ms = int(time.time() * 1000)
    return payloads.frame(
        kind=kind, topic=topic, push_id=push_id, now_ms=now_ms, data=data, connection_id=None
    )


def _message(number: int) -> str:
    now_ms = int(time.time() * 1000)
    person = f"person{number % PEOPLE}"
    payload = {
        "msgId": f"msg{number}",
        "conversationId": f"cid{person}",
        "conversationType": "1",
        "senderStaffId": person,
        "senderId": person,
        "senderNick": person,
        "robotCode": "ding1",
        "msgtype": "text",
        "text": {"content": f"question {number} " + "and so on " * 10},
        "createAt": now_ms,
        "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=s",
        "sessionWebhookExpiredTime": now_ms + 5_400_000,
    }
    return _frame("CALLBACK", payloads.BOT_TOPIC, f"push{number}", json.dumps(payload))


@pytest.fixture
async def hanging_broker():
    """A Redis that takes connections and never says a word."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def _largest_growth(process: psutil.Process, until: asyncio.Event) -> int:
    """Return by how many bytes it was ever larger than it is now."""
    first = largest = process.memory_info().rss
    while not until.is_set():
        largest = max(largest, process.memory_info().rss)
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), 0.05)
    return largest - first


@pytest.mark.timeout(400)
async def test_a_hundred_thousand_messages_while_the_broker_hangs(tmp_path, hanging_broker):
    flood = Flood()
    async with flood.serving() as endpoint:
        listener = Process(
            f"{sys.executable} -m listener",
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DINGTALK_CLIENT_ID": "ding1",
                "DINGTALK_CLIENT_SECRET": "s3cret",
                "DINGTALK_ALLOWED_USERS": "*",
                "DINGTALK_OPENAPI_ENDPOINT": endpoint,
                "BROKER_URL": hanging_broker,
                "DATA_DIR": str(tmp_path / "data"),
                "LOG_LEVEL": "ERROR",
            },
            folder=tmp_path,
            log=tmp_path / "log",
        )
        try:
            async with asyncio.timeout(30):
                await flood.connected.wait()
            process = psutil.Process(listener.group)
            measuring = asyncio.create_task(_largest_growth(process, flood.all_answered))
            flood.started.set()
            async with asyncio.timeout(300):
                await flood.read_to_the_end.wait()
                await flood.all_answered.wait()
            growth = await measuring
        finally:
            listener.kill()

    assert flood.answers == {200: MESSAGES}, "all are on the disk, so all are acknowledged"
    assert listener.log == "", "nothing was refused"
    assert growth < MOST_GROWTH, f"it grew by {growth / MIB:.0f} MiB"
