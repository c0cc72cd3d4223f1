"""How a process's parts are put together."""

import json
import sqlite3
from datetime import UTC, datetime

import pytest

from contract.pushes import OrgEvent
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


def test_a_handler_may_take_as_long_as_its_bot_says(tmp_path, url, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = "import asyncio\nasync def handle(event):\n    await asyncio.Event().wait()\n"
    (tmp_path / "handler_that_waits.py").write_text(code)
    bot = {"client_id": "ding1", "client_secret": "hunter2", "agent_timeout_s": 0.05}
    monkeypatch.setenv("STORE_URL", url)
    monkeypatch.setenv("EVENT_HANDLER", "handler_that_waits:handle")
    monkeypatch.setenv("DINGTALK_BOTS", json.dumps([bot]))
    runtime = build(WorkerSettings.load(), publish=print, tell=print)
    store = SqlStore(url)
    store.prepare()
    store.close()
    event = OrgEvent(
        bot="ding1", client_id="ding1", event_id="e1", received_at=datetime(2026, 1, 1, tzinfo=UTC)
    )

    outcome = runtime.pushes.work(OrgEvent, "task1", event.to_wire())

    assert outcome.detail == "the handler did not return within 0.05 s"
    runtime.stop()
