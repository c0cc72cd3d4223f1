"""When the listener reports itself; what it says is tested with a real one."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from contract.report import ListenerStatus
from listener.status import Reporter
from listener.tally import Cause, Tally

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Vitals:
    """A listener with one connection."""

    def __init__(self) -> None:
        self.tally, self.connections_up = Tally(), 1
        self.enqueuer = SimpleNamespace(is_broker_up=True)
        self.is_broken = False

    def status(self, *, stopped: bool = False) -> ListenerStatus:
        if self.is_broken:
            raise ValueError("what was written")
        return ListenerStatus(
            listener="host:1", release="1", bot="ding1", started_at=NOW, sent_at=NOW,
            stopped=stopped,
        )  # fmt: skip


class Minute:
    """Time that passes by sleeping, and what happens ``at`` its seconds."""

    def __init__(self) -> None:
        self.vitals, self.told = Vitals(), list[tuple[float, Any]]()
        self.now, self.at = 0.0, dict[float, Any]()

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.at.pop(self.now, lambda: None)()
        if self.now > 60:
            raise asyncio.CancelledError

    async def times(self, jitter: float = 0.5) -> list[float]:
        """Run for a minute; return when it reported."""
        vitals: Any = self.vitals
        reporter = Reporter(
            vitals,
            lambda task: self.told.append((self.now, task)),
            jitter=lambda: jitter,
            monotonic=lambda: self.now,
            sleep=self._sleep,
        )
        with pytest.raises(asyncio.CancelledError):
            await reporter.run()
        return [when for when, _ in self.told]


@pytest.fixture
def minute():
    return Minute()


async def test_it_reports_at_once_and_every_15_seconds(minute):
    assert await minute.times() == [0, 15, 30, 45, 60]


async def test_listeners_that_were_started_together_part(minute):
    assert await minute.times(jitter=0.0) == [0, 14, 28, 42, 56]


async def test_what_comes_or_goes_is_told_within_a_second_and_counts_as_a_report(minute):
    minute.at[3] = lambda: setattr(minute.vitals, "connections_up", 0)
    minute.at[5] = lambda: setattr(minute.vitals, "connections_up", 1)
    minute.at[7] = lambda: setattr(minute.vitals.enqueuer, "is_broker_up", False)
    assert await minute.times() == [0, 3, 5, 7, 22, 37, 52]


async def test_a_connection_that_came_back_between_two_looks_is_told_as_well(minute):
    minute.at[3] = lambda: minute.vitals.tally.reconnecting(Cause.CLOSED)
    assert (await minute.times())[:3] == [0, 3, 18]


async def test_an_error_in_a_report_ends_nothing_and_shows_nothing(minute, caplog):
    minute.vitals.is_broken = True
    minute.at[20] = lambda: setattr(minute.vitals, "is_broken", False)

    assert await minute.times() == [30, 45, 60]
    assert {r.action for r in caplog.records} == {"status_failed"}
    assert "written" not in caplog.text
