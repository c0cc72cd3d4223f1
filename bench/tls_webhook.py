"""How often do workers shake hands with the webhooks' server, which is a round trip or two each?

Two workers post to a server with a certificate of its own: first messages that come one by one,
then a burst, in which the posts of one worker need connections beside each other.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from bench.load import Load
from bench.place import Place
from bench.rows import Goal, Row
from tests.processes import ROOT
from tests.servers import free_port, wait_for

__all__ = ["run"]

BOT = "tls"
WORKERS = 2
MESSAGES, PER_S = 200, 50


def run(place: Place) -> Iterator[Row]:
    """Measure; each round begins with new workers, hence without connections."""
    one_by_one, burst = list[float](), list[float]()
    with place.load() as load, _server(place.folder()) as server:
        environment = place.environment(
            load, place.broker("redis"), bot=BOT, DINGTALK_WEBHOOK_HOSTS=server.host,
            REQUESTS_CA_BUNDLE=str(server.certificate),
        )  # fmt: skip
        with place.listener(environment):
            load.until_connected(BOT)
            for _ in range(min(place.rounds, 3)):
                with place.worker(environment), place.worker(environment):
                    one_by_one.append(server.handshakes(load, per_s=PER_S))
                    burst.append(server.handshakes(load, per_s=None))
    what = f"{MESSAGES} replies to a webhook with TLS, {WORKERS} workers"
    goal = Goal("<=", WORKERS)
    yield Row.of(f"{what}, {PER_S} messages/s", "redis", "handshakes", one_by_one, goal=goal)
    yield Row.of(f"{what}, then as a burst", "redis", "handshakes", burst)


class _Server:
    def __init__(self, port: int, certificate: Path) -> None:
        self.host, self.certificate = f"localhost:{port}", certificate

    def seen(self) -> Mapping[str, int]:
        address = f"https://{self.host}/seen"
        found: Mapping[str, int]
        found = requests.get(address, verify=str(self.certificate), timeout=10).json()
        return found

    def is_up(self) -> bool:
        try:
            return bool(self.seen())
        except requests.ConnectionError:
            return False

    def handshakes(self, load: Load, *, per_s: float | None) -> int:
        """Return how many there were for a load, without our own."""
        before = self.seen()
        load.give(
            BOT, MESSAGES, conversations=MESSAGES, per_s=per_s, wants_replies=False,
            webhook=f"https://{self.host}/robot/sendBySession",
        )  # fmt: skip
        asked, now = 0, before

        def has_all() -> bool:
            nonlocal asked, now
            asked, now = asked + 1, self.seen()
            return now["posts"] - before["posts"] >= MESSAGES

        wait_for(has_all, what="all replies")
        return now["handshakes"] - before["handshakes"] - asked


@contextmanager
def _server(folder: Path) -> Iterator[_Server]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    command = [sys.executable, "-m", "bench.tls_dingtalk", str(port), str(certificate), str(key)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        server = _Server(port, certificate)
        wait_for(server.is_up, what="the webhooks' server")
        yield server
    finally:
        process.terminate()
        process.wait(10)
