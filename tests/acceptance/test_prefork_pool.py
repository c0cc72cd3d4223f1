"""``celery -A worker worker -P prefork -c 2``: the other pool, chosen on the command line."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from dingwire.simulator import SimulatorThread
from tests.acceptance.conftest import redis_database
from tests.acceptance.deployment import CLIENT_SECRET, MARKER, Deployment
from tests.processes import KILLED_AFTER_S
from tests.servers import wait_for


@pytest.fixture(scope="module")
def processes(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Listener and one prefork worker; the environment asks for another pool, and loses."""
    url = redis_database(redis_url, 12)
    with SimulatorThread() as simulator:
        deployment = Deployment(
            simulator,
            tmp_path_factory.mktemp("prefork"),
            broker_url=url,
            store_url=url,
            workers=["one"],
            worker_options="-P prefork -c 2",
            with_web=False,
            REDIS_URL=url,
            WORKER_POOL="threads",
            WORKER_CONCURRENCY="7",
        )
        try:
            deployment.release()
            yield deployment
        finally:
            deployment.stop()


@pytest.fixture
def prefork(processes: Deployment) -> Iterator[Deployment]:
    processes.start()
    yield processes
    logs = processes.logs()
    for private in (MARKER, CLIENT_SECRET, "sendBySession"):
        assert private not in logs


def test_fifty_messages_are_each_answered_once_by_two_children(prefork):
    said = [
        prefork.simulator.say(f"{MARKER} {number} to you", f"{prefork.port}-{number % 10}")
        for number in range(50)
    ]

    prefork.until_answered(said)
    prefork.until_finished(said)

    expected = Counter((m.conversation_id, f"you said {m.text}") for m in said)
    assert Counter((r.conversation_id, r.text) for r in prefork.accepted(said)) == expected
    [worker] = prefork.workers
    children = {p.pid for p in worker.members()} - {worker.group}
    assert len(children) == 2
    assert {pid for m in said for _, pid in prefork.calls(m)} <= children


def test_a_killed_childs_message_is_answered_after_its_lease(prefork):
    message = prefork.say("wait:child for the child's end")
    prefork.until_called([message])
    [(_, child)] = prefork.calls(message)
    os.kill(child, signal.SIGKILL)
    prefork.open_gate("child")

    prefork.until_answered([message])
    prefork.until_finished([message])

    assert len(prefork.accepted([message])) == 1
    assert {pid == child for _, pid in prefork.calls(message)} == {True, False}


def test_sigterm_hands_a_childs_message_back(prefork):
    message = prefork.say("wait:again for the next start")
    prefork.until_called([message])
    [worker] = prefork.workers

    code, took_s = worker.terminate()

    assert code == 0
    assert took_s < KILLED_AFTER_S - 5
    wait_for(lambda: not list(worker.members()), what="the children's end")
    prefork.open_gate("again")
    prefork.start()
    prefork.until_answered([message])
    prefork.until_finished([message])
    assert len(prefork.accepted([message])) == 1


def test_an_agent_that_needs_less_than_the_grace_is_waited_for(prefork):
    """Process managers signal the children too, which must not end what they are busy with."""
    message = prefork.say("sleep:1 and then reply")
    prefork.until_called([message])
    [worker] = prefork.workers

    code, _ = worker.terminate()

    assert code == 0
    assert [r.text for r in prefork.accepted([message])] == [f"you said {message.text}"]
    assert len(prefork.calls(message)) == 1
