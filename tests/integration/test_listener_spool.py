"""With the broker away messages are acknowledged all the same, and nothing is lost or doubled."""

import asyncio
import contextlib
import logging
import time

import pytest
import redis

from contract.broker import Broker
from dingwire.simulator import Simulator
from tests.integration.listener_place import MovableBroker, said
from tests.listening import empty, envelopes_on, running_listener, until_away
from tests.servers import wait_for


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def movable(request, tmp_path):
    with contextlib.closing(MovableBroker(request.param, tmp_path)) as movable:
        yield movable


@pytest.fixture
def patience(monkeypatch):
    """Set how long a message waits for a broker; no broker that is there is too slow for 60 s."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr("listener.spooling.PATIENCE_S", seconds)

    set_to(60)
    return set_to


@pytest.fixture
def actions(caplog):
    """Return the message ids logged with an action, in order."""
    caplog.set_level(logging.INFO)

    def of(action: str) -> list[str]:
        fields = [vars(record) for record in list(caplog.records)]
        return [f["message_id"] for f in fields if f.get("action") == action]

    return of


async def _until_enqueued(actions, count: int) -> None:
    await asyncio.to_thread(
        wait_for,
        lambda: len(actions("message_enqueued")) == count,
        what=f"{count} messages to be enqueued",
    )


async def test_what_was_spooled_reaches_the_broker_in_order_and_once(
    simulator, movable, tmp_path, actions, caplog, patience
):
    async with running_listener(simulator, tmp_path, broker_url=movable.url):
        everything = await said(simulator, 5)
        await _until_enqueued(actions, 5)
        patience(1)
        await asyncio.to_thread(movable.stop)
        everything += await said(simulator, 40, start=5)
        await simulator.until(lambda s: len(s.message_acks) == 45)
        await until_away(caplog)
        everything += await said(simulator, 5, start=45)
        await simulator.until(lambda s: len(s.message_acks) == 50)
        assert actions("message_spooled") == everything[5:]

        await asyncio.to_thread(movable.start)
        await _until_enqueued(actions, 50)
        patience(60)
        everything += await said(simulator, 1, start=50)
        await _until_enqueued(actions, 51)

        found = envelopes_on(movable.broker)
        assert [e.message_id for e in found] == everything
        assert [e.previous_message_id for e in found] == [None, *everything[:-1]]
        assert [e.message_id for e in found if e.spooled_at] == everything[5:-1]
        for envelope in found:
            assert envelope.enqueued_at is not None
            spooled_at = envelope.spooled_at or envelope.received_at
            assert envelope.received_at <= spooled_at <= envelope.enqueued_at
        assert len(actions("message_spooled")) == 45, "the last one went straight to the broker"
    assert {ack.code for ack in simulator.message_acks} == {200}
    assert list((tmp_path / "spool").iterdir()) == []


async def test_while_the_spool_is_drained_what_comes_goes_behind_it(
    simulator, tmp_path, actions, caplog
):
    movable = MovableBroker("redis", tmp_path)
    with contextlib.closing(movable):
        async with running_listener(simulator, tmp_path, broker_url=movable.url):
            await asyncio.to_thread(movable.stop)
            everything = await said(simulator, 1)
            await until_away(caplog)
            everything += await said(simulator, 1500, start=1)
            await simulator.until(lambda s: len(s.message_acks) == 1501)
            starting = asyncio.create_task(asyncio.to_thread(movable.start))
            number = 1501
            while not starting.done() or len(actions("message_enqueued")) < 1501:
                everything += await said(simulator, 1, start=number)
                number += 1
                await asyncio.sleep(0.001)
            await _until_enqueued(actions, len(everything))

            assert [e.message_id for e in envelopes_on(movable.broker)] == everything


def _pause(url: str, pause_ms: int) -> None:
    with redis.Redis.from_url(url) as client:
        client.client_pause(pause_ms, all=False)  # writes, as nothing could end it else


def _go_on(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.client_unpause()


async def test_a_hiccup_does_not_spool(simulator, tmp_path, redis_url, actions, patience):
    broker = empty(Broker.from_url(redis_url, tmp_path))
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        await said(simulator, 1)
        await _until_enqueued(actions, 1)
        _pause(redis_url, 400)
        await said(simulator, 20, start=1)
        await simulator.until(lambda s: len(s.message_acks) == 21)

    assert actions("message_spooled") == []


async def test_a_broker_that_is_too_slow_to_confirm_keeps_no_ack_waiting(
    simulator, tmp_path, redis_url, actions, patience
):
    """What was on its way meanwhile arrives once: its copy on the disk goes."""
    broker = empty(Broker.from_url(redis_url, tmp_path))
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        everything = await said(simulator, 1)
        await _until_enqueued(actions, 1)
        patience(1)
        _pause(redis_url, 60_000)
        started = time.monotonic()
        everything += await said(simulator, 20, start=1)
        await simulator.until(lambda s: len(s.message_acks) == 21)
        took_s = time.monotonic() - started
        everything += await said(simulator, 20, start=21)
        await simulator.until(lambda s: len(s.message_acks) == 41)
        assert len(actions("message_spooled")) == 40
        _go_on(redis_url)
        found: list[str] = []
        end = time.monotonic() + 30
        while len(found) < 41 and time.monotonic() < end:
            found += [e.message_id for e in await asyncio.to_thread(envelopes_on, broker)]

    found += [e.message_id for e in envelopes_on(broker)]
    assert took_s > 0.8
    assert found == everything


async def test_too_many_for_the_memory_go_to_the_disk_although_the_broker_is_there(
    simulator, tmp_path, redis_url, actions, monkeypatch, patience
):
    monkeypatch.setattr("listener.spooling.IN_MEMORY", 10)
    broker = empty(Broker.from_url(redis_url, tmp_path))
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        await said(simulator, 1)
        await _until_enqueued(actions, 1)
        _pause(redis_url, 60_000)
        await said(simulator, 100, start=1)
        await simulator.until(lambda s: len(s.message_acks) > 50)

        assert len(actions("message_spooled")) > 50
        _go_on(redis_url)
        await simulator.until(lambda s: len(s.message_acks) == 101)


async def test_a_redelivery_waits_for_the_disk_as_the_first_does(simulator, tmp_path, actions):
    movable = MovableBroker("redis", tmp_path)
    with contextlib.closing(movable):
        async with running_listener(simulator, tmp_path, broker_url=movable.url):
            await asyncio.to_thread(movable.stop)
            for _ in range(3):
                await simulator.say("hello", msgId="msg1")
            await simulator.until(lambda s: len(s.message_acks) == 3)
            await asyncio.to_thread(movable.start)
            await _until_enqueued(actions, 1)

            assert [e.message_id for e in envelopes_on(movable.broker)] == ["msg1"]
    assert actions("message_spooled") == ["msg1"]
