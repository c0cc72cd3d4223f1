"""How long an agent may take, and what becomes of one that takes longer."""

import asyncio
import functools
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dingwire.replies import Text
from tests.servers import wait_for
from tests.unit.worker.answering_parts import SECRET_WORDS, envelope
from worker.agents import AgentError, Retry
from worker.agents.base import Message
from worker.agents.loop import AgentLoop
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
    return f"plain {message.text}"


async def asynchronous(message):
    await asyncio.sleep(0)
    return f"async {message.text}"


def returning_an_awaitable(message):
    return asynchronous(message)


class Callable:
    def __call__(self, message):
        return f"object {message.text}"


class AsyncCallable:
    async def __call__(self, message):
        return f"async object {message.text}"

    async def method(self, message):
        return f"async method {message.text}"


def with_two(prefix, message):
    return f"{prefix} {message.text}"


@pytest.mark.parametrize(
    ("agent", "reply"),
    [
        (plain, "plain hello"),
        (asynchronous, "async hello"),
        (returning_an_awaitable, "async hello"),
        (Callable(), "object hello"),
        (AsyncCallable(), "async object hello"),
        (AsyncCallable().method, "async method hello"),
        (functools.partial(with_two, "partial"), "partial hello"),
        (lambda _: None, None),
        (lambda _: "", ""),
    ],
)
@pytest.mark.parametrize("thread", ["main", "other"])
def test_every_kind_of_callable_is_an_agent(beside, agent, reply, thread):
    runner = AgentRunner(agent)

    if thread == "main":
        assert runner.run(MESSAGE, limit_s=60) == reply
    else:
        assert beside(runner.run, MESSAGE, limit_s=60) == reply


# Overruns.


def test_an_async_agent_is_cancelled_and_may_clean_up(beside):
    cleaned_up = threading.Event()

    async def agent(_message):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaned_up.set()
            raise

    runner = AgentRunner(agent)
    with pytest.raises(AgentTimeoutError):
        beside(runner.run, MESSAGE, limit_s=0.05)

    wait_for(cleaned_up.is_set, what="the agent to see its cancellation")
    assert runner.abandoned == 0


def test_a_plain_agent_in_a_thread_is_abandoned_and_counted(beside):
    may_end = threading.Event()

    def agent(_message):
        may_end.wait(60)
        return "too late"

    runner = AgentRunner(agent)

    with pytest.raises(AgentTimeoutError):
        beside(runner.run, MESSAGE, limit_s=0.05)

    assert runner.abandoned == 1
    may_end.set()


def test_the_limit_holds_for_both_halves_of_an_agent_together(beside):
    """A plain function that takes its time and then returns something to wait for."""
    gate = threading.Event()

    def agent(_message):
        gate.wait(0.3)
        return asyncio.sleep(0.6, "too late")

    with pytest.raises(AgentTimeoutError):
        beside(AgentRunner(agent).run, MESSAGE, limit_s=0.7)


IN_THE_MAIN_THREAD = """
    import signal, sys, time
    from tests.unit.worker.test_runner import MESSAGE
    from worker.agents.runner import AgentRunner, AgentTimeoutError

    def busy(message):
        while True:
            pass

    def busy_and_deaf(message):
        for _ in range(2):
            try:
                while True:
                    pass
            except BaseException:
                pass
        while True:
            pass

    def sleeping(message):
        try:
            time.sleep(60)
        except Exception:
            return "swallowed"

    def just_in_time(message):
        end = time.monotonic() + 0.01
        while time.monotonic() < end:
            pass
        return "done"

    for agent in (busy, busy_and_deaf, sleeping):
        try:
            AgentRunner(agent).run(MESSAGE, limit_s=0.05)
        except AgentTimeoutError:
            print(agent.__name__, "interrupted")
    ends = set()
    for _ in range(100):
        try:
            ends.add(AgentRunner(just_in_time).run(MESSAGE, limit_s=0.0101))
        except AgentTimeoutError:
            ends.add("interrupted")
    assert ends <= {"done", "interrupted"}, ends
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    print("nothing left behind")
"""


