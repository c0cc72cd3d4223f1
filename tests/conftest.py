"""Fixtures shared by all tests: real servers, started once a run when a test first asks."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from contract.broker import Broker
from contract.variables import AGENT_VARIABLES
from tests import servers
from tests.listening import empty

# A shell ignores Ctrl-C for what it runs in the background, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever runs the tests may have a model of their own.
for name in AGENT_VARIABLES:
    os.environ.pop(name, None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run: it means that something was not installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("")
        for report in reporter.stats["skipped"]:
            reporter.write_line(f"skipped, which CI does not accept: {report.nodeid}", red=True)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, or the last file would be run with nothing beside it."""
    items.sort(key=lambda item: _place_in_line(item.nodeid))


def _place_in_line(test: str) -> int:
    longest = ("acceptance/", "/test_process", "/test_rolling", "/test_listener", "integration/")
    return next((n for n, part in enumerate(longest) if part in test), len(longest))


class _Server(Protocol):
    def __call__(self, folder: Path) -> AbstractContextManager[str]: ...


def _serve(server: _Server, folder: Path) -> Iterator[str]:
    try:
        with server(folder) as url:
            yield url
    except servers.MissingServerError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run every test: {missing}")
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis for the whole run; tests use databases or keys of their own."""
    yield from _serve(servers.redis, tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real RabbitMQ for the whole run; tests use queues of their own or purge."""
    yield from _serve(servers.rabbitmq, tmp_path_factory.mktemp("rabbitmq"))


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL for the whole run; tests use schemas of their own."""
    yield from _serve(servers.postgresql, tmp_path_factory.mktemp("postgresql"))


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def each_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    """An empty broker of each kind."""
    url = "embedded://"
    if request.param != "embedded":
        url = request.getfixturevalue(f"{request.param}_url")
    return empty(Broker.from_url(url, tmp_path))
