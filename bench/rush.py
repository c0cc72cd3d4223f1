"""Plays a quiet bot that suddenly has much to do, with the estimate that autoscalers are given.

Used by ``bench/scaling.py``. Nothing runs and nothing waits: a second is a step. What decides how
many workers there are is the real :func:`worker.telling.backlog.estimate`.
"""

from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contract.routing import MESSAGES, QUEUES
from worker.running.queues import Queue
from worker.store import Note, Pace, Unfinished
from worker.telling.backlog import Known, estimate

__all__ = ["Rush", "Story", "play"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUIET_S, OVER_S = 600, 300


@dataclass(frozen=True)
class Rush:
    """What comes, and what it is met with."""

    quiet_per_s: float
    busy_per_s: float
    busy_s: int
    agent_s: int
    slots: int  # of one worker
    look_every_s: int = 30
    starts_in_s: int = 30  # what a platform takes to start a worker


@dataclass(frozen=True)
class Story:
    """How it went."""

    workers_before: int
    most_workers: int
    longest_wait_s: int
    caught_up_after_s: int  # since the rush began; 0: nothing ever waited


def play(rush: Rush) -> Story:
    """Play it to the end; messages are taken in the order in which they came."""
    workers = most = before = 1
    starting: tuple[int, int] | None = None  # when, and how many there are from then on
    waiting = deque[int]()  # the second in which each came
    ends, finished = Counter[int](), Counter[int]()
    running = longest = caught_up = 0
    owed = 0.0
    for second in range(QUIET_S + 3 * rush.busy_s):
        is_busy = QUIET_S <= second < QUIET_S + rush.busy_s
        owed += rush.busy_per_s if is_busy else rush.quiet_per_s
        waiting.extend([second] * int(owed))
        owed -= int(owed)
        finished[second] = ends.pop(second, 0)
        running -= finished[second]
        if starting is not None and starting[0] <= second:
            workers, starting = starting[1], None
        for _ in range(min(len(waiting), max(0, workers * rush.slots - running))):
            longest = max(longest, second - waiting.popleft())
            running += 1
            ends[second + rush.agent_s] += 1
        if second == QUIET_S - 1:
            before = most = workers
        if second >= QUIET_S and waiting:
            caught_up = second + 1 - QUIET_S
        if second % rush.look_every_s == 0:
            recent = sum(finished[each] for each in range(second - OVER_S + 1, second + 1))
            needed = _needed(rush, len(waiting), running, recent, workers)
            if needed is not None and needed < workers:
                workers, starting = needed, None
            elif needed is not None and starting is None and needed > workers:
                starting = (second + rush.starts_in_s, needed)
        most = max(most, workers)
    return Story(before, most, longest, caught_up)


def _needed(rush: Rush, waiting: int, running: int, recent: int, workers: int) -> int | None:
    envelope = {"deadline": (NOW + timedelta(minutes=90)).isoformat()}
    queues = {name: Queue(waiting if name == MESSAGES else 0) for name in QUEUES}
    known = Known(
        [Unfinished(str(number), "running", envelope) for number in range(running)],
        Pace(recent, recent * rush.agent_s, OVER_S),
        [Note(str(number), {"concurrency": rush.slots}, 0.0) for number in range(workers)],
    )
    return estimate(queues, known, now=NOW, slots_of_a_worker=rush.slots).workers_needed
