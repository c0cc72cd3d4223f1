"""Notes every HTTP call of a bot and its answer in the ``wire``.

``server`` mounts it before all faces; what the page and the control API ask for is no traffic.
"""

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from dingwire.simulator.wire import Exchange, readable
from dingwire.simulator.world import World

__all__ = ["wiretap"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN, CONNECT, SESSION = "/v1.0/gateway/connections/open", "/connect", "/robot/sendBySession"
KINDS = {OPEN: "registration", SESSION: "webhook"}
READABLE = ("application/json", "application/xml", "text/")


def wiretap(world: World, own: frozenset[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that notes calls.

    Args:
        world: Where they are noted.
        own: Paths of the chat page.
    """

    @web.middleware
    async def tap(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/control/") or request.path in own:
            return await handler(request)
        if request.path == CONNECT:
            return await _upgraded(world, request, handler)
        started, exchange = time.monotonic(), await _noted(world, request)
        try:
            response = await handler(request)
        except web.HTTPException as refused:
            _answered(exchange, request, refused)
            raise
        else:
            _answered(exchange, request, response)
            return response
        finally:
            exchange.took_ms = round((time.monotonic() - started) * 1000)
            world.wire.changed(exchange)

    return tap


async def _upgraded(world: World, request: web.Request, handler: Handler) -> web.StreamResponse:
    """A connection notes itself when it is there, so only a refusal is left to note here."""
    response = await handler(request)
    if not isinstance(response, web.WebSocketResponse):
        title = f"{request.method} {request.path_qs}"
        world.wire.note(world.now_ms(), "in", "registration", title, status=response.status)
    return response


async def _noted(world: World, request: web.Request) -> Exchange:
    is_form = request.content_type.startswith("multipart/")
    size = request.content_length or 0
    kind = request.content_type
    body = f"{kind}, {size} bytes" if is_form else readable(await request.read(), kind)
    return world.wire.note(
        world.now_ms(),
        "in",
        KINDS.get(request.path, "api"),
        f"{request.method} {request.path_qs}",
        request=body,
    )


def _answered(exchange: Exchange, request: web.Request, response: web.StreamResponse) -> None:
    is_cut = request.transport is None or request.transport.is_closing()
    exchange.status = 0 if is_cut else response.status
    body = getattr(response, "body", None)
    if is_cut or not isinstance(body, bytes):
        return
    if response.content_type.startswith(READABLE):
        exchange.response = readable(body, response.content_type)
    else:
        exchange.response = f"{response.content_type}, {len(body)} bytes"
