"""Where plain agents run: one after the other in a thread, and never two at a time."""

import threading
from contextvars import ContextVar

from tests.servers import wait_for
from worker.agents.threads import AgentThreads


def _ran_in(threads: AgentThreads) -> threading.Thread:
    """Run something; return its thread, once that waits for more or has ended."""
    found, done = list[threading.Thread](), threading.Event()

    def job() -> None:
        found.append(threading.current_thread())
        done.set()

    threads.run(job)
    assert done.wait(60)
    wait_for(lambda: threads._idle or not found[0].is_alive(), what="the thread to be free")
    return found[0]


def test_a_thread_that_is_free_is_used_again():
    threads = AgentThreads()

    assert _ran_in(threads) is _ran_in(threads)


def test_one_that_an_agent_keeps_is_left_to_it():
    threads, kept, may_end = AgentThreads(), list[threading.Thread](), threading.Event()
    has_begun = threading.Event()

    def job() -> None:
        kept.append(threading.current_thread())
        has_begun.set()
        may_end.wait(60)

    threads.run(job)
    assert has_begun.wait(60)
    assert _ran_in(threads) is not kept[0]
    may_end.set()


def test_one_that_nobody_needs_ends():
    threads = AgentThreads(idle_s=0)
    thread = _ran_in(threads)
    thread.join(60)

    assert not thread.is_alive()
    assert threads._idle == []
    assert _ran_in(threads) is not thread


def test_what_an_agent_sets_in_its_context_the_next_does_not_find():
    threads, variable = AgentThreads(), ContextVar[str]("variable", default="unset")
    seen, done = list[str](), threading.Barrier(2)

    def job() -> None:
        seen.append(variable.get())
        variable.set("set by another")
        done.wait(60)

    for _ in range(2):
        threads.run(job)
        done.wait(60)
        wait_for(lambda: threads._idle, what="the thread to be free")

    assert seen == ["unset", "unset"]
