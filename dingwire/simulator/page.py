"""The chat page, its live feed (server-sent events) and the files it shows.

``server`` mounts it; the page itself is chat.html, chat.css and the scripts beside this
module.
"""

import asyncio
import json
from importlib import resources
from typing import Any

from aiohttp import web

from dingwire.simulator.journal import as_json
from dingwire.simulator.strangers import refuse_strangers
from dingwire.simulator.world import World

__all__ = ["Page", "assets"]

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"} | {
    "json": "application/json"
}
SHOWN = frozenset(
    {"connection", "message", "reply", "proactive", "card", "click", "faults", "reset"}
)
PRIVATE = ("headers", "payload", "raw_data", "session_webhook", "webhooks", "codes", "guids", "ack")
POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
PLAIN_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"}) | {
    *("audio/wav", "audio/x-wav", "audio/ogg", "audio/webm", "audio/mpeg", "audio/mp4"),
}  # shown or played by the page; anything else is a download
KEEP_ALIVE_S = 15.0


def assets() -> dict[str, str]:
    """The page's own files by their addresses: all in this folder that a browser reads."""
    names = sorted(each.name for each in resources.files("dingwire.simulator").iterdir())
    found = {f"/{name}": name for name in names if name.rpartition(".")[2] in TYPES}
    return found | {"/": "chat.html"}


class Page:
    """Serves a few files and one stream of events."""

    def __init__(self, world: World) -> None:
        self._journal = world.journal
        self._wire = world.wire
        self._files = world.files
        self._assets = assets()

    def routes(self) -> list[web.RouteDef]:
        """The routes of the page."""
        files = [web.get(path, self._file) for path in self._assets]
        feed = web.get("/control/events", self._events)
        return [*files, feed, web.get("/control/files", self._sent_file)]

    async def _file(self, request: web.Request) -> web.Response:
        refuse_strangers(request)
        name = self._assets[request.path]
        text = resources.files("dingwire.simulator").joinpath(name).read_text(encoding="utf-8")
        return web.Response(
            text=text,
            content_type=TYPES[name.rpartition(".")[2]],
            headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"},
        )

    async def _sent_file(self, request: web.Request) -> web.Response:
        """What a person sent along or a bot uploaded; pictures and sounds are no downloads."""
        refuse_strangers(request)
        query = request.query
        index = query.get("index", "0")
        file = self._files.media(query.get("media"))
        if file is None and index.isdigit():
            sent = self._files.sent.get(query.get("message", ""), [])[int(index) :]
            file = sent[0] if sent else None
        if file is None:
            raise web.HTTPNotFound(text="there is no such file")
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        if file.type_or_guess.partition(";")[0] not in PLAIN_TYPES:
            headers["Content-Disposition"] = "attachment"
        headers["Content-Type"] = file.type_or_guess
        return web.Response(body=file.content, headers=headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        refuse_strangers(request)
        queue: asyncio.Queue[str] = asyncio.Queue()

        def heard(kind: str, record: Any) -> None:
            if kind in SHOWN:
                queue.put_nowait(_event(kind, record))

        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        stops = [
            self._journal.listen(heard),
            self._wire.listen(lambda each: queue.put_nowait(_event("wire", each.shown()))),
        ]
        try:
            for kind, record in self._so_far():
                queue.put_nowait(_event(kind, record))
            for exchange in self._wire.exchanges:
                queue.put_nowait(_event("wire", exchange.shown()))
            queue.put_nowait("event: ready\ndata: {}\n\n")
            while True:
                # Half an emoji is written as JSON has it, or the feed would end with it.
                await response.write((await _next(queue)).encode(errors="backslashreplace"))
        except ConnectionError:
            return response
        finally:
            for stop in stops:
                stop()

    def _so_far(self) -> list[tuple[str, Any]]:
        """What a page that opens late has missed, in the order it happened."""
        said = [(each.created_at_ms, "message", each) for each in self._journal.messages.values()]
        came = [(each.at_ms, "reply", each) for each in self._journal.replies]
        sent = [(each.at_ms, "proactive", each) for each in self._journal.proactive]
        made = [(each.created_at_ms, "card", each) for each in self._journal.cards.values()]
        pressed = [(each.at_ms, "click", each) for each in self._journal.clicks]
        happened = sorted([*said, *came, *sent, *made, *pressed], key=lambda each: each[0])
        return [(kind, record) for _, kind, record in happened]


async def _next(queue: asyncio.Queue[str]) -> str:
    try:
        return await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
    except TimeoutError:
        return ": still here\n\n"


def _event(kind: str, record: Any) -> str:
    body = record if isinstance(record, dict) else as_json(record)
    for private in PRIVATE:
        body.pop(private, None)
    return f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"
