"""Calls in the background: done when due, left out when too many, and no burden at the end."""

import threading

import pytest

from tests.servers import wait_for
from worker.thinking.background import Background


@pytest.fixture
def background():
    made = Background(threads=2, most_waiting=3)
    made.start()
    yield made
    made.end(10)


def test_calls_are_made_in_the_order_of_their_times(background):
    done: list[str] = []
    background.do(lambda: done.append("later"), in_s=0.2)
    background.do(lambda: done.append("now"))

    wait_for(lambda: len(done) == 2, limit_s=60, what="both calls")

    assert done == ["now", "later"]


def test_a_cancelled_call_is_not_made(background):
    done: list[str] = []
    background.do(lambda: done.append("cancelled"), in_s=0.05).cancel()
    background.do(lambda: done.append("other"), in_s=0.1)

    wait_for(lambda: done, limit_s=60, what="the other call")

    assert done == ["other"]


def test_a_call_that_raises_ends_no_other(background, caplog):
    done: list[str] = []
    for _ in range(4):
        background.do(lambda: 1 / 0)
    background.do(lambda: done.append("other"), in_s=0.05)
    wait_for(lambda: done, limit_s=60, what="the other call")

    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" not in caplog.text


def test_too_many_calls_are_left_out_save_the_last_ones(background):
    gate, begun = threading.Event(), threading.Semaphore(0)
    done: list[str] = []

    def block() -> None:
        begun.release()
        gate.wait(60)

    for _ in range(2):
        background.do(block)
        assert begun.acquire(timeout=60)
    for _ in range(10):
        background.do(lambda: done.append("any"))
    background.do(lambda: done.append("last"), is_last=True)
    gate.set()
    wait_for(lambda: "last" in done, limit_s=60, what="the last call")

    assert done.count("any") <= 3


def test_an_ending_process_makes_the_last_calls_at_once_and_no_others(background):
    done: list[str] = []
    background.do(lambda: done.append("any"), in_s=600)
    background.do(lambda: done.append("last"), in_s=600, is_last=True)

    assert background.end(60)

    assert done == ["last"]


def test_an_ending_process_waits_no_longer_than_it_may(background):
    gate = threading.Event()
    background.do(lambda: gate.wait(60), is_last=True)

    assert not background.end(0.2)
    gate.set()


def test_what_never_started_ends_at_once():
    assert Background().end(60)
