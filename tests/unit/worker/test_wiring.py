"""How a process's parts are put together."""

import sqlite3

import pytest

from tests.servers import wait_for
from worker.settings import WorkerSettings
from worker.store import Claimed
from worker.store.sql import SqlStore
from worker.wiring import build


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def runtime(tmp_path, url, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", url)
    monkeypatch.setenv("LEASE_S", "1")
    runtime = build(WorkerSettings.load(), publish=print, tell=print)
    yield runtime
    runtime.stop()


def test_a_lease_is_renewed_while_all_connections_of_the_work_are_taken(tmp_path, url, runtime):
    other = SqlStore(url)
    other.prepare()
    claimed = runtime.store.claim("task1", owner="me", lease_s=1, envelope={"message_id": "msg1"})
    assert isinstance(claimed, Claimed)
    renewed_until: set[tuple[int]] = set()

    def is_renewed_thrice() -> bool:
        with sqlite3.connect(tmp_path / "store.db") as reader:
            renewed_until.update(reader.execute("SELECT lease_until FROM dingtalk_messages"))
        reader.close()
        return len(renewed_until) > 3

    work = runtime.store._store._database.engine  # whose only connection is taken
    with work.connect(), runtime.heartbeat.holding(claimed.lease):
        wait_for(is_renewed_thrice, what="the lease to be renewed three times")
    work.dispose()
    runtime.heartbeat._store.close()
    other.close()
