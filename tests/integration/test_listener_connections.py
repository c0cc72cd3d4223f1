"""Several connections, in one process or in two, and ones that are replaced by plan."""

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from itertools import count, pairwise

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from contract.broker import Broker
from contract.routing import task_id
from dingwire.frames import ack
from dingwire.gateway import Registration
from dingwire.simulator import Simulator, payloads
from listener.connection import Stream
from listener.gate import Gate
from tests.integration.stream_place import running_stream
from tests.listening import envelopes_on, running_listener
from tests.processes import KILLED_AFTER_S
from tests.servers import wait_for

CLOSED_PROPERLY = 1000


@pytest.fixture
async def simulator():
    async with Simulator(ping_first_s=0.02) as simulator:
        yield simulator


async def _say(simulator: Simulator, count: int) -> list[str]:
    return [(await simulator.say(f"hello {number}")).message_id for number in range(count)]


async def _all_acked(simulator: Simulator, ids: list[str]) -> None:
    await simulator.until(
        lambda s: set(ids) <= {a.message_id for a in s.message_acks if a.code == 200},
        what="every ack",
    )


def _frame(message_id: str) -> str:
    return payloads.frame(
        kind="CALLBACK",
        topic=payloads.BOT_TOPIC,
        push_id=message_id,
        now_ms=0,
        data=f'{{"msgId": "{message_id}"}}',
        connection_id=None,
    )


def _enqueued(tmp_path) -> list[str]:
    return [e.message_id for e in envelopes_on(Broker.from_url("embedded://", tmp_path))]


async def test_so_many_connections_as_asked_for_share_the_messages(simulator, tmp_path):
    await simulator.switch(distribution="round_robin")
    async with running_listener(simulator, tmp_path, connections=3):
        await simulator.until_connected(3)
        ids = await _say(simulator, 30)
        await _all_acked(simulator, ids)

    assert len({a.connection_id for a in simulator.message_acks}) == 3
    assert Counter(_enqueued(tmp_path)) == Counter(ids)


async def test_connections_do_not_register_in_one_burst(simulator, tmp_path):
    async with running_listener(simulator, tmp_path, connections=4):
        await simulator.until_connected(4)

    at_ms = [r.at_ms for r in simulator.registrations]
    assert min(b - a for a, b in pairwise(at_ms)) >= 250


async def test_while_one_connection_is_away_the_other_hears_everything(simulator, tmp_path):
    async with running_listener(simulator, tmp_path, connections=2, delays=[30]):
        await simulator.until_connected(2)
        await simulator.drop(simulator.live_connections[0].connection_id)
        await simulator.until(lambda s: len(s.live_connections) == 1)
        ids = await _say(simulator, 20)
        await _all_acked(simulator, ids)

    assert simulator.lost == []
    assert Counter(_enqueued(tmp_path)) == Counter(ids)


async def test_each_connection_keeps_itself_alive(simulator, tmp_path):
    async with running_listener(simulator, tmp_path, connections=2):
        await simulator.until_connected(2)
        await simulator.drop()
        await simulator.until(lambda s: len(s.connections) >= 4)
        await simulator.until_connected(2)


async def test_what_comes_again_by_another_connection_is_enqueued_once(tmp_path):
    """DingTalk pushed to a connection that died, and asks another one after a while."""
    async with (
        Simulator(
            ping_first_s=0.02, redeliver_after_s=0.3, redeliver_acked=True, redeliver_times=3
        ) as simulator,
        running_listener(simulator, tmp_path, connections=2),
    ):
        await simulator.until_connected(2)
        ids = await _say(simulator, 20)
        await simulator.drop(simulator.live_connections[0].connection_id)
        ids += await _say(simulator, 20)
        await simulator.until(
            lambda s: all(len(m.pushes) == 4 for m in s.messages), what="redeliveries"
        )
        await _all_acked(simulator, ids)

    assert Counter(_enqueued(tmp_path)) == Counter(ids)


