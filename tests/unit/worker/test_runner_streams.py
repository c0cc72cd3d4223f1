"""Agents that yield their reply in pieces: who is told, and how each kind of overrun ends."""

import asyncio
import functools
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_for
from tests.unit.worker.answering_parts import SECRET_WORDS, envelope
from worker.agents.base import Message
from worker.agents.pieces import Pieces
from worker.agents.runner import (
    AgentCancelledError,
    AgentFailedError,
    AgentRunner,
    AgentTimeoutError,
)

MESSAGE = Message.of(envelope(text="hello"))


@pytest.fixture
def beside():
    """Run something as a task of the threads pool does: not in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda call, *a, **kw: pool.submit(call, *a, **kw).result(60)


def plain(message):
    yield message.text
    yield None
    yield ""
    yield " there"


async def asynchronous(message):
    for piece in plain(message):
        await asyncio.sleep(0)
        yield piece


async def handing_on(message):
    return plain(message)


async def handing_on_async(message):
    return asynchronous(message)


class Plain:
    def __call__(self, message):
        yield from plain(message)


class Async:
    async def __call__(self, message):
        async for piece in asynchronous(message):
            yield piece


KINDS = [
    plain,
    asynchronous,
    handing_on,
    handing_on_async,
    Plain(),
    Async(),
    lambda message: plain(message),
    lambda message: asynchronous(message),
    lambda message: iter(list(plain(message))),
]


@pytest.mark.parametrize("agent", KINDS)
@pytest.mark.parametrize("thread", ["main", "other"])
def test_every_kind_of_stream_is_an_agent_and_its_pieces_are_told(beside, agent, thread):
    seen: list[str] = []
    run = AgentRunner(agent).run

    if thread == "main":
        reply = run(MESSAGE, limit_s=60, on_piece=seen.append)
    else:
        reply = beside(run, MESSAGE, limit_s=60, on_piece=seen.append)

    assert reply == "hello there"
    assert seen == ["hello", " there"]


def test_a_piece_is_told_before_the_next_one_is_asked_for(beside):
    goes_on = threading.Event()

    def agent(_message):
        yield "first"
        assert goes_on.wait(60)
        yield "second"

    reply = beside(AgentRunner(agent).run, MESSAGE, limit_s=60, on_piece=lambda _: goes_on.set())

    assert reply == "firstsecond"


@pytest.mark.parametrize("agent", [lambda _: iter(()), lambda _: iter(["", None])])
def test_a_stream_without_pieces_is_silence(beside, agent):
    assert not beside(AgentRunner(agent).run, MESSAGE, limit_s=60)


# Failures.


def failing(_message):
    yield "so far"
    raise ValueError(SECRET_WORDS)


async def failing_async(_message):
    yield "so far"
    raise ValueError(SECRET_WORDS)


@pytest.mark.parametrize("thread", ["main", "other"])
@pytest.mark.parametrize("agent", [failing, failing_async])
def test_a_stream_that_fails_midway_is_a_failed_agent(beside, agent, thread):
    seen: list[str] = []
    run = AgentRunner(agent).run
    call = run if thread == "main" else functools.partial(beside, run)

    with pytest.raises(AgentFailedError) as caught:
        call(MESSAGE, limit_s=60, on_piece=seen.append)

    assert seen == ["so far"]
    assert caught.value.detail == "ValueError"
    assert "raise ValueError" in caught.value.frames
    assert "pieces.py" not in caught.value.frames
    assert SECRET_WORDS not in str(caught.value)


# Overruns.


def test_an_async_stream_is_cancelled_and_may_clean_up(beside):
    cleaned_up = threading.Event()

    async def agent(_message):
        try:
            yield "so far"
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    runner = AgentRunner(agent)
    with pytest.raises(AgentTimeoutError):
        beside(runner.run, MESSAGE, limit_s=0.05)

    wait_for(cleaned_up.is_set, limit_s=30, what="the agent to clean up")
    assert runner.abandoned == 0


def test_an_abandoned_stream_is_closed_at_its_next_piece_which_nobody_is_told(beside):
    may_go_on, closed = threading.Event(), threading.Event()
    seen: list[str] = []

    def agent(_message):
        try:
            yield "so far"
            may_go_on.wait(60)
            yield "too late"
            yield "never asked for"
        finally:
            closed.set()

    runner = AgentRunner(agent)
    with pytest.raises(AgentTimeoutError):
        beside(runner.run, MESSAGE, limit_s=0.2, on_piece=seen.append)
    may_go_on.set()

    wait_for(closed.is_set, limit_s=30, what="the stream to be closed")
    assert runner.abandoned == 1
    assert seen == ["so far"]


def test_a_process_that_ends_cancels_async_streams(beside):
    begun = threading.Event()

    async def agent(_message):
        yield "so far"
        await asyncio.Event().wait()

    runner = AgentRunner(agent)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.run, MESSAGE, limit_s=60, on_piece=lambda _: begun.set())
        assert begun.wait(60)
        runner.cancel_all()
        with pytest.raises(AgentCancelledError):
            running.result(60)


IN_THE_MAIN_THREAD = """
    import time
    from tests.unit.worker.test_runner_streams import MESSAGE
    from worker.agents.runner import AgentRunner, AgentTimeoutError

    def endless(message):
        try:
            while True:
                yield "again"
        finally:
            print("closed")

    try:
        AgentRunner(endless).run(MESSAGE, limit_s=0.05)
    except AgentTimeoutError:
        print("interrupted")
"""


def test_in_the_main_thread_of_a_pool_process_a_stream_is_interrupted():
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IN_THE_MAIN_THREAD)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["closed", "interrupted"]


def test_other_replies_follow_the_joined_text_in_order():
    picture = object()
    seen: list[object] = []

    with Pieces(seen.append) as pieces:
        whole = pieces.of(iter(["one ", picture, "text"]))

    assert whole == ["one text", picture]
    assert seen == ["one ", picture, "text"]
