"""The pulse tells a blocked event loop from a clock that jumped, and neither from a quiet day."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from listener.watchdog import BEAT_S, Pulse


class Machine:
    """Clocks of a machine that does not only what it is asked to; each beat goes as listed."""

    def __init__(self, *beats: tuple[float, float]) -> None:
        self.beats = list(beats)
        self.seconds = 0.0
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, asked_s: float) -> None:
        if not self.beats:
            raise asyncio.CancelledError
        late_s, shift_s = self.beats.pop(0)
        self.seconds += asked_s + late_s
        self.now += timedelta(seconds=asked_s + late_s + shift_s)


@pytest.fixture
def pulses() -> list[Pulse]:
    """Those that were run."""
    return []


@pytest.fixture
def jumps(caplog, pulses):
    """Run a pulse through beats of (seconds late, seconds the wall clock goes further)."""
    caplog.set_level(logging.INFO)

    async def run(*beats: tuple[float, float]) -> list[str]:
        reasons: list[str] = []
        machine = Machine(*beats)
        pulse = Pulse(
            reasons.append,
            clock=lambda: machine.now,
            monotonic=lambda: machine.seconds,
            sleep=machine.sleep,
        )
        pulses.append(pulse)
        with pytest.raises(asyncio.CancelledError):
            await pulse.run()
        return reasons

    return run


async def test_a_quiet_day_has_no_jumps(jumps, caplog):
    assert await jumps((0, 0), (0.01, -0.01), (0.5, 0.2), (0, 0)) == []
    assert caplog.records == []


async def test_a_laptop_that_slept_is_noticed_at_its_first_beat(jumps):
    """The machine slept: the monotonic clock stood still, the time of day went on."""
    assert await jumps((0, 0), (0, 3600), (0, 0)) == ["the clock jumped by 3600 s"]


async def test_a_clock_set_backwards_is_a_jump(jumps):
    """How far DingTalk's clock is off was measured against the clock as it was."""
    assert await jumps((0, -90)) == ["the clock jumped by 90 s"]


async def test_a_process_that_was_stopped_is_a_jump(jumps):
    assert await jumps((45, 0)) == ["the clock jumped by 45 s"]


async def test_a_blocked_event_loop_is_said_and_is_no_jump(jumps, caplog):
    assert await jumps((3, 0), (0.9, 0)) == []

    [line] = caplog.records
    assert (line.action, line.lag_s, line.levelno) == ("loop_lag", 3.0, logging.WARNING)


async def test_the_longest_lag_of_the_last_minute_is_known_to_those_who_ask(jumps, pulses):
    await jumps((0.1, 0), (3, 0), (0.2, 0))
    assert pulses[-1].longest_lag_s == pytest.approx(3)

    await jumps((3, 0), *[(0.2, 0)] * 120)
    assert pulses[-1].longest_lag_s == pytest.approx(0.2)


async def test_by_its_last_beat_others_see_that_the_loop_stands_still(jumps, pulses):
    await jumps((0, 0), (0, 0))
    assert pulses[-1].beat_at == pytest.approx(2 * BEAT_S)
