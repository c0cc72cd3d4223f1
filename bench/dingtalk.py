"""A DingTalk that only measures; run as a process of its own by ``bench/load.py``.

The simulator of ``dingwire`` keeps a journal of everything, which would be what is measured here.
This one lets Stream clients register, pushes frames that were made before the first is pushed, and
notes when each was pushed, acknowledged and replied to. Frames look as the simulator's do. Every
bot is known by its client id, and the last socket it opened is the one that is pushed to.

    POST /load      {"bot", "count", "conversations", "per_s", "text", "webhook", "wants_replies",
                     "limit_s"}; answers when all is over, with seconds of this process's clock
    POST /hold      {"hold": true}: leave registrations unanswered until {"hold": false}
    GET  /state     {"registered": {bot: times}, "held": how many wait, "connected": [bots]}
"""

import asyncio
import itertools
import json
import re
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from dingwire.simulator.faults import Faults
from dingwire.simulator.payloads import BOT_TOPIC, frame, message_data, new_push_id
from dingwire.simulator.world import Conversation, Person

__all__ = ["NUMBERED"]

# Every message has its number in the text, and a reply is known by the first one in it.
NUMBERED = "n{number}x"
_NUMBER = re.compile(rb"n(\d+)x")
_OK = {"errcode": 0, "errmsg": "ok"}


@dataclass
class _Load:
    """One load on its way; times are of ``time.perf_counter``, 0 for what has not happened."""

    first: int
    frames: list[str]
    wants_replies: bool
    pushed: list[float] = field(init=False)
    acked: list[float] = field(init=False)
    replied: list[float] = field(init=False)
    replies: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        count = len(self.frames)
        self.pushed, self.acked, self.replied = ([0.0] * count for _ in range(3))
        self.waits_for = count * (2 if self.wants_replies else 1)

    def note(self, times: list[float], number: int) -> None:
        place = number - self.first
        if 0 <= place < len(times) and not times[place]:
            times[place] = time.perf_counter()
            self.waits_for -= times is not self.replied or self.wants_replies
            if not self.waits_for:
                self.over.set()


class DingTalk:
    """The whole of it; one load at a time."""

    def __init__(self) -> None:
        self.registered: Counter[str] = Counter()
        self.tickets: dict[str, str] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.may_register = asyncio.Event()
        self.may_register.set()
        self.held = 0
        self.numbers = itertools.count()
        self.pushes: dict[str, int] = {}
        self.load: _Load | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/v1.0/gateway/connections/open", self._register),
                web.get("/connect", self._connect),
                web.post("/robot/sendBySession", self._reply),
                web.post("/load", self._take_load),
                web.post("/hold", self._hold),
                web.get("/state", self._state),
            ]
        )
        return app

    async def _register(self, request: web.Request) -> web.Response:
        bot = (await request.json())["clientId"]
        self.held += 1
        await self.may_register.wait()
        self.held -= 1
        self.registered[bot] += 1
        ticket = uuid.uuid4().hex
        self.tickets[ticket] = bot
        return web.json_response({"endpoint": f"ws://{request.host}/connect", "ticket": ticket})

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        bot = self.tickets.pop(request.query["ticket"])
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self.sockets[bot] = socket
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._acked(json.loads(message.data))
        if self.sockets.get(bot) is socket:
            del self.sockets[bot]
        return socket

    def _acked(self, ack: dict[str, Any]) -> None:
        number = self.pushes.pop(ack["headers"]["messageId"], None)
        if self.load is None or number is None:
            return
        if ack["code"] != 200:
            self.load.refused += 1
        self.load.note(self.load.acked, number)

    async def _reply(self, request: web.Request) -> web.Response:
        found = _NUMBER.search(await request.read())
        if self.load is not None and found is not None:
            number = int(found[1])
            self.load.replies[number] += 1
            self.load.note(self.load.replied, number)
        return web.json_response(_OK)

    async def _hold(self, request: web.Request) -> web.Response:
        if (await request.json())["hold"]:
            self.may_register.clear()
        else:
            self.may_register.set()
        return web.json_response({})

    async def _state(self, _: web.Request) -> web.Response:
        state = {"registered": self.registered, "held": self.held, "connected": [*self.sockets]}
        return web.json_response(state)

    async def _take_load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        socket, first = self.sockets[asked["bot"]], next(self.numbers)
        numbers = [first, *itertools.islice(self.numbers, asked["count"] - 1)]
        hook = asked["webhook"] or f"http://{request.host}/robot/sendBySession"
        frames = [self._frame(number, hook, asked) for number in numbers]
        load = self.load = _Load(first, frames, asked["wants_replies"])
        try:
            async with asyncio.timeout(asked["limit_s"]):
                await _push(load, socket, asked["per_s"])
                await load.over.wait()
        except TimeoutError:
            pass
        self.load = None
        self.pushes.clear()
        return web.json_response(
            {
                "pushed": load.pushed,
                "acked": load.acked,
                "replied": load.replied,
                "doubled": sum(times - 1 for times in load.replies.values()),
                "refused": load.refused,
            }
        )

    def _frame(self, number: int, hook: str, asked: dict[str, Any]) -> str:
        who = f"{asked['name']}-{number % asked['conversations']}"
        now_ms, push_id = time.time_ns() // 1_000_000, new_push_id(0)
        self.pushes[push_id] = number
        data = message_data(
            text=f"{NUMBERED.format(number=number)} {asked['text']}",
            kind="text",
            message_id=f"msg{uuid.uuid4().hex}",
            sender=Person(staff_id=who, nick=who),
            conversation=Conversation(conversation_id=f"cid{who}", name=who, is_group=False),
            created_at_ms=now_ms,
            session_webhook=f"{hook}?session={who}",
            expires_at_ms=now_ms + 5_400_000,
            faults=_FAULTS,
        )
        data["robotCode"] = asked["bot"]
        return frame(
            kind="CALLBACK",
            topic=BOT_TOPIC,
            push_id=push_id,
            now_ms=now_ms,
            data=json.dumps(data, ensure_ascii=False),
            connection_id="bench",
        )


_FAULTS = Faults()


async def _push(load: _Load, socket: web.WebSocketResponse, per_s: float | None) -> None:
    started = time.perf_counter()
    for place, text in enumerate(load.frames):
        if per_s is not None:
            await asyncio.sleep(max(0, started + place / per_s - time.perf_counter()))
        load.pushed[place] = time.perf_counter()
        await socket.send_str(text)


def main() -> None:
    """Serve on the port that is the only argument."""
    web.run_app(
        _made(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: None
    )


async def _made() -> web.Application:
    return DingTalk().app()


if __name__ == "__main__":
    main()
