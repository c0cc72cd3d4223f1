"""Keeps pages of other sites out, which a browser on this machine may have open.

``server`` mounts it before all faces; the control API and the page ask for more.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

__all__ = ["refuse_pages", "refuse_strangers"]

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})


def refuse_strangers(request: web.Request) -> None:
    """Keep other sites' pages out: the control API obeys only local names of this machine."""
    name = request.host.rsplit(":", 1)[0]
    if name not in LOCAL_NAMES:
        raise web.HTTPForbidden(text="the simulator answers only to 127.0.0.1 and localhost")


@web.middleware
async def refuse_pages(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Keep other sites' pages from playing a bot: they name their origin, and no bot has one."""
    origin = request.headers.get("Origin")
    if origin is not None and _host_of(origin) not in LOCAL_NAMES:
        raise web.HTTPForbidden(text="the simulator answers to no page of another site")
    return await handler(request)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
