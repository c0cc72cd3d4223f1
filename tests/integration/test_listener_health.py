"""A platform's probe and Prometheus see how the listener does."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from contract.broker import Broker
from dingwire.simulator import Simulator
from tests.integration.listener_place import MovableBroker, listener_process, said
from tests.listening import empty, running_listener, until_away
from tests.processes import KILLED_AFTER_S
from tests.rabbitmqctl import rabbitmqctl
from tests.servers import free_port, wait_for

LIMIT_S = 1.0


@pytest.fixture
async def simulator():
    async with Simulator(ping_first_s=0.02) as simulator:
        yield simulator


class Health:
    """A listener's port as a probe sees it."""

    def __init__(self) -> None:
        self.port = free_port()

    def get(self, path: str, host: str = "127.0.0.1", **headers: str) -> requests.Response:
        return requests.get(f"http://{host}:{self.port}{path}", headers=headers, timeout=60)

    async def seen(self, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
        answer = await asyncio.to_thread(self.get, path)
        return answer.status_code, answer.json()

    async def until(self, status: int, *reasons: str) -> None:
        def is_so() -> bool:
            try:
                answer = self.get("/healthz")
            except requests.ConnectionError:  # it starts
                return False
            return answer.status_code == status and set(answer.json()["reasons"]) == set(reasons)

        await asyncio.to_thread(wait_for, is_so, what=f"{status} {reasons}")

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Every sample by its name and the value of its label, if it has one."""
        return {
            (sample.name.removeprefix("dingtalk_listener_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
        }

    async def until_metrics(self, condition: Callable[[dict[tuple[str, ...], float]], object]):
        await asyncio.to_thread(wait_for, lambda: condition(self.metrics()), what="the metrics")
        return await asyncio.to_thread(self.metrics)


@pytest.fixture
def health() -> Health:
    return Health()


async def test_it_is_not_well_before_the_first_connection_and_well_with_it(
    simulator, tmp_path, health
):
    await simulator.switch(registration="unavailable")
    async with running_listener(simulator, tmp_path, connected=False, health_port=health.port):
        await health.until(503, "not_connected")
        assert (await health.seen())[1]["connections_up"] == 0
        assert (await health.seen("/livez"))[0] == 200, "a restart would not help"

        await simulator.switch(registration="ok")
        await health.until(200)
        await health.until_metrics(lambda it: it["broker_up",] and it["frames_total", "ping"])
        body = (await health.seen())[1]

    assert (body["status"], body["connections_up"], body["broker_up"]) == ("ok", 1, True)
    assert 0 <= body["last_frame_age_s"] < 10
    with pytest.raises(requests.ConnectionError):
        health.get("/healthz")


async def test_a_connection_that_breaks_and_one_that_is_silent_are_seen(
    simulator, tmp_path, health
):
    async with running_listener(
        simulator, tmp_path, health_port=health.port, silence_limit_s=LIMIT_S
    ):
        await health.until(200)
        await simulator.switch(registration="unavailable")
        await simulator.set_connection("half_open")
        await health.until(503, "silent")
        await health.until_metrics(lambda it: it["reconnects_total", "unreachable"] >= 1)
        await simulator.switch(registration="ok")
        await health.until(200)

        await simulator.switch(registration="unavailable")
        await simulator.drop()
        await health.until(503, "not_connected")
        await simulator.switch(registration="ok")
        await health.until(200)
        found = await asyncio.to_thread(health.metrics)

    assert found["reconnects_total", "silence"] == 1
    assert found["reconnects_total", "closed"] >= 1
    assert found["reconnects_total", "refused"] == 0


async def test_a_move_to_a_new_connection_is_no_outage(simulator, tmp_path, health):
    """DingTalk recycles connections every now and then; the old one is heard meanwhile."""
    async with running_listener(simulator, tmp_path, health_port=health.port):
        await health.until(200)
        await simulator.switch(registration_delay_s=0.5, disconnect_close_s=1)
        await simulator.disconnect()
        seen = []
        while len(simulator.connections) < 2 or simulator.connections[0].state != "closed":
            seen.append((await health.seen())[0])

        found = await asyncio.to_thread(health.metrics)
    assert len(seen) > 20
    assert set(seen) == {200}
    assert found["reconnects_total", "disconnect_frame"] == 1
    assert found["frames_total", "disconnect"] == 1


async def test_one_connection_of_two_is_enough(simulator, tmp_path, health):
    async with running_listener(simulator, tmp_path, health_port=health.port, connections=2):
        await simulator.until_connected(2)
        await simulator.switch(registration="auth_failed")
        await simulator.drop(simulator.live_connections[0].connection_id)
        found = await health.until_metrics(lambda it: it["connections_up",] == 1)
        assert (await health.seen())[0] == 200
        assert found["connections_wanted",] == 2

        await simulator.drop()
        await health.until(503, "not_connected")
        await health.until_metrics(lambda it: it["reconnects_total", "refused"] >= 2)


async def test_a_broker_that_is_away_is_no_illness_until_the_disk_is_used_up(
    simulator, tmp_path, health, caplog
):
    movable = MovableBroker("redis", tmp_path)
    with contextlib.closing(movable):
        async with running_listener(
            simulator, tmp_path, broker_url=movable.url, health_port=health.port, spool_max_mb=1
        ):
            await said(simulator, 1)
            await simulator.until(lambda s: s.message_acks)
            await health.until(200)
            await asyncio.to_thread(movable.stop)
            await said(simulator, 10, start=1)
            await until_away(caplog)
            found = await health.until_metrics(lambda it: it["spool_messages",] == 10)
            assert (await health.seen())[0] == 200
            assert found["broker_up",] == 0
            assert 0 < found["spool_bytes",] < 0.2 * found["spool_limit_bytes",]

            await said(simulator, 60, start=11, text="x" * 20_000)
            await health.until(503, "spool_full")
            found = await health.until_metrics(lambda it: it["spool_dropped_total",] > 0)
            assert found["messages_total", "spooled"] > 10
            assert found["healthy",] == 0

            await asyncio.to_thread(movable.start)
            await health.until(200)
            found = await health.until_metrics(lambda it: it["spool_messages",] == 0)
            assert (found["broker_up",], found["spool_bytes",]) == (1, 0)
            assert found["healthy",] == 1


@contextlib.asynccontextmanager
async def _taking_nothing(url: str) -> AsyncIterator[None]:
    """Have RabbitMQ think that its memory is full: it lets in, and blocks whoever publishes."""
    limit = "set_vm_memory_high_watermark"
    await asyncio.to_thread(rabbitmqctl, url, limit, "absolute", "1MB")
    try:
        yield
    finally:
        await asyncio.to_thread(rabbitmqctl, url, limit, "0.6")


async def test_a_broker_that_lets_in_and_takes_nothing_is_not_up(
    simulator, tmp_path, health, rabbitmq_url, monkeypatch
):
    """Each connection opens at once, and each attempt to publish over it ends in vain."""
    monkeypatch.setattr("listener.kombu_publisher.CONFIRM_LIMIT_S", 1.5)
    monkeypatch.setattr("listener.enqueue.SLOW_S", 1.0)
    async with running_listener(
        simulator, tmp_path, broker_url=rabbitmq_url, health_port=health.port, spool_max_mb=1
    ):
        await said(simulator, 1)
        await simulator.until(lambda s: s.message_acks)
        await health.until_metrics(lambda it: it["broker_up",])
        async with _taking_nothing(rabbitmq_url):
            await said(simulator, 10, start=1)
            await health.until_metrics(lambda it: not it["broker_up",])
            assert (await health.seen())[0] == 200, "the disk stands in for it"
            await said(simulator, 60, start=11, text="x" * 20_000)
            await health.until(503, "spool_full")
            end, seen = time.monotonic() + 6, set()
            while time.monotonic() < end:
                status, body = await health.seen()
                seen.add((status, body["broker_up"]))
            assert seen == {(503, False)}, "whatever comes and goes while it tries again"
        await health.until(200)
        await health.until_metrics(lambda it: it["broker_up",] and not it["spool_messages",])
    empty(Broker.from_url(rabbitmq_url, Path()))


async def test_a_spool_that_is_full_is_an_illness_also_while_the_broker_takes_something(
    simulator, tmp_path, health, monkeypatch
):
    """One that takes less than what comes."""
    async with running_listener(simulator, tmp_path, health_port=health.port):
        await health.until_metrics(lambda it: it["broker_up",])
        monkeypatch.setattr("listener.spool.Spool.filled", 0.95)
        await health.until(503, "spool_full")
        assert (await health.seen())[1]["broker_up"] is True


async def test_neither_broker_nor_disk_is_an_illness(simulator, tmp_path, health, caplog):
    (tmp_path / "spool").write_text("in the way")
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with running_listener(simulator, tmp_path, broker_url=url, health_port=health.port):
        await said(simulator, 3)
        await health.until(503, "spool_failed")
        assert (await asyncio.to_thread(health.metrics))["waiting_messages",] == 3


async def test_an_event_loop_that_hangs_is_told_all_the_same(
    simulator, tmp_path, health, monkeypatch
):
    monkeypatch.setattr("listener.health.HANG_LIMIT_S", 0.5)
    async with running_listener(simulator, tmp_path, health_port=health.port):
        await health.until(200)
        probing = asyncio.create_task(health.until(503, "event_loop_hangs"))
        alive = asyncio.create_task(
            asyncio.to_thread(
                wait_for, lambda: health.get("/livez").status_code == 503, what="livez"
            )
        )
        await asyncio.sleep(0.1)
        time.sleep(3)  # noqa: ASYNC251, the fault itself
        await probing
        await alive
        await health.until(200)
        found = await asyncio.to_thread(health.metrics)

    assert 2 < found["event_loop_lag_seconds",] < 60


async def test_the_metrics_follow_what_comes_in(simulator, tmp_path, health):
    async with running_listener(
        simulator, tmp_path, health_port=health.port, allowed_users=("manager1",)
    ):
        await health.until(200)
        await simulator.say("hello", senderStaffId="manager1", msgId="msg1")
        await simulator.say("hello", senderStaffId="manager1", msgId="msg1")
        await simulator.say("hello", senderStaffId="manager1", msgId="msg2")
        await simulator.say("hello", senderStaffId="stranger", msgId="msg3")
        await simulator.push("*", "{}", kind="EVENT")
        await simulator.raw("no frame")
        found = await health.until_metrics(
            lambda it: it["ack_seconds_count",] == 4 and it["frames_total", "malformed"] == 1
        )

    assert found["messages_total", "enqueued"] == 2
    assert found["messages_total", "duplicate"] == 1
    assert found["messages_total", "denied"] == 1
    assert found["messages_total", "spooled"] == 0
    assert found["frames_total", "bot"] == 4
    assert found["frames_total", "event"] == 1
    assert found["frames_total", "ping"] >= 1
    assert found["ack_seconds_count",] == 4
    assert found["ack_seconds_bucket", "+Inf"] == 4
    assert 0 < found["ack_seconds_sum",] < 60
    assert 0 <= found["last_frame_age_seconds",] < 60
    assert abs(found["clock_offset_seconds",]) < 5
    assert found["broker_up",] == 1
    assert found["process_resident_memory_bytes",] > 10**6


async def test_two_listeners_of_one_process_count_apart(simulator, tmp_path, health):
    other = Health()
    async with (
        running_listener(simulator, tmp_path, health_port=health.port),
        running_listener(simulator, tmp_path, health_port=other.port, connected=False),
    ):
        await simulator.until_connected(2)
        await said(simulator, 10)
        await simulator.until(lambda s: len(s.message_acks) == 10)
        both = [await asyncio.to_thread(each.metrics) for each in (health, other)]

    assert sum(found["messages_total", "enqueued"] for found in both) == 10


async def test_the_port_is_open_on_all_interfaces_and_knows_three_paths(
    simulator, tmp_path, health
):
    hosts = ["127.0.0.1", *(["[::1]"] if socket.has_dualstack_ipv6() else [])]
    async with running_listener(simulator, tmp_path, health_port=health.port):
        for host in hosts:
            assert (await asyncio.to_thread(health.get, "/livez", host)).status_code == 200
        openmetrics = await asyncio.to_thread(
            lambda: health.get("/metrics", Accept="application/openmetrics-text")
        )
        head = await asyncio.to_thread(
            requests.head, f"http://127.0.0.1:{health.port}/metrics", timeout=60
        )
        nothing = await asyncio.to_thread(health.get, "/")

    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert (head.status_code, head.content) == (200, b"")
    assert nothing.status_code == 404


async def test_a_probe_that_says_nothing_holds_up_nobody(simulator, tmp_path, health):
    async with running_listener(simulator, tmp_path, health_port=health.port):
        with contextlib.ExitStack() as silent:
            address = ("127.0.0.1", health.port)
            for _ in range(20):
                last = silent.enter_context(socket.create_connection(address, timeout=60))
            await health.until(200)
            assert await asyncio.to_thread(last.recv, 1) == b"", "shown the door in the end"
            stopping = time.monotonic()
    assert time.monotonic() - stopping < KILLED_AFTER_S / 2


async def test_a_port_that_is_taken_ends_it_before_it_connects(simulator, tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        async with listener_process(
            simulator, tmp_path, "embedded://", connections=0, HEALTH_PORT=str(port)
        ) as listener:
            assert await asyncio.wait_for(listener.process.wait(), 60) == 1

    assert (tmp_path / "log0").read_text() == (
        f"cannot open HEALTH_PORT {port}: Address already in use; name a port that is free\n"
    )
    assert simulator.registrations == []


async def test_it_ends_in_time_with_its_port_open_and_the_broker_away(
    simulator, tmp_path, health, caplog
):
    caplog.set_level(logging.INFO)
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with running_listener(simulator, tmp_path, broker_url=url, health_port=health.port):
        await said(simulator, 5)
        await until_away(caplog)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < KILLED_AFTER_S / 2