async def test_two_listeners_give_a_message_one_and_the_same_task(tmp_path):
    """They know nothing of each other; by the task's id the worker's claim sees that it is one."""
    async with (
        Simulator(ping_first_s=0.02, distribution="round_robin") as simulator,
        running_listener(simulator, tmp_path),
        running_listener(simulator, tmp_path, connected=False),
    ):
        await simulator.until_connected(2)
        for _ in range(2):
            await simulator.say("hello", msgId="msg1")
        await simulator.until(lambda s: len(s.message_acks) == 2)

    envelopes = envelopes_on(Broker.from_url("embedded://", tmp_path))
    assert len(envelopes) == 2, "each listener had it once"
    assert len({task_id(e.bot, e.message_id) for e in envelopes}) == 1


async def test_an_old_connection_is_closed_when_its_successor_is_up(simulator, caplog):
    """And not before: what is pushed to it meanwhile is read and acknowledged."""
    caplog.set_level(logging.INFO)
    await simulator.switch(distribution="round_robin", registration_delay_s=0.5)
    release = asyncio.Event()

    async def take(push, clock_offset):
        await release.wait()
        return ack(push.frame)

    async with running_stream(simulator, take, ttl_s=0.5):
        old = simulator.connections[0]
        first = await _say(simulator, 1)
        await simulator.until(lambda s: len(s.connections) == 2)
        both = await _say(simulator, 4)
        states = [c.state for c in simulator.connections[:2]]
        release.set()
        await _all_acked(simulator, first + both)
        await simulator.until(lambda s: old.state == "closed")

    assert states == ["open", "open"]
    assert old.close_code == CLOSED_PROPERLY
    assert simulator.lost == []
    pushed = Counter(p.connection_id for p in simulator.pushes if p.kind == "message")
    acked = Counter(a.connection_id for a in simulator.message_acks)
    assert acked == pushed
    assert acked[old.connection_id] >= 3
    assert "its own time" in next(r.reason for r in caplog.records if hasattr(r, "reason"))


async def test_recycling_goes_on_and_loses_nothing():
    """All that was sent on a connection before our goodbye arrived there is taken."""
    sent: list[str] = []
    taken: list[str] = []
    connections: list[ServerConnection] = []

    async def push_without_end(socket: ServerConnection) -> None:
        connections.append(socket)
        name = len(connections)
        with suppress(ConnectionClosed):
            for number in count():
                message_id = f"{name}-{number}"
                await socket.send(_frame(message_id))
                sent.append(message_id)
                await asyncio.sleep(0)

    async def take(push, clock_offset):
        taken.append(push.payload["msgId"])

    async with serve(push_without_end, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        gate = Gate(lambda: Registration(f"ws://127.0.0.1:{port}/connect", "ticket"))
        stream = Stream(gate, take, ttl_s=0.3, delays=[0.02])
        running = asyncio.create_task(stream.run())
        await asyncio.to_thread(wait_for, lambda: len(connections) >= 5, what="five connections")
        running.cancel()
        await stream.close(1)

    assert set(sent) <= set(taken)
    assert len(sent) > 1000


async def test_an_old_connection_stays_while_there_is_no_new_one(simulator):
    async with running_stream(simulator, ttl_s=0.2):
        await simulator.switch(registration="unavailable")
        await simulator.until(lambda s: len(s.registrations) >= 4)
        await _all_acked(simulator, await _say(simulator, 3))

    assert len(simulator.connections) == 1


async def test_connections_opened_together_do_not_go_together(simulator):
    async with (
        running_stream(simulator, ttl_s=4, jitter=lambda: 1.0),
        running_stream(simulator, ttl_s=4, jitter=lambda: 0.0),
    ):
        second = simulator.connections[1]
        await simulator.until(lambda s: len(s.connections) >= 3)
        await simulator.until(lambda s: second.state == "closed")

        assert simulator.connections[0].state == "open"


async def test_a_stop_closes_every_connection_in_time(tmp_path):
    """With messages in hand, and a broker that is away."""
    simulator = Simulator(ping_first_s=0.02, distribution="round_robin")
    async with simulator:
        listener = running_listener(
            simulator, tmp_path, connections=8, broker_url="redis://127.0.0.1:1/0"
        )
        async with listener:
            await simulator.until_connected(8)
            await _say(simulator, 16)
            started = time.monotonic()
        took_s = time.monotonic() - started
        await simulator.until(lambda s: not s.live_connections)

    assert took_s < KILLED_AFTER_S / 2
