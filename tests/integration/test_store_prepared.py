"""Statements that come often are prepared, where that is safe: not by way of a pooler."""

import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

from sqlalchemy import event

from tests.integration.store_place import envelope
from worker.store import Claimed, open_store
from worker.store.sql import SqlStore

# What PostgreSQL begins the message with that tells a client the id of its process.
_KEY_DATA = b"K\0\0\0\x0c"


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Stand between client and server, and make up process ids, as PgBouncer does."""
    at = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((at.hostname, at.port)) as server:
                thread = threading.Thread(target=self.upward, args=(server,))
                thread.start()
                is_told = False
                while data := server.recv(65536):
                    before, key, after = data.partition(_KEY_DATA)
                    if key and not is_told:
                        data, is_told = before + key + b"\x7f\x01\x02\x03" + after[4:], True
                    self.request.sendall(data)
                thread.join()

        def upward(self, server: socket.socket) -> None:
            while data := self.request.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield url.replace(f":{at.port}/", f":{proxy.server_address[1]}/")
        proxy.shutdown()
        thread.join()


def prepared(url: str) -> set[str]:
    """Let messages through the store; return the names of what it has prepared on the way."""
    store = open_store(url)
    assert isinstance(store, SqlStore)
    store.prepare()
    store.close()  # so that it connects anew
    with tempfile.TemporaryFile("w+") as trace, closing(store):
        event.listen(
            store._database.engine, "connect", lambda it, _: it.pgconn.trace(trace.fileno())
        )
        for number in range(10):
            id_ = f"prepared {url} {number}"
            claimed = store.claim(id_, owner="me", lease_s=60, envelope=envelope(number))
            assert isinstance(claimed, Claimed)
            store.finish(claimed.lease, "SUCCESS")
        store.close()  # libpq writes it all
        trace.seek(0)
        return {line.split('"')[1] for line in trace if "\tParse\t" in line}


def test_what_comes_often_is_prepared(postgresql_url):
    assert len(prepared(postgresql_url)) > 1


def test_nothing_is_prepared_by_way_of_a_pooler(postgresql_url):
    with pooled(postgresql_url) as url:
        assert prepared(url) == {""}
