"""A webhook behind TLS that counts handshakes; run as a process by ``bench/tls_webhook.py``.

POST /robot/sendBySession   DingTalk's yes
GET  /seen                  {"handshakes", "posts"}
"""

import ssl
import sys
from typing import Any

from aiohttp import web

__all__ = ["Counting"]


class Counting:
    """Counts."""

    def __init__(self) -> None:
        self.handshakes = self.posts = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.post("/robot/sendBySession", self._post), web.get("/seen", self._seen)])
        return app

    def shake(self, *_: Any) -> None:
        """Count one; called by OpenSSL for each, resumed sessions included."""
        self.handshakes += 1

    async def _post(self, request: web.Request) -> web.Response:
        await request.read()
        self.posts += 1
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    async def _seen(self, _: web.Request) -> web.Response:
        return web.json_response({"handshakes": self.handshakes, "posts": self.posts})


async def _made(counting: Counting) -> web.Application:
    return counting.app()


def main() -> None:
    """Serve on a port with a certificate and its key: the three arguments."""
    counting = Counting()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    context.sni_callback = counting.shake
    web.run_app(
        _made(counting), host="127.0.0.1", port=int(sys.argv[1]), ssl_context=context,
        access_log=None, print=lambda *_: None,
        keepalive_timeout=60,  # as DingTalk's
    )  # fmt: skip


if __name__ == "__main__":
    main()
