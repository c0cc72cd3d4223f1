"""Broker and store go away and come back: workers wait, do not spin, and go on by themselves."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.integration.store_place import wait_for_postgresql
from tests.integration.worker_place import WorkerPlace, place
from tests.processes import Process
from tests.servers import Restartable, wait_for

OUTAGE_S = 10.0
MESSAGES, PEOPLE = 50, 10

# What goes away, what it is for the workers, how, and their pool: each of these at least once.
OUTAGES = [
    ("redis", "broker", "killed", ""),
    ("redis", "broker", "stopped", "-P prefork -c 4"),
    ("rabbitmq", "broker", "stopped", ""),
    ("redis", "store", "stopped", "-P prefork -c 4"),
    ("postgresql", "store", "stopped", ""),
    ("redis", "both", "killed", ""),
]


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


@contextmanager
def _server(here: WorkerPlace, kind: str, role: str) -> Iterator[Restartable]:
    server = Restartable(kind, here.folder / "server")
    url = server.start()
    try:
        if role in ("broker", "both"):
            here.broker_url = url
        if role in ("store", "both"):
            here.store_url = url
        if kind == "postgresql":
            wait_for_postgresql(url)
        yield server
    finally:
        server.stop()


def _cpu_s(worker: Process) -> float:
    times = [member.cpu_times() for member in worker.members()]
    return sum(t.user + t.system for t in times)


@contextmanager
def _away(server: Restartable, how: str, worker: Process) -> Iterator[None]:
    """Take the server away for the block, and see that the worker does not spin meanwhile."""
    (server.kill if how == "killed" else server.stop)()
    started, spent_s = time.monotonic(), _cpu_s(worker)
    yield
    wait_for(lambda: time.monotonic() - started > OUTAGE_S, what="the outage's end")
    share = (_cpu_s(worker) - spent_s) / (time.monotonic() - started)
    assert worker.is_running
    assert share < 0.4, f"the worker used {share:.0%} of a core while it could do nothing"
    server.start()


def _answered(here: WorkerPlace, count: int) -> bool:
    return len(here.simulator.accepted) >= count


@pytest.mark.parametrize(("kind", "role", "how", "options"), OUTAGES)
def test_workers_go_on_by_themselves(here, kind, role, how, options):
    with ExitStack() as stack:
        server = stack.enter_context(_server(here, kind, role))
        here.gate.touch()
        here.listener()
        worker = here.worker(options)
        here.simulator.say("before")
        wait_for(lambda: _answered(here, 1), what="the first answer")

        with _away(server, how, worker):
            pass  # with nothing to do
        here.simulator.say("after idling")
        wait_for(lambda: _answered(here, 2), what="the answer after it")

        here.gate.unlink()
        for number in range(MESSAGES):
            here.simulator.say(f"message {number}", person=f"person {number % PEOPLE}")
        wait_for(lambda: len(here.runs) > 4, what="agents at work")
        with _away(server, how, worker):
            here.gate.touch()
        wait_for(lambda: _answered(here, MESSAGES + 2), what="all answers after the outage")
        wait_for(lambda: len(here.runs) >= MESSAGES + 2, what="all runs")

        counts = Counter(reply.text for reply in here.simulator.accepted)
        assert {text: n for text, n in counts.items() if n > 1} == {}
        assert len(counts) == MESSAGES + 2
        assert worker.is_running
