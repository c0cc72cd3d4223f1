"""What the doctor says of listeners whose reports seem to come from another time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.checks import Check, Status
from contract.report import ListenerStatus
from contract.turn import Order
from worker.doctor.processes import Notes, check_processes
from worker.patience import PatientStore
from worker.reports import record
from worker.settings import WorkerSettings
from worker.store import DueMessage
from worker.store.sql import SqlStore

NOW = datetime.now(UTC)


@pytest.fixture
def listeners(tmp_path):
    """Look at a listener whose report came when it was so old by its time, and by ours."""
    inner = SqlStore(f"sqlite:///{tmp_path}/store.db")
    inner.prepare()
    published: list[DueMessage] = []

    def look(age_s: float, **facts: Any) -> Check:
        status = ListenerStatus(
            listener="host:1",
            release="1",
            bot="ding1",
            started_at=NOW,
            sent_at=NOW,
            **{"connections_up": 1, "last_frame_age_s": 3.0} | facts,
        )
        now = NOW + timedelta(seconds=age_s)
        record(PatientStore(inner, published.append), status, Order.NONE, now=now)
        checks = check_processes(WorkerSettings.load(), Notes.read(inner), lambda: 0)
        return next(check for check in checks if check.name == "listeners")

    yield look
    inner.close()


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (130.0, "its clock is 130 s behind the workers', or its reports wait so long in the queue"),
        (-3600.0, "its clock is 3600 s ahead of the workers'"),
    ],
)
def test_a_clock_that_is_off_is_named(listeners, age_s, words):
    check = listeners(age_s)

    assert check.status is Status.WARN
    assert check.reason == (
        f"1 running, 1 of 1 connections to DingTalk up; last frame 3 s ago; host:1: {words}"
    )
    assert "NTP" in check.fix


def test_a_clock_that_is_off_by_dingtalks_too_has_no_other_cause(listeners):
    check = listeners(130.0, clock_offset_s=129.0)

    assert check.reason.endswith("host:1: its clock is 130 s behind the workers'")


def test_a_clock_that_is_off_hides_nothing_that_is_worse(listeners):
    check = listeners(130.0, connections_up=0, trouble="refused")

    assert check.status is Status.FAIL
    assert "(refused)" in check.reason
    assert "130 s behind" in check.reason
    assert "see credentials above" in check.fix


def test_a_report_that_came_in_time_says_nothing_of_clocks(listeners):
    assert listeners(20.0).status is Status.OK
