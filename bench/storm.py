"""A storm of copies: messages that are finished come once more, as after an outage of the broker.

Each is dropped by its claim, and no agent runs. How quickly, against the rate at which the same
worker runs tasks that do nothing: by turns, each of them waiting in the queue before the worker is
let go on.
"""

import signal
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from bench.place import BOT, Place, Running
from bench.rows import Goal, Row
from bench.storm_agent import EMPTY, RUNS
from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import MESSAGES
from listener.publisher import new_publisher
from listener.task_message import TaskMessage, answer_task

__all__ = ["run"]

FINISHED, COPIES_OF_EACH = 500, 4
CONVERSATIONS = 100
COPIES = FINISHED * COPIES_OF_EACH  # in each round
LIMIT_S = 60.0
EMPTY_TASK = "empty task"


def run(place: Place) -> Iterator[Row]:
    """Measure on Redis."""
    url = place.broker("redis")
    with place.load() as load, redis.Redis.from_url(url) as client:
        environment = place.environment(load, url, bot=f"{BOT}-storm")
        environment["AGENT"] = "bench.storm_agent:agent"
        with place.worker(environment, "--include bench.storm_agent") as worker:
            storm = _Storm(url, place.folder(), client, worker)
            messages = [answer_task(_envelope(n)) for n in range(FINISHED)]
            storm.take(messages)
            runs = int(client.get(RUNS) or 0)
            dropped, empty, cpu_ms = list[float](), list[float](), list[list[float]]()
            for _ in range(place.rounds):
                before_s = worker.cpu_s()
                dropped.append(storm.take(messages * COPIES_OF_EACH))
                between_s = worker.cpu_s()
                empty.append(storm.take([_empty() for _ in range(COPIES)]))
                took_s = (between_s - before_s, worker.cpu_s() - between_s)
                cpu_ms.append([each * 1000 / COPIES for each in took_s])
            if not runs == FINISHED == int(client.get(RUNS) or 0):
                raise RuntimeError(f"the agent ran {client.get(RUNS)!r} times for {FINISHED}")
    what = f"redelivery storm: {COPIES} copies of finished messages, dropped"
    goal = Goal(">=", 0.7, EMPTY_TASK)
    copy_ms, empty_ms = (statistics.median(each) for each in zip(*cpu_ms, strict=True))
    note = f"{copy_ms:.2f} ms of processor a copy, {empty_ms:.2f} an empty task"
    yield Row.of(what, "redis", "copies/s", dropped, {EMPTY_TASK: empty}, goal=goal, note=note)


class _Storm:
    """One worker, and what it is given."""

    def __init__(self, url: str, folder: Path, client: Any, worker: Running) -> None:
        self._client, self._worker = client, worker
        self._publisher = new_publisher(Broker.from_url(url, folder))
        self._publisher.open()

    def take(self, tasks: list[TaskMessage]) -> float:
        """Return how many of them the worker ends in a second."""
        with self._standing_still():
            self._publisher.publish(tasks, lambda _: None)
        started = time.monotonic()
        while self._waiting():
            if time.monotonic() - started > LIMIT_S:
                raise TimeoutError(f"{self._waiting()} tasks are left after {LIMIT_S:g} s")
            time.sleep(0.01)
        return len(tasks) / (time.monotonic() - started)

    def _waiting(self) -> int:
        with self._client.pipeline() as both:
            waiting, in_hand = both.llen(MESSAGES).hlen("unacked").execute()
        return int(waiting) + int(in_hand)

    @contextmanager
    def _standing_still(self) -> Iterator[None]:
        """Keep the worker from working meanwhile, so that it finds all of them at once."""
        self._worker.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._worker.signal(signal.SIGCONT)


def _envelope(number: int) -> Envelope:
    now = datetime.now(UTC)
    conversation = f"cid{number % CONVERSATIONS}"
    return Envelope(
        bot=f"{BOT}-storm",
        message_id=f"storm{number}",
        conversation_id=conversation,
        sender_id=f"sender of {conversation}",
        text=f"message {number}",
        received_at=now,
        created_at=now + timedelta(milliseconds=number),
    )


def _empty() -> TaskMessage:
    """Return the task that does nothing, as it would come by the same way."""
    return TaskMessage(str(uuid.uuid4()), MESSAGES, EMPTY, shown="{}", argument="_", value="{}")
