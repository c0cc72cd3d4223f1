"""Connections to Redis that end in unfriendly ways; a worker must never wait on one in silence."""

import socket
import threading
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

import pytest
import redis

from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for

MESSAGES = 10


class _Relay:
    """Passes bytes on; what was connected before ``go_silent`` stays open and carries nothing."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._age = 0
        self._open = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def go_silent(self) -> None:
        self._age += 1

    def close(self) -> None:
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        age = self._age
        with suppress(OSError):
            while data := source.recv(65_536):
                if age == self._age:
                    target.sendall(data)
            if age == self._age:
                target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        somewhere.gate.touch()
        somewhere.listener()
        yield somewhere


def _answered(here: WorkerPlace, count: int) -> bool:
    return len({reply.text for reply in here.simulator.accepted}) >= count


def test_a_connection_that_went_silent_is_given_up(here):
    """Without time limits the worker's event loop waited for ever, and nothing was logged."""
    address = urlsplit(here.broker_url)
    relay = _Relay(address.port or 0)
    here.broker_url = f"redis://127.0.0.1:{relay.port}{address.path}"
    worker = here.worker()
    here.simulator.say("before")
    wait_for(lambda: _answered(here, 1), what="the first answer")

    relay.go_silent()
    for number in range(MESSAGES):
        here.simulator.say(f"message {number}", person=f"person {number}")
    wait_for(lambda: _answered(here, 1 + MESSAGES), what="the answers after it")

    assert worker.is_running
    assert len(here.simulator.accepted) == 1 + MESSAGES
    relay.close()


@pytest.mark.parametrize("options", ["", "-P prefork -c 2"])
def test_connections_that_redis_cuts_again_and_again_are_made_again(here, options):
    worker = here.worker(options)
    with redis.Redis.from_url(here.broker_url) as client:
        for number in range(5):
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
            here.simulator.say(f"message {number}")
            wait_for(partial(_answered, here, number + 1), what="an answer")

    assert worker.is_running
    assert len(here.simulator.accepted) == 5
