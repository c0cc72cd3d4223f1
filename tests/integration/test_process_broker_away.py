"""A worker outlives its broker, with work in hand."""

import contextlib
from pathlib import Path

import pytest

from tests import servers
from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for


class _Broker:
    """A broker that can be taken away and brought back with its data."""

    def __init__(self, kind: str, folder: Path) -> None:
        folder.mkdir()
        self._server = {"redis": servers.redis, "rabbitmq": servers.rabbitmq}[kind]
        self._folder, self._port = folder, servers.free_port()
        self._running = contextlib.ExitStack()
        self.url = self.start()

    def start(self) -> str:
        return self._running.enter_context(self._server(self._folder, self._port))

    def close(self) -> None:
        self._running.close()


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def _restarted_with_work_in_hand(here: WorkerPlace, kind: str, options: str) -> None:
    broker = _Broker(kind, here.folder / "broker")
    with contextlib.closing(broker):
        here.broker_url = broker.url
        here.listener()
        worker = here.worker(options, LEASE_S="15")
        here.simulator.say("hello")
        wait_for(lambda: len(here.runs) == 1, what="the agent to be run")

        broker.close()
        worker.until_logged("onnection to broker lost")
        broker.start()
        wait_for(lambda: worker.log.count("Connected to ") == 2, what="the reconnection")
        here.gate.touch()
        wait_for(lambda: len(here.simulator.accepted) == 1, what="the answer")
        here.simulator.say("still there?")
        wait_for(lambda: len(here.simulator.accepted) == 2, what="the next answer")

        assert worker.is_running
        assert [r.text for r in here.simulator.accepted] == [
            "answer to hello",
            "answer to still there?",
        ]
        assert len(here.runs) == 2


@pytest.mark.parametrize("options", ["", "-P prefork -c 2"])
def test_redis_restarts_while_an_agent_runs(here, options):
    """Celery's own close of the lost connection raised, and took worker and agent along."""
    _restarted_with_work_in_hand(here, "redis", options)


def test_rabbitmq_restarts_while_an_agent_runs(here):
    _restarted_with_work_in_hand(here, "rabbitmq", "")
