"""Fixtures of the acceptance tests: the Procfile, running on each broker."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import psycopg
import pytest
import redis

from contract.broker import Broker
from dingwire.simulator import SimulatorThread
from tests.acceptance.deployment import CLIENT_SECRET, MARKER, Deployment
from tests.integration.store_place import wait_for_postgresql


def redis_database(redis_url: str, number: int) -> str:
    """Return the URL of a database of the shared server, emptied."""
    url = f"{redis_url.rpartition('/')[0]}/{number}"
    client = redis.Redis.from_url(url)
    client.flushdb()
    client.close()
    return url


def _delete_queues(broker_url: str) -> None:
    with kombu.Connection(broker_url) as connection:
        for queue in Broker.from_url(broker_url, Path()).queues():
            queue(connection.default_channel).delete()


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread() as running:
        yield running


@pytest.fixture(scope="module", params=["redis", "rabbitmq", "embedded"])
def all_processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Listener, two workers and Flower; started once, and again where a test ended one."""
    with deployed(request, tmp_path_factory.mktemp(request.param)) as deployment:
        yield deployment


@contextmanager
def deployed(request: pytest.FixtureRequest, folder: Path, **options: Any) -> Iterator[Deployment]:
    """A deployment on the broker that is the fixture's parameter; nothing is started yet."""
    with SimulatorThread() as simulator:
        if request.param == "redis":
            url = redis_database(request.getfixturevalue("redis_url"), 11)
            deployment = Deployment(
                simulator, folder, broker_url=url, store_url=url, REDIS_URL=url, **options
            )
        elif request.param == "rabbitmq":
            url = request.getfixturevalue("rabbitmq_url")
            _delete_queues(url)
            store_url = _schema(request.getfixturevalue("postgresql_url"))
            deployment = Deployment(
                simulator,
                folder,
                broker_url=url,
                store_url=store_url,
                CLOUDAMQP_URL=url,
                DATABASE_URL=store_url,
                **options,
            )
        else:
            deployment = Deployment(simulator, folder, **options)
        try:
            deployment.release()
            yield deployment
        finally:
            deployment.stop()
            if request.param == "rabbitmq":
                _delete_queues(url)


def _schema(postgresql_url: str) -> str:
    wait_for_postgresql(postgresql_url)
    name = f"test{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{postgresql_url}?options=-csearch_path%3D{name}"


@pytest.fixture
def deployment(all_processes: Deployment) -> Iterator[Deployment]:
    """All processes, running; whatever the test did, no log tells what is private."""
    all_processes.start()
    yield all_processes
    logs = all_processes.logs()
    for private in (MARKER, CLIENT_SECRET, "sendBySession"):
        assert private not in logs
