"""One SQLite file, several stores in one process, and other processes that come and go."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.integration.store_place import StorePlace, envelope
from worker.store import Claim, Held


def _claim(place: StorePlace) -> Claim:
    store = place.open()
    try:
        return store.claim("task", owner="other", lease_s=60, envelope=None)
    finally:
        store.close()


def _claim_elsewhere(place: StorePlace) -> Claim:
    """Claim from a process that opens the store, claims and leaves, as a command does."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_claim, place).result(30)


def test_a_process_that_leaves_takes_nothing_of_what_others_write(tmp_path: Path):
    """A worker has several stores open on the file while an operator's command comes and goes."""
    place = StorePlace(f"sqlite:///{tmp_path}/store.db")
    first, second = place.open(), place.open()
    first.prepare()
    second.prepare()
    _claim_elsewhere(place)

    first.claim("task", owner="worker", lease_s=60, envelope=envelope())

    assert _claim_elsewhere(place) == Held("worker")
    first.close()
    second.close()