def test_in_the_main_thread_of_a_pool_process_a_plain_agent_is_interrupted():
    """Even one that computes, or catches everything once or twice; nothing strikes later."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IN_THE_MAIN_THREAD)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "busy interrupted",
        "busy_and_deaf interrupted",
        "sleeping interrupted",
        "nothing left behind",
    ]


# Hundreds at once.


def test_hundreds_of_async_agents_wait_at_once_on_one_loop():
    """They end only when all have begun, so none may wait for another's end."""
    begun, loops, all_begun = [0], set(), asyncio.Event()

    async def agent(_message):
        loops.add(asyncio.get_running_loop())
        begun[0] += 1
        if begun[0] == 500:
            all_begun.set()
        await all_begun.wait()
        return "done"

    runner = AgentRunner(agent)
    with ThreadPoolExecutor(500) as pool:
        waiting = [pool.submit(runner.run, MESSAGE, limit_s=60) for _ in range(500)]
        replies = [future.result(60) for future in waiting]

    assert replies == ["done"] * 500
    assert len(loops) == 1


# Failures.


def raising(error):
    def agent(_message):
        raise error

    return agent


def raising_async(error):
    async def agent(_message):
        raise error

    return agent


@pytest.mark.parametrize("thread", ["main", "other"])
@pytest.mark.parametrize("kind", [raising, raising_async])
@pytest.mark.parametrize(
    "error",
    [ValueError(SECRET_WORDS), TimeoutError(SECRET_WORDS), SystemExit(SECRET_WORDS)],
    ids=lambda error: type(error).__name__,
)
def test_what_an_agent_raises_is_named_and_not_quoted(beside, error, kind, thread):
    """Its own TimeoutError is a failure of the agent, not the end of its time."""
    runner = AgentRunner(kind(error))
    run = runner.run if thread == "main" else functools.partial(beside, runner.run)

    with pytest.raises(AgentFailedError) as caught:
        run(MESSAGE, limit_s=60)

    assert caught.value.detail == type(error).__name__
    assert "test_runner.py" in caught.value.frames
    assert "agents/runner.py" not in caught.value.frames
    assert SECRET_WORDS not in str(caught.value) + caught.value.frames


def test_what_a_reply_was_refused_for_is_said(beside):
    """The words of this error are ours, and name no more than the field and its limit."""
    runner = AgentRunner(lambda _: Text(content="a", at_user_ids=[SECRET_WORDS]))

    with pytest.raises(AgentFailedError) as caught:
        beside(runner.run, MESSAGE, limit_s=60)

    assert caught.value.detail.startswith("Text: at_user_ids.0: must be a staff id")
    assert SECRET_WORDS not in caught.value.detail + caught.value.frames


@pytest.mark.parametrize("kind", [raising, raising_async])
def test_what_an_agent_says_is_safe_is_told(beside, kind):
    told, again = AgentError("the model is away"), Retry(5)
    again.__cause__ = told

    for error in (told, again):
        with pytest.raises(AgentFailedError) as caught:
            beside(AgentRunner(kind(error)).run, MESSAGE, limit_s=60)
        assert caught.value.detail == "the model is away"


def test_an_agent_that_cancels_itself_has_failed(beside):
    with pytest.raises(AgentFailedError, match="CancelledError"):
        beside(AgentRunner(raising_async(asyncio.CancelledError())).run, MESSAGE, limit_s=60)


def test_the_end_of_the_process_cancels_agents_and_is_no_failure_of_theirs():
    begun = threading.Event()

    async def agent(_message):
        begun.set()
        await asyncio.Event().wait()

    runner = AgentRunner(agent)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(runner.run, MESSAGE, limit_s=60)
        wait_for(begun.is_set, what="the agent to begin")
        runner.cancel_all()

        with pytest.raises(AgentCancelledError):
            future.result(60)


def test_a_task_that_wants_to_end_the_process_ends_only_itself(beside):
    """All async agents share a loop; one of them must not stop it for all."""

    async def leaving():
        sys.exit("leaving")

    async def agent(_message):
        task = asyncio.create_task(leaving())
        await asyncio.wait([task])
        return "still here" if isinstance(task.exception(), SystemExit) else "not reached"

    assert beside(AgentRunner(agent).run, MESSAGE, limit_s=60) == "still here"


def test_there_is_nothing_to_cancel_before_the_first_agent():
    AgentRunner(asynchronous).cancel_all()


def test_an_async_agent_that_blocks_its_loop_is_abandoned_with_it():
    """The next ones get a loop that turns."""
    gate = threading.Event()
    lost: list[int] = []

    async def agent(message):
        if message.text == "block":
            gate.wait(60)
        return "turned"

    loop = AgentLoop(turns_s=0.05)
    runner = AgentRunner(agent, loop=loop, on_abandoned=lost.append)
    with pytest.raises(AgentTimeoutError):
        runner.run(Message.of(envelope(text="block")), limit_s=0.05)

    assert runner.run(Message.of(envelope(text="go on")), limit_s=30) == "turned"
    assert lost == [1]
    gate.set()
