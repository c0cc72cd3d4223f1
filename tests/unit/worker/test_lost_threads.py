"""Threads that agents keep are too many when they are at a time, not over the years."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_for
from tests.unit.worker.answering_parts import envelope
from worker.agents.base import Message
from worker.agents.runner import AgentRunner, AgentTimeoutError
from worker.running.lost_threads import LostThreads


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def lost(told) -> LostThreads:
    lost = LostThreads()
    lost.tell_at(2, lambda: told.append("too many"))
    return lost


def test_as_many_at_a_time_are_too_many_and_told_once(lost, told):
    lost.add()
    assert told == []

    lost.add()
    lost.add()
    lost.remove()
    lost.add()

    assert told == ["too many"]


def test_those_that_came_to_an_end_are_lost_no_more(lost, told):
    for _ in range(10):
        lost.add()
        lost.remove()

    assert told == []


def test_where_nobody_is_to_be_told_nobody_is():
    lost = LostThreads()
    for _ in range(3):
        lost.add()


@pytest.mark.parametrize("end", ["returns", "raises"])
def test_an_agent_that_was_abandoned_tells_of_its_end(end):
    gate, returned = threading.Event(), list[str]()

    def agent(_message):
        gate.wait(60)
        if end == "raises":
            raise ValueError

    runner = AgentRunner(agent, on_returned=lambda: returned.append("one"))
    with ThreadPoolExecutor(1) as pool:
        message = Message.of(envelope(text="hello"))
        run = pool.submit(runner.run, message, limit_s=0.05)
        with pytest.raises(AgentTimeoutError):
            run.result(120)
    assert (runner.abandoned, returned) == (1, [])

    gate.set()
    wait_for(lambda: returned == ["one"], what="the end of the thread")
