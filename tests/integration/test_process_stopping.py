"""Two real workers: what is stopped says nothing more, and its conversation goes on."""

import json

import pytest

from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for

KINDS = {
    "plain agents in threads": ("", "gated:plain"),
    "async agents": ("", "gated:awaiting"),
    "prefork": ("-P prefork -c 1", "gated:plain"),
}


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def _stop(here: WorkerPlace, id_: str) -> dict[str, object]:
    done = here.run("celery", "-A", "worker", "stop", id_, "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    return dict(row)


@pytest.mark.parametrize("kind", KINDS)
def test_agents_are_called_off_and_the_next_message_is_answered(here, kind):
    """Of two in a group one has a worker, one waits; a lease would run for five minutes."""
    options, agent = KINDS[kind]
    here.listener()
    workers = [here.worker(options, AGENT=agent, LEASE_S="300") for _ in range(2)]
    first = here.simulator.say("first", "alice", "team")
    wait_for(lambda: len(here.runs) == 1, what="the agent to run")
    here.simulator.say("second", "bob", "team")
    wait_for(lambda: here.unfinished() == 2, what="the second to wait")

    assert _stop(here, first.conversation_id) == {
        "id": first.conversation_id,
        "outcome": "stopped",
        "why": None,
        "running": 1,
        "waiting": 1,
    }

    wait_for(
        lambda: any("duplicate_dropped" in worker.log for worker in workers),
        what="the worker to let go",
    )
    here.gate.touch()
    here.simulator.say("third", "bob", "team")
    here.simulator.until(lambda s: s.accepted, what="a reply")
    for worker in workers:
        worker.terminate()
    assert [r.text for r in here.simulator.accepted] == ["answer to third"]
    assert len(here.runs) == 2
    assert here.unfinished() == 0
    assert here.missed() == []


def test_one_message_is_stopped_by_its_id_and_its_story_tells(here):
    here.listener()
    worker = here.worker(AGENT="gated:awaiting", LEASE_S="300")
    said = here.simulator.say("hello")
    wait_for(lambda: len(here.runs) == 1, what="the agent to run")

    assert _stop(here, said.message_id)["running"] == 1

    worker.until_logged("duplicate_dropped")
    told = here.run("celery", "-A", "worker", "trace", said.message_id)
    assert "stopped by " in told.stdout
    assert "ended as CANCELLED" in told.stdout
    again = here.run("celery", "-A", "worker", "stop", said.message_id)
    assert (again.returncode, again.stderr) == (
        1,
        f"{said.message_id}: it has ended as CANCELLED\n",
    )
