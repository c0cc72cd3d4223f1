"""A real HTTP server on 127.0.0.1 that answers as told and remembers what it was sent."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Told:
    """One answer. ``body`` is sent as JSON unless it is text or bytes.

    ``breaks_off`` ends the connection in the middle of it, ``stalls`` keeps it without another
    word, ``chunked`` tells no length.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    hangs_up: bool = False
    breaks_off: bool = False
    stalls: bool = False
    chunked: bool = False


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: Any
    method: str = "POST"
    raw: bytes = b""


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that left in the middle; some tests do."""


class LocalServer:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.default = Told()
        self.by_path: dict[str, list[Told]] = {}
        self.seen: list[Seen] = []
        self.connections = 0
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                server.connections += 1

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
                is_form = self.headers.get_content_type() == "multipart/form-data"
                body = raw if is_form else json.loads(raw) if raw else None
                server.seen.append(Seen(self.path, dict(self.headers), body, self.command, raw))
                self.answer(server.next_answer(self.path))

            do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815, names of the library

            def answer(self, told: Told) -> None:
                if told.hangs:
                    server.released.wait(30)
                if told.hangs or told.hangs_up:
                    self.close_connection = True
                    return
                content = self.content(told.body)
                self.send_response_only(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                if told.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
                else:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                is_cut = told.breaks_off or told.stalls
                self.wfile.write(content[: len(content) // 2] if is_cut else content)
                if told.stalls:
                    server.released.wait(30)
                self.close_connection |= is_cut

            def content(self, body: Any) -> bytes:
                if isinstance(body, bytes):
                    return body
                text = body if isinstance(body, str) else json.dumps(body)
                return text.encode("utf-8", "surrogatepass")

            def log_message(self, *args: object) -> None:
                pass

        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answers(self, body: Any, status: int = 200, **more: Any) -> None:
        """Answer every request like this."""
        self.default = Told(status, body, **more)

    def answers_at(self, path: str, *told: Told) -> None:
        """Answer ``path`` with each in turn, the last one for ever."""
        self.by_path[path] = list(told)

    def next_answer(self, path: str) -> Told:
        queue = self.by_path.get(path)
        if not queue:
            return self.default
        return queue.pop(0) if len(queue) > 1 else queue[0]

    def posts_to(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[LocalServer]:
    server = LocalServer(tls)
    thread = threading.Thread(target=server._http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server._http.shutdown()
        server._http.server_close()
        thread.join(60)
