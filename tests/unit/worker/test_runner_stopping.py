"""An agent whose work is called off from another thread, by who has learnt that nobody wants it."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import wait_for
from tests.unit.worker.answering_parts import envelope
from worker.agents import Context
from worker.agents.base import Message
from worker.agents.cancelling import AgentStoppedError
from worker.agents.runner import AgentCancelledError, AgentRunner, AgentTimeoutError

MESSAGE = Message.of(envelope(text="hello"))


@pytest.fixture
def context():
    return Context(MESSAGE)


@pytest.fixture
def running():
    """Begin a run in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda runner, context: pool.submit(runner.run, MESSAGE, context=context, limit_s=60)


def test_an_async_agent_is_cancelled_where_it_waits(context, running):
    begun, cleaned_up = threading.Event(), threading.Event()

    async def agent(_message):
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    runner = AgentRunner(agent)
    run = running(runner, context)
    wait_for(begun.is_set, what="the agent to begin")
    context.cancellation.cancel("the person stopped it")

    with pytest.raises(AgentStoppedError, match="the person stopped it"):
        run.result(60)
    wait_for(cleaned_up.is_set, what="the agent to clean up")
    assert runner.abandoned == 0


def test_what_an_agent_says_that_ends_because_it_was_stopped_is_no_answer():
    async def agent(_message, context):
        context.cancellation.cancel("the person stopped it")
        return "half an answer"

    async def failing(_message, context):
        context.cancellation.cancel("the person stopped it")
        raise ConnectionError

    for each in (agent, failing):
        with pytest.raises(AgentStoppedError, match="the person stopped it"):
            AgentRunner(each).run(MESSAGE, context=Context(MESSAGE), limit_s=60)


def test_a_plain_agent_in_a_thread_is_told_and_abandoned(context, running):
    begun, gate, seen = threading.Event(), threading.Event(), list[bool]()

    def agent(_message, context):
        begun.set()
        gate.wait(60)
        seen.append(context.cancelled)

    runner = AgentRunner(agent)
    run = running(runner, context)
    wait_for(begun.is_set, what="the agent to begin")
    context.cancellation.cancel()

    with pytest.raises(AgentStoppedError):
        run.result(60)
    gate.set()
    wait_for(lambda: seen == [True], what="the agent to see it")
    assert runner.abandoned == 1


def test_who_overruns_sees_it_too(context):
    gate, seen = threading.Event(), list[bool]()

    def agent(_message, context):
        gate.wait(60)
        seen.append(context.cancelled)

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(AgentRunner(agent).run, MESSAGE, context=context, limit_s=0.05)
        with pytest.raises(AgentTimeoutError):
            run.result(60)
    gate.set()
    wait_for(lambda: seen == [True], what="the agent to see it")


def test_the_end_of_the_process_leaves_plain_agents_alone_and_tells_them(context, running):
    """They are not lost threads: the process goes, and they with it."""
    begun, gate, seen = threading.Event(), threading.Event(), list[bool]()

    def agent(_message, context):
        begun.set()
        gate.wait(60)
        seen.append(context.cancelled)

    runner = AgentRunner(agent)
    run = running(runner, context)
    wait_for(begun.is_set, what="the agent to begin")
    runner.cancel_all()

    with pytest.raises(AgentCancelledError):
        run.result(60)
    gate.set()
    wait_for(lambda: seen == [True], what="the agent to see it")
    assert runner.abandoned == 0


def test_one_that_was_stopped_before_it_began_is_stopped(context, running):
    context.cancellation.cancel("early")

    async def agent(_message):
        await asyncio.Event().wait()

    with pytest.raises(AgentStoppedError, match="early"):
        running(AgentRunner(agent), context).result(60)


IN_THE_MAIN_THREAD = """
    import signal, threading, time
    from tests.unit.worker.test_runner_stopping import MESSAGE
    from worker.agents import Context
    from worker.agents.runner import AgentRunner, AgentStoppedError

    context = Context(MESSAGE)

    def busy(message):
        threading.Thread(target=context.cancellation.cancel, args=("the lease is lost",)).start()
        while True:
            pass

    def sleeping(message):
        threading.Thread(target=context.cancellation.cancel, args=("the lease is lost",)).start()
        time.sleep(600)

    for agent in (busy, sleeping):
        context = Context(MESSAGE)
        try:
            AgentRunner(agent).run(MESSAGE, context=context, limit_s=600)
        except AgentStoppedError as stopped:
            print(agent.__name__, stopped.why)

    ends = set()
    for number in range(200):
        context = Context(MESSAGE)
        def racing(message):
            threading.Thread(target=context.cancellation.cancel).start()
            return "done"
        try:
            ends.add(AgentRunner(racing).run(MESSAGE, context=context, limit_s=600))
        except AgentStoppedError:
            ends.add("stopped")
    assert ends <= {"done", "stopped"}, ends
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    print("nothing left behind")
"""


def test_in_the_main_thread_of_a_pool_process_a_plain_agent_is_interrupted():
    """Nothing strikes later, although another thread may stop it at the moment it returns."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IN_THE_MAIN_THREAD)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "busy the lease is lost",
        "sleeping the lease is lost",
        "nothing left behind",
    ]
