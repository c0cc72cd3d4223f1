"""A worker that is told to stop does so in time, and nothing it had in hand is lost."""

import signal

import pytest

from tests.integration.worker_place import WorkerPlace, place
from tests.processes import KILLED_AFTER_S, Process
from tests.servers import wait_for

KINDS = {
    "plain agents in threads": ("", "gated:plain"),
    "async agents": ("", "gated:awaiting"),
    "prefork": ("-P prefork -c 2", "gated:plain"),
}


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def _with_a_message_in_hand(here: WorkerPlace, options: str, **variables: str) -> Process:
    here.listener()
    worker = here.worker(options, **variables)
    here.simulator.say("hello")
    wait_for(lambda: len(here.runs) == 1, what="the agent to be run")
    return worker


@pytest.mark.parametrize("kind", KINDS)
def test_what_overruns_the_grace_is_answered_by_another_worker(here, kind):
    """And at once: the lease of 300 s would show if it were waited for."""
    options, agent = KINDS[kind]
    worker = _with_a_message_in_hand(
        here, options, AGENT=agent, SHUTDOWN_GRACE_S="0.2", LEASE_S="300"
    )

    code, _ = worker.terminate()
    other = here.worker(options, AGENT=agent, LEASE_S="300")
    wait_for(lambda: len(here.runs) == 2, what="the other worker to run the agent")
    here.gate.touch()
    other.until_logged("reply_posted")

    assert "message_republished" in other.log
    assert code == 0
    assert list(worker.members()) == []
    assert [r.text for r in here.simulator.accepted] == ["answer to hello"]
    assert len(here.runs) == 2
    assert here.missed() == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_ends_within_the_grace_is_answered_by_the_stopping_worker(here, kind):
    options, agent = KINDS[kind]
    worker = _with_a_message_in_hand(here, options, AGENT=agent, SHUTDOWN_GRACE_S="20")
    worker.signal(signal.SIGTERM)
    worker.until_logged("Warm shutdown")
    here.gate.touch()

    code = worker.wait(KILLED_AFTER_S)

    assert code == 0
    assert [r.text for r in here.simulator.accepted] == ["answer to hello"]
    assert len(here.runs) == 1
    again = here.worker(options, AGENT=agent)
    again.terminate()
    assert len(here.runs) == 1, "the message was acknowledged, so nobody gets it again"


@pytest.mark.parametrize("kind", KINDS)
def test_a_post_under_way_at_the_end_of_the_grace_is_not_made_again(here, kind):
    """DingTalk has the reply already and is slow to say so."""
    options, agent = KINDS[kind]
    here.gate.touch()
    here.simulator.fail_replies(hang_s=6)
    here.listener()
    worker = here.worker(options, AGENT=agent, SHUTDOWN_GRACE_S="0.2")
    here.simulator.say("hello")
    wait_for(lambda: here.simulator.replies, what="the post")
    other = here.worker(options, AGENT=agent)

    code, took_s = worker.terminate()
    here.simulator.say("hello again")
    wait_for(lambda: len(here.simulator.replies) == 2, what="the other worker's post")
    wait_for(lambda: here.unfinished() == 0, what="both to be recorded")
    other.terminate()

    assert code == 0
    assert took_s < KILLED_AFTER_S - 5
    assert [r.text for r in here.simulator.accepted] == ["answer to hello", "answer to hello again"]
    assert len(here.simulator.replies) == 2


def test_an_idle_worker_stops_within_seconds(here):
    worker = here.worker()

    code, took_s = worker.terminate()

    assert code == 0
    assert took_s < KILLED_AFTER_S / 2
    assert list(worker.members()) == []


def test_a_killed_worker_is_replaced_after_its_lease(here):
    """By the sweep, not by the broker: each has a time of its own for giving out again."""
    worker = _with_a_message_in_hand(here, "")
    other = here.worker()

    worker.kill()
    wait_for(lambda: len(here.runs) == 2, what="the other worker to take over")
    here.gate.touch()
    other.until_logged("reply_posted")

    assert "message_republished" in other.log
    assert [r.text for r in here.simulator.accepted] == ["answer to hello"]


def test_a_worker_that_lost_a_thread_for_each_slot_starts_anew_and_goes_on(here):
    """Agents that never return cannot be stopped; their memory comes back with a new process."""
    here.listener()
    worker = here.worker("-c 2", AGENT_TIMEOUT_S="0.3", SHUTDOWN_GRACE_S="1")
    for person in ("alice", "bob"):
        here.simulator.say("hello", person)
    worker.until_logged("worker_replaced")
    wait_for(lambda: worker.log.count(" ready.") == 2, what="its second start")
    here.gate.touch()

    here.simulator.until_answered(here.simulator.say("hello", "carol"))

    assert worker.is_running
    assert [m["reason"] for m in here.missed()] == ["agent_timeout", "agent_timeout"]
    code, _ = worker.terminate()
    assert code == 0
