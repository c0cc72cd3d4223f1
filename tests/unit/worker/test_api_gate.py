"""API calls of all workers keep to so many a second, and so many a month."""

import logging
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dingwire.errors import OpenApiRefusedError, OpenApiThrottledError
from dingwire.robot import RobotError
from tests.unit.worker.shared_parts import AwayStore, Shared, opened
from tests.unit.worker.test_alerts import RecordingRobot
from worker.sending.api_gate import PACED, ApiGate
from worker.sending.budget import USED_UP, ApiBudget, ApiBudgetUsedUpError, calls_made
from worker.telling.budget_alert import BudgetAlert

CARDS, SENDS = "/v1.0/card/streaming", "/v1.0/robot/groupMessages/send"
NOVEMBER = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def shared(tmp_path) -> Iterator[Shared]:
    with opened(tmp_path) as shared:
        yield shared


def gate(shared: Shared, *, client_id="ding1", calls_per_s=20, **more: Any) -> ApiGate:
    more = {"budget": None, "sleep": shared.sleep} | more
    return ApiGate(shared.store, client_id=client_id, calls_per_s=calls_per_s, **more)


def budget(shared: Shared, calls: int, *, client_id="ding1", now=lambda: NOVEMBER) -> ApiBudget:
    return ApiBudget(shared.store, client_id=client_id, calls=calls, clock=now)


def test_workers_share_the_calls_of_a_second(shared):
    one, other = gate(shared), gate(shared)

    for number in range(45):
        (one if number % 2 else other).admit(CARDS)

    assert shared.slept == [1, 1]


def test_each_api_and_each_bot_has_its_own(shared):
    for client_id in ("ding1", "ding2"):
        for api in (CARDS, SENDS):
            for _ in range(20):
                gate(shared, client_id=client_id).admit(api)

    assert shared.slept == []


def test_after_a_throttle_nobody_calls_this_api(shared):
    one, other = gate(shared), gate(shared)
    one.hold_back(CARDS, 60)

    with pytest.raises(OpenApiThrottledError) as caught:
        other.admit(CARDS)
    other.admit(SENDS)

    assert (caught.value.code, caught.value.retry_after_s) == (PACED, 60)
    assert caught.value.retryable
    shared.clock.advance(60)
    other.admit(CARDS)


def test_a_second_of_throttling_is_slept_through(shared):
    one = gate(shared)
    one.hold_back(CARDS, 1)

    one.admit(CARDS)

    assert shared.slept == [1]


def test_who_would_have_to_sleep_for_long_is_put_off(shared):
    crowded = gate(shared, calls_per_s=1, sleep=lambda _: None)
    crowded.admit(CARDS)

    with pytest.raises(OpenApiThrottledError):
        crowded.admit(CARDS)


def test_a_store_that_is_away_stops_no_call():
    away = AwayStore()
    spends = ApiBudget(away, client_id="ding1", calls=1, clock=lambda: NOVEMBER)
    gate = ApiGate(away, client_id="ding1", calls_per_s=1, budget=spends)

    for _ in range(3):
        gate.admit(CARDS)
        gate.hold_back(CARDS, 60)


# The month's budget.


def test_workers_spend_of_one_budget(shared):
    one, other = gate(shared, budget=budget(shared, 3)), gate(shared, budget=budget(shared, 3))
    for each in (one, other, one):
        each.admit(CARDS)

    for each in (one, other):
        for _ in range(2):
            with pytest.raises(ApiBudgetUsedUpError, match="all 3 calls of 2026-11 are made"):
                each.admit(SENDS)
    assert calls_made(shared.store, "ding1", NOVEMBER) == 3


def test_a_used_up_budget_is_no_reason_to_try_again():
    error = ApiBudgetUsedUpError(5000, "2026-11")

    assert isinstance(error, OpenApiRefusedError)
    assert not error.retryable
    assert str(error) == "API_BUDGET is used up: all 5000 calls of 2026-11 are made"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_nobody_waits_for_a_call_that_will_not_be_made(shared):
    """A reply would be put off for a picture that it will not have."""
    spends = gate(shared, budget=budget(shared, 1))
    spends.admit(SENDS)
    with pytest.raises(ApiBudgetUsedUpError):
        spends.admit(SENDS)
    gate(shared).hold_back(SENDS, 60)

    with pytest.raises(ApiBudgetUsedUpError):
        spends.admit(SENDS)


def test_each_bot_has_its_own_budget(shared):
    budget(shared, 1).spend()

    budget(shared, 1, client_id="ding2").spend()


def test_a_new_month_in_china_is_a_new_budget(shared):
    now = datetime(2026, 11, 30, 15, 59, tzinfo=UTC)
    spends = budget(shared, 1, now=lambda: now)
    spends.spend()
    with pytest.raises(ApiBudgetUsedUpError):
        spends.spend()

    now += timedelta(minutes=1)
    spends.spend()

    assert calls_made(shared.store, "ding1", now) == 1


def test_what_dingtalk_throttled_is_not_spent(shared):
    spends = gate(shared, budget=budget(shared, 1))
    spends.admit(CARDS)
    spends.hold_back(CARDS, 1)

    spends.admit(CARDS)

    assert calls_made(shared.store, "ding1", NOVEMBER) == 1


def test_the_operator_is_told_once_a_month_and_bot(shared, caplog):
    caplog.set_level(logging.INFO)
    for client_id in ("ding1", "ding2"):
        for _ in range(3):
            with pytest.raises(ApiBudgetUsedUpError):
                budget(shared, 0, client_id=client_id).spend()

    told = [vars(record) for record in caplog.records]
    assert [(each["action"], each["client_id"]) for each in told] == [
        (USED_UP, "ding1"),
        (USED_UP, "ding2"),
    ]
    assert (told[0]["calls"], told[0]["month"]) == (0, "2026-11")


def test_a_group_is_told_once_by_one_worker(shared):
    robot = RecordingRobot()
    workers = [BudgetAlert(shared.store, robot) for _ in range(2)]

    def rounds() -> None:
        for _ in range(20):
            for each in workers:
                each.tell_of_used_up_budgets()
            shared.clock.advance(10)

    rounds()
    assert robot.said == []
    with pytest.raises(ApiBudgetUsedUpError):
        budget(shared, 0).spend()
    robot.fails_with = RobotError("no", None)
    rounds()
    robot.fails_with = None
    rounds()

    (said,) = robot.said
    assert "ding1" in said
    assert "API_BUDGET" in said
