"""A group is told of missed replies: once each, not too often, and nothing is lost."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dingwire.robot import RobotError
from tests.integration.store_place import FakeClock, StorePlace, envelope
from worker.store import Claimed, Reason, Store
from worker.telling.alerts import Alerts


class RecordingRobot:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.fails_with: RobotError | None = None

    def post(self, text: str) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.said.append(text)


class Place:
    """Two workers on one store, whose time passes when told."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self._place = StorePlace(f"sqlite:///{folder}/store.db")
        self.stores = [self._open(), self._open()]
        self.stores[0].prepare()
        self.robot = RecordingRobot()
        self.workers = [
            Alerts(
                store,
                self.robot,
                clock=lambda: datetime.fromtimestamp(self.clock.now_ms / 1000, UTC),
            )
            for store in self.stores
        ]
        self._number = 0

    def _open(self) -> Store:
        return self._place.open(clock_ms=self.clock, missed_ttl_s=7 * 86_400)

    def miss(self, *reasons: Reason) -> None:
        for reason in reasons:
            self._number += 1
            data = envelope(self._number, text="private words", sender_nick="Alice Private")
            store = self.stores[0]
            claim = store.claim(f"task{self._number}", owner="me", lease_s=60, envelope=data)
            assert isinstance(claim, Claimed)
            store.miss(claim.lease, state="FLAGGED", reason=reason, errcode=None, detail="")

    def rounds(self, *, seconds: float = 0.0) -> None:
        """Let every worker make its round, every ten seconds for so long."""
        for alerts in self.workers:
            alerts.tell_of_missed_replies()
        while seconds > 0:
            self.clock.advance(10)
            seconds -= 10
            for alerts in self.workers:
                alerts.tell_of_missed_replies()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    yield here
    for store in here.stores:
        store.close()


def test_new_missed_replies_are_told_by_reason_with_what_to_do(place):
    place.rounds()
    place.miss(Reason.AGENT_FAILED, Reason.EXPIRED_IN_QUEUE)
    place.clock.advance(100)
    place.miss(Reason.EXPIRED_IN_QUEUE)
    place.rounds()

    (text,) = place.robot.said
    assert text.splitlines()[0].endswith("Missed replies: 3")
    assert "expired_in_queue: 2\nagent_failed: 1" in text
    assert "oldest: 100 s ago" in text
    assert "celery -A worker late list" in text


def test_nothing_private_is_told(place):
    place.rounds()
    place.miss(Reason.AGENT_FAILED)
    place.rounds()

    assert "private" not in "".join(place.robot.said).lower()


def test_a_reply_is_told_once_however_many_workers_look_and_how_long(place):
    place.rounds()
    place.miss(Reason.AGENT_FAILED)

    place.rounds(seconds=300)

    assert len(place.robot.said) == 1


def test_the_group_hears_of_it_once_a_minute_at_most(place):
    place.rounds(seconds=120)
    place.miss(Reason.AGENT_FAILED)
    place.rounds()
    place.miss(Reason.NO_ROUTE, Reason.NO_ROUTE)
    place.rounds(seconds=50)
    assert len(place.robot.said) == 1

    place.rounds(seconds=20)

    assert "no_route: 2" in place.robot.said[1]
    assert "agent_failed" not in place.robot.said[1]


def test_a_reply_that_is_missed_again_after_a_rerun_is_news(place):
    place.rounds(seconds=120)
    place.miss(Reason.AGENT_FAILED)
    place.rounds(seconds=120)
    assert len(place.robot.said) == 1
    store = place.stores[0]
    assert store.rerun("task1", hold_s=15) is not None
    claim = store.claim("task1", owner="me", lease_s=60, envelope=None)
    assert isinstance(claim, Claimed)
    store.miss(claim.lease, state="FAILURE", reason=Reason.AGENT_TIMEOUT, errcode=None, detail="")

    place.rounds(seconds=300)

    assert len(place.robot.said) == 2
    assert "Missed replies: 1\nagent_timeout: 1" in place.robot.said[1]


def test_what_the_robot_did_not_take_is_told_a_minute_later(place, caplog):
    place.rounds(seconds=120)
    place.miss(Reason.AGENT_FAILED)
    place.robot.fails_with = RobotError("'sign not match'", 310000)
    with caplog.at_level(logging.INFO):
        place.rounds(seconds=50)
    place.robot.fails_with = None
    place.miss(Reason.NO_ROUTE)

    place.rounds(seconds=60)

    (failed,) = [r for r in caplog.records if r.action == "alert_failed"]
    assert failed.errcode == 310000
    (text,) = place.robot.said
    assert "Missed replies: 2" in text


def test_what_was_missed_before_there_were_alerts_is_no_news(place):
    place.miss(Reason.AGENT_FAILED)

    place.rounds(seconds=120)

    assert place.robot.said == []


def test_what_is_missed_after_quiet_months_is_told_alone(place):
    """The store forgets everything in time, so what was told is said to it again."""
    place.rounds()
    place.miss(Reason.AGENT_FAILED)
    place.rounds()
    for _ in range(2):
        place.clock.advance(30 * 86_400)
        place.rounds()
    place.clock.advance(31 * 86_400)
    place.miss(Reason.NO_ROUTE)

    place.rounds()

    assert len(place.robot.said) == 2
    assert "Missed replies: 1" in place.robot.said[1]


def test_what_an_operator_has_dealt_with_before_the_alert_is_not_told(place):
    place.rounds(seconds=120)
    place.miss(Reason.AGENT_FAILED)
    place.stores[0].discard("task1")

    place.rounds()

    assert place.robot.said == []


def test_a_worker_that_slept_between_looking_and_telling_tells_nothing_twice(place):
    """Its look is old when the store lets it speak."""
    place.rounds(seconds=120)
    place.miss(Reason.AGENT_FAILED)
    first, second = place.workers
    asked = place.stores[1].is_first

    def sleeps(kind, key, *, within_s):
        first.tell_of_missed_replies()
        place.clock.advance(61)
        return asked(kind, key, within_s=within_s)

    place.stores[1].is_first = sleeps
    second.tell_of_missed_replies()

    assert len(place.robot.said) == 1
