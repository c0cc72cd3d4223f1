"""Every line of the Procfile, started and stopped as a process manager does it.

Settings come from variables alone, under the names that add-ons give them. Started by a shell, in a
process group of their own; SIGTERM goes to the whole group, and 30 s later they would be killed.
"""

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests

from contract.broker import Broker
from dingwire.simulator import SimulatorThread
from tests.acceptance.deployment import CLIENT_ID, CLIENT_SECRET, LOGIN, MARKER
from tests.integration.store_place import wait_for_postgresql
from tests.integration.worker_place import place
from tests.listening import empty
from tests.processes import KILLED_AFTER_S, ROOT, Process, procfile
from tests.rabbitmqctl import rabbitmqctl
from tests.servers import PATIENCE_S, free_port, redis_with_tls, wait_for

PASSWORD = "hush-redis-77"
PEOPLE = 40
# What docs/deploy.md says that a listener, two workers and Flower need at most.
CLOUDAMQP_LIMIT, REDIS_LIMIT = 20, 60


class Platform:
    """Runs the lines of the Procfile with one set of variables."""

    def __init__(self, folder: Path, simulator: SimulatorThread, **addons: str) -> None:
        self._folder, self._lines = folder, procfile()
        self._started: dict[str, Process] = {}
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),  # a platform starts them in the folder of the project
            "DINGTALK_CLIENT_ID": CLIENT_ID,
            "DINGTALK_CLIENT_SECRET": CLIENT_SECRET,
            "DINGTALK_ALLOWED_USERS": "*",
            "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint,
            "DINGTALK_WEBHOOK_HOSTS": simulator.webhook_host,
            "DINGTALK_MEDIA_HOSTS": simulator.webhook_host,
            "FLOWER_BASIC_AUTH": ":".join(LOGIN),
            **addons,
        }

    def start(self, kind: str, options: str = "", **variables: str) -> Process:
        process = Process(
            f"{self._lines[kind]} {options}".strip(),
            environment=self._environment | variables,
            folder=self._folder,
            log=self._folder / f"{kind}-{len(self._started)}.log",
        )
        self._started[f"{kind}-{len(self._started)}"] = process
        return process

    @property
    def kinds(self) -> set[str]:
        return set(self._lines)

    @property
    def running(self) -> dict[str, Process]:
        return {name: p for name, p in self._started.items() if p.is_running}

    def logs(self) -> str:
        return "\n".join(process.log for process in self._started.values())

    def kill(self) -> None:
        for process in self._started.values():
            process.kill()


@dataclass(frozen=True)
class Addons:
    """What a platform gives: variables, and a way to count who is connected."""

    variables: dict[str, str]
    connections: Callable[[], int]
    limit: int
    has_queue_page: bool  # Flower's, which asks RabbitMQ's management plugin
    is_healthy: Callable[[], bool] = lambda: True


@contextmanager
def _redis_with_tls(request: pytest.FixtureRequest, folder: Path) -> Iterator[Addons]:
    """Broker and store as Heroku gives them: the certificate is signed by nobody known."""
    with redis_with_tls(folder, PASSWORD) as url:
        client: Any = redis.Redis.from_url(f"{url}?ssl_cert_reqs=none")
        with contextlib.closing(client):
            yield Addons({"REDIS_URL": url}, lambda: len(client.client_list()), REDIS_LIMIT, True)


@contextmanager
def _rabbitmq_and_postgresql(request: pytest.FixtureRequest, folder: Path) -> Iterator[Addons]:
    """As CloudAMQP and Heroku give them."""
    broker: str = request.getfixturevalue("rabbitmq_url")
    postgresql: str = request.getfixturevalue("postgresql_url")
    empty(Broker.from_url(broker, folder))
    wait_for_postgresql(postgresql)
    schema = f"test{uuid.uuid4().hex}"
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    store = f"{postgresql.replace('postgresql://', 'postgres://')}?options=-csearch_path%3D{schema}"

    def heartbeats() -> list[str]:
        return rabbitmqctl(broker, "list_connections", "timeout", "--no-table-headers")

    yield Addons(
        {"CLOUDAMQP_URL": broker, "DATABASE_URL": store},
        lambda: len(heartbeats()),
        CLOUDAMQP_LIMIT,
        False,
        # The listener's one, and three of each worker: that of its lane is the third.
        lambda: heartbeats().count("30") == 7,
    )


@pytest.mark.parametrize("addons", [_redis_with_tls, _rabbitmq_and_postgresql])
def test_every_line_works_and_stops_cleanly(addons, request, tmp_path):
    with SimulatorThread() as simulator, addons(request, tmp_path) as given:
        platform = Platform(tmp_path, simulator, **given.variables)
        try:
            _see_it_work(platform, simulator, given)
        finally:
            platform.kill()


def _see_it_work(platform: Platform, simulator: SimulatorThread, addons: Addons) -> None:
    release = platform.start("release")
    assert release.wait(PATIENCE_S) == 0, release.log
    port = free_port()
    platform.start("listener")
    platform.start("worker").until_logged(" ready.")
    platform.start("worker", "-n two@%h").until_logged(" ready.")
    web = platform.start("web", PORT=str(port))
    assert platform.kinds == {"release", "listener", "worker", "web"}

    simulator.until_connected()
    said = [simulator.say(f"{MARKER} hello", f"p{n}") for n in range(PEOPLE)]
    wait_for(lambda: len(simulator.accepted) >= PEOPLE, what="the answers")
    assert {reply.text for reply in simulator.accepted} == {f"echo: {MARKER} hello"}
    assert {r.conversation_id for r in simulator.accepted} == {m.conversation_id for m in said}

    def page(path: str, **options: Any) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=60, **options)

    web.until_logged("Connected to ")
    assert page("/workers").status_code == 401
    assert page("/workers", auth=LOGIN).status_code == 200
    wait_for(
        lambda: len(page("/api/workers", auth=LOGIN, params={"refresh": "1"}).json()) == 2,
        what="Flower to ask both workers",
    )
    if addons.has_queue_page:
        assert "messages" in page("/broker", auth=LOGIN).text
    assert addons.connections() <= addons.limit
    assert addons.is_healthy()

    for name, process in platform.running.items():
        code, _ = process.terminate()
        assert code == 0, f"{name}: {process.log[-2000:]}"
        assert list(process.members()) == [], name
    assert platform.running == {}
    logs = platform.logs()
    for private in (MARKER, CLIENT_SECRET, LOGIN[1], PASSWORD, "guest:guest", "Traceback"):
        assert private not in logs


@pytest.mark.parametrize("options", ["", "-P prefork -c 2"], ids=["threads", "prefork"])
def test_sigterm_is_no_other_signal_where_celery_is_told_so(options, tmp_path, redis_url):
    """Celery reads REMAP_SIGTERM=SIGQUIT, which cuts agents off; many a Heroku app has it set."""
    with place(tmp_path, redis_url) as here:
        here.listener()
        worker = here.worker(options, REMAP_SIGTERM="SIGQUIT")
        message = here.simulator.say("hello")
        wait_for(lambda: here.runs, what="the agent to be run")

        worker.signal(signal.SIGTERM)
        worker.until_logged("Warm shutdown")
        here.gate.touch()

        assert worker.wait(KILLED_AFTER_S) == 0
        assert here.simulator.until_answered(message) == "answer to hello"
        assert len(here.runs) == 1
        assert here.unfinished() == 0
