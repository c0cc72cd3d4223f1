"""Several workers at once: real threads and real processes, on each kind of store."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from multiprocessing import get_context

import pytest

from tests.integration.store_place import (
    claim_all,
    come_in,
    count_to,
    drain_due,
    envelope,
    prepare,
)
from tests.servers import wait_for
from worker.store import Claimed, Held, Limit

WORKERS = 8
MESSAGES = 50


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(WORKERS) as executor:
        yield executor


@pytest.fixture(params=["threads", "processes"])
def workers(request: pytest.FixtureRequest) -> Executor:
    executor: Executor = request.getfixturevalue(request.param)
    return executor


@pytest.fixture
def store(store_place):
    store = store_place.open()
    store.prepare()
    yield store
    store.close()


def test_many_may_prepare_the_store_at_once(store_place, workers):
    started = [workers.submit(prepare, store_place) for _ in range(WORKERS)]

    assert [run.result(60) for run in started] == ["prepared"] * WORKERS


def test_each_message_is_claimed_by_exactly_one_worker(store, store_place, workers):
    started = [
        workers.submit(claim_all, store_place, f"worker{n}", MESSAGES) for n in range(WORKERS)
    ]

    results = [run.result(60) for run in started]

    won = Counter(chain.from_iterable(won for won, _ in results))
    assert won == {f"task{n}": 1 for n in range(MESSAGES)}
    assert [lost for _, lost in results] == [[]] * WORKERS


def test_each_due_message_is_handed_to_exactly_one_sweep(store, store_place, workers):
    for number in range(MESSAGES):
        claim = store.claim(f"task{number}", owner="dead", lease_s=0.001, envelope=envelope(number))
        assert isinstance(claim, Claimed)

    started = [workers.submit(drain_due, store_place, MESSAGES) for _ in range(WORKERS)]

    taken = Counter(chain.from_iterable(run.result(60) for run in started))
    assert taken == {f"task{n}": 1 for n in range(MESSAGES)}


def test_one_of_many_takes_a_dead_lease_over(store, workers, store_place):
    for number in range(MESSAGES):
        store.claim(f"task{number}", owner="dead", lease_s=0.001, envelope=envelope(number))
    wait_for(lambda: len(store.due(limit=MESSAGES, hold_s=0)) == MESSAGES, what="death")

    started = [
        workers.submit(claim_all, store_place, f"worker{n}", MESSAGES) for n in range(WORKERS)
    ]

    won = Counter(chain.from_iterable(run.result(60)[0] for run in started))
    assert won == {f"task{n}": 1 for n in range(MESSAGES)}


def test_64_threads_share_one_store(store):
    def life(number: int) -> int:
        """Claim, renew, keep and finish five messages; return how many renewals were lost."""
        lost = 0
        for part in range(5):
            claim = store.claim(
                f"task{number}.{part}", owner="me", lease_s=60, envelope=envelope(number)
            )
            assert isinstance(claim, Claimed)
            lost += len(store.renew([claim.lease], lease_s=60))
            store.keep_answer(claim.lease, "answer")
            store.finish(claim.lease, "SUCCESS")
        return lost

    with ThreadPoolExecutor(64) as executor:
        assert sum(executor.map(life, range(64), timeout=60)) == 0

    assert store.due(limit=1, hold_s=0) == []


def test_what_a_killed_process_had_in_hand_is_handed_out(store, store_place):
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from tests.integration.store_place import StorePlace, envelope\n"
            "store = StorePlace(*sys.argv[1:]).open()\n"
            "claim = store.claim('task1', owner='child', lease_s=1.5, envelope=envelope())\n"
            "store.keep_answer(claim.lease, 'kept')\n"
            "print('claimed', flush=True)\n"
            "time.sleep(60)\n",
            store_place.url,
            store_place.prefix,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "claimed\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait(60)
    child.stdout.close()
    assert store.claim("task1", owner="me", lease_s=15, envelope=None) == Held("child")

    taken: list[bool] = []

    def handed_out() -> bool:
        taken.extend(m.has_answer for m in store.due(limit=1, hold_s=60))
        return bool(taken)

    wait_for(handed_out, what="the dead worker's message to be due")

    claim = store.claim("task1", owner="me", lease_s=15, envelope=None)
    assert isinstance(claim, Claimed)
    assert (taken, claim.answer, claim.takeovers) == ([True], "kept", 1)


def test_together_they_never_exceed_a_limit_in_any_window(store, store_place, workers):
    """Nobody knows when exactly one came in, only between which times; the store does.

    The k-th to come in came between the k-th of the earliest times and the k-th of the latest.
    """
    shared, wide = Limit("shared", 4, 0.25), Limit("wide", 1000, 0.25)
    started = [
        workers.submit(come_in, store_place, [shared, wide] if n % 2 else [wide, shared], 3)
        for n in range(WORKERS)
    ]

    came_in = list(chain.from_iterable(run.result(60) for run in started))

    earliest = sorted(before for before, _ in came_in)
    latest = sorted(after for _, after in came_in)
    assert len(came_in) == WORKERS * 3
    # A clock is read in whole milliseconds.
    assert all(later - first >= 0.248 for first, later in zip(earliest, latest[4:], strict=False))


def test_no_count_is_lost_and_none_is_seen_twice(store, store_place, workers):
    started = [workers.submit(count_to, store_place, 20) for _ in range(WORKERS)]

    counts = sorted(chain.from_iterable(run.result(60) for run in started))

    assert counts == list(range(1, WORKERS * 20 + 1))
