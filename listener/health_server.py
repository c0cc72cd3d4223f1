"""``/healthz``, ``/livez`` and ``/metrics`` on ``HEALTH_PORT``; started by ``listener/service.py``.

In threads of its own, so that it answers, and with a 503, when the event loop does not.
"""

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client.exposition import choose_encoder

from listener.health import HealthPortError, is_hanging, problems_of_all, summary
from listener.metrics import registry_of
from listener.vitals import Vitals

__all__ = ["HealthServer"]

logger = logging.getLogger(__name__)

REQUEST_LIMIT_S = 3.0
LOOK_EVERY_S = 0.2


class HealthServer:
    """Answers until closed."""

    def __init__(self, port: int, bots: Sequence[Vitals]) -> None:
        """Open the port, on all interfaces.

        Raises:
            HealthPortError: It is taken, or not ours to take.
        """
        try:
            self._server = _Server(port, bots)
        except OSError as error:
            raise HealthPortError(port, error.strerror or str(error)) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_EVERY_S,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close the port; takes a moment."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True  # a restart must not wait for connections of the last one
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, port: int, bots: Sequence[Vitals]) -> None:
        self.bots, self.registry = bots, registry_of(bots)
        # A probe may come by either; where there is no IPv6, by the other.
        is_dual = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if is_dual else socket.AF_INET
        super().__init__(("::" if is_dual else "0.0.0.0", port), _Handler)  # noqa: S104, asked for

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""
        logger.debug("a request to the health port failed")


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_LIMIT_S
    server: _Server
    server_version, sys_version = "celery-dingtalk", ""

    def do_GET(self) -> None:
        """Answer."""
        match self.path.partition("?")[0]:
            case "/healthz":
                found = problems_of_all(self.server.bots)
                self._answer_json(not found, summary(self.server.bots, found))
            case "/livez":
                is_alive = not is_hanging(self.server.bots[0])  # they share it
                self._answer_json(is_alive, {"status": "ok" if is_alive else "unavailable"})
            case "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, kind, encode(self.server.registry))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/healthz, /livez or /metrics\n")

    do_HEAD = do_GET  # noqa: N815, the base's name

    def _answer_json(self, is_well: bool, body: dict[str, Any]) -> None:
        status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, "application/json", json.dumps(body).encode() + b"\n")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of a probe."""
