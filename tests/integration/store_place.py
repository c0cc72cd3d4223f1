"""Where a test's store is: what test and child processes need to open the same one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.servers import wait_for
from worker.store import Claimed, LeaseLostError, Limit, Store
from worker.store.redis import RedisStore
from worker.store.sql import SqlStore

__all__ = [
    "FakeClock",
    "StorePlace",
    "claim_all",
    "come_in",
    "count_to",
    "drain_due",
    "envelope",
    "prepare",
    "wait_for_postgresql",
]


class FakeClock:
    """Epoch ms that pass only when told; near the real time, which Redis expires keys by."""

    def __init__(self) -> None:
        self.now_ms = int(time.time() * 1000)

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@dataclass(frozen=True)
class StorePlace:
    url: str
    prefix: str = ""

    def open(self, *, clock_ms: Callable[[], int] | None = None, **ttls: float) -> Store:
        if self.url.startswith("redis"):
            return RedisStore(self.url, prefix=self.prefix, clock_ms=clock_ms, **ttls)
        return SqlStore(self.url, clock_ms=clock_ms, **ttls)


def envelope(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "bot": "robot",
        "message_id": f"msg{number}",
        "conversation_id": "cid1",
        "text": "what was written",
    } | more


# What the child processes do.


def prepare(place: StorePlace) -> str:
    store = place.open()
    store.prepare()
    store.check()
    store.close()
    return "prepared"


def claim_all(place: StorePlace, owner: str, count: int) -> tuple[list[str], list[str]]:
    """Claim and finish as many of the messages as we get; return those, and what was lost."""
    store = place.open()
    won, lost = [], []
    for number in range(count):
        claim = store.claim(f"task{number}", owner=owner, lease_s=60, envelope=envelope(number))
        if isinstance(claim, Claimed):
            won.append(claim.lease.task_id)
            try:
                store.keep_answer(claim.lease, "answer")
                if number % 2:
                    store.finish(claim.lease, "SUCCESS")
            except LeaseLostError as error:
                lost.append(error.task_id)
    store.close()
    return won, lost


def drain_due(place: StorePlace, most: int) -> list[str]:
    """Take what is due until nothing is, or more was handed out than can be right."""
    store = place.open()
    taken: list[str] = []
    while len(taken) <= most and (batch := store.due(limit=7, hold_s=600)):
        taken += [message.task_id for message in batch]
    store.close()
    return taken


def come_in(place: StorePlace, limits: list[Limit], times: int) -> list[tuple[float, float]]:
    """Come in so often, as soon as we may; return between which times each of them was."""
    store = place.open()
    came_in: list[tuple[float, float]] = []
    while len(came_in) < times:
        before = time.time()
        wait_s = store.admit(limits)
        if not wait_s:
            came_in.append((before, time.time()))
        time.sleep(wait_s)
    store.close()
    return came_in


def count_to(place: StorePlace, times: int) -> list[int]:
    store = place.open()
    counts = [store.count_up("calls", "one", ttl_s=60) for _ in range(times)]
    store.close()
    return counts


def wait_for_postgresql(url: str) -> None:
    """Wait until it takes connections; it listens a little earlier."""

    def accepts() -> bool:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for(accepts, what="PostgreSQL to take connections")
