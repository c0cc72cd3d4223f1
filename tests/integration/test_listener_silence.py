"""The listener does not go deaf: a dead connection is noticed, and a healthy one is left alone."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest

from dingwire.simulator import Simulator, SimulatorThread
from listener.service import serve
from tests.integration.stream_place import running_stream
from tests.listening import listener_settings, running_listener
from tests.servers import wait_for

LIMIT_S = 1.0


@pytest.fixture
async def simulator():
    """A DingTalk that says nothing by itself after its first ping."""
    async with Simulator(ping_first_s=0.02, ping_every_s=3600) as simulator:
        yield simulator


@pytest.fixture
def said(caplog):
    """Return the log lines of an action about the connection to DingTalk."""
    caplog.set_level(logging.INFO)
    return lambda action: [
        r
        for r in caplog.records
        if getattr(r, "action", "") == action and getattr(r, "peer", "dingtalk") == "dingtalk"
    ]


async def test_a_socket_that_is_open_and_dead_is_replaced_within_the_limit(
    simulator, tmp_path, said
):
    """As after a NAT timeout: nothing comes, no pong either, and nobody says so."""
    async with running_listener(simulator, tmp_path, silence_limit_s=LIMIT_S):
        await simulator.set_connection("half_open")
        since = time.monotonic()
        await simulator.until(lambda s: len(s.connections) >= 2)
        took_s = time.monotonic() - since

    assert said("reconnecting")[0].reason == "silent for 1 s"
    assert took_s > LIMIT_S / 2


async def test_pongs_alone_are_life(simulator, tmp_path, said):
    """On a quiet night nothing comes but the answers to our pings."""
    async with running_listener(simulator, tmp_path, silence_limit_s=0.3):
        await asyncio.sleep(2)  # what must not happen takes its time

        assert said("reconnecting") == []
        await simulator.switch(answer_ws_pings=False)
        await simulator.until(lambda s: len(s.connections) >= 2)


async def test_frames_alone_are_life(tmp_path, said):
    async with (
        Simulator(ping_first_s=0.02, ping_every_s=0.1, answer_ws_pings=False) as simulator,
        running_listener(simulator, tmp_path, silence_limit_s=0.6),
    ):
        await asyncio.sleep(2)  # what must not happen takes its time

        assert said("reconnecting") == []


async def test_a_silence_of_our_own_making_is_not_dingtalks(tmp_path, said):
    """What came while the event loop was blocked is read, on the connection where it came."""
    with SimulatorThread(ping_first_s=0.02, ping_every_s=3600) as simulator:
        async with running_stream(simulator.simulator, silence_limit_s=LIMIT_S):
            await asyncio.sleep(LIMIT_S * 1.5)
            simulator.say("while nobody looks")
            time.sleep(LIMIT_S * 4)  # noqa: ASYNC251, the fault itself
            await asyncio.to_thread(simulator.until, lambda s: s.message_acks, what="the ack")

            assert said("reconnecting") == []
            assert len(simulator.connections) == 1


async def test_a_blocked_event_loop_is_logged(simulator, tmp_path, said):
    async with running_listener(simulator, tmp_path):
        time.sleep(2)  # noqa: ASYNC251, the fault itself
        await asyncio.to_thread(wait_for, lambda: said("loop_lag"), what="a log line")

    assert said("loop_lag")[0].lag_s > 1


class Clock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


async def test_after_a_laptops_sleep_every_connection_is_new(simulator, tmp_path, said):
    clock, stop = Clock(), asyncio.Event()
    settings = listener_settings(simulator, tmp_path, connections=2)
    running = asyncio.create_task(serve(settings, stop, clock=clock, delays=[30]))
    try:
        await simulator.until_connected(2)
        old = [c.connection_id for c in simulator.live_connections]
        clock.ahead = timedelta(hours=8)
        await simulator.until(lambda s: len(s.connections) >= 4)
        await simulator.until(
            lambda s: not {c.connection_id for c in s.live_connections} & set(old),
            what="the old connections to be closed",
        )
    finally:
        stop.set()
        await running

    assert {r.reason for r in said("reconnecting")} == {"the clock jumped by 28800 s"}
    offsets = [round(r.clock_offset_s) for r in said("connected")]
    assert offsets[:2] == [0, 0]
    assert offsets[2:] == pytest.approx([-28800, -28800], abs=5)


async def test_woken_up_it_does_not_sleep_on(simulator, said):
    """The machine slept while the next attempt to connect was a minute off."""
    async with running_stream(simulator, delays=[60]) as stream:
        await simulator.drop()
        await asyncio.to_thread(
            wait_for, lambda: said("reconnecting"), what="the wait for the next attempt"
        )
        stream.renew("the clock jumped by 3600 s")
        await simulator.until(lambda s: len(s.connections) >= 2, what="a new attempt")
