"""What was acknowledged while the broker was away outlives the listener, however it ends."""

import asyncio
import contextlib
import resource
import signal
from pathlib import Path

import psutil
import pytest

from contract.broker import Broker
from contract.report import Report, read_report
from contract.routing import EVENTS
from dingwire.simulator import Simulator
from tests.integration.listener_place import (
    ListenerProcess,
    MovableBroker,
    listener_process,
    said,
)
from tests.listening import envelopes_on
from tests.processes import KILLED_AFTER_S
from tests.servers import free_port


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
def movable(tmp_path):
    """A Redis that is away."""
    with contextlib.closing(MovableBroker("redis", tmp_path)) as movable:
        movable.stop()
        yield movable


def _ids(broker: Broker) -> list[str]:
    return [envelope.message_id for envelope in envelopes_on(broker)]


def _spools(folder: Path) -> list[Path]:
    return list((folder / "data" / "spool").iterdir())


async def _until_drained(listener: ListenerProcess, count: int) -> None:
    await listener.until(
        lambda it: len(it.logged("message_enqueued")) == count, f"{count} to be enqueued"
    )


async def _until_acked(simulator: Simulator, count: int) -> None:
    await simulator.until(lambda s: len(s.message_acks) == count, what=f"{count} acks")


async def test_killed_while_it_spools_it_has_lost_nothing_that_it_acknowledged(
    simulator, movable, tmp_path
):
    async def talk() -> None:
        for number in range(5000):
            await said(simulator, 1, start=number)
            await asyncio.sleep(0.001)

    async with listener_process(simulator, tmp_path, movable.url) as listener:
        talking = asyncio.create_task(talk())
        await simulator.until(lambda s: len(s.message_acks) > 300)
        await listener.end(signal.SIGKILL)
        talking.cancel()
    acked = [ack.message_id for ack in simulator.message_acks]
    assert len(_spools(tmp_path)) == 1

    async with listener_process(simulator, tmp_path, movable.url) as listener:
        await asyncio.to_thread(movable.start)
        await listener.until(lambda it: not _spools_with_messages(tmp_path), "the spool to drain")
        found = _ids(movable.broker)
        await listener.end(signal.SIGTERM)

    # What was written when the listener died may be there as well: it had no time to say so.
    assert found[: len(acked)] == acked
    assert len(found) == len(set(found))
    assert _spools(tmp_path) == []


def _spools_with_messages(folder: Path) -> bool:
    """The dead listener's goes when it is empty; the living one's stays."""
    return len(_spools(folder)) > 1


async def test_told_to_stop_it_acknowledges_everything_and_the_next_one_sends_it(
    simulator, movable, tmp_path
):
    async with listener_process(simulator, tmp_path, movable.url) as listener:
        await said(simulator, 200)
        took_s = await listener.end(signal.SIGTERM)

        assert listener.process.returncode == 0
        assert took_s < KILLED_AFTER_S / 2
        assert listener.logged("spool_left")[0]["messages"] == 200
        assert listener.logged("messages_unconfirmed") == []
    assert {ack.code for ack in simulator.message_acks} == {200}
    assert len(simulator.message_acks) == 200

    movable.start()
    async with listener_process(simulator, tmp_path, movable.url) as listener:
        await _until_drained(listener, 200)
        assert listener.logged("spool_adopted")[0]["messages"] == 200
        await listener.end(signal.SIGTERM)
    assert _ids(movable.broker) == [f"msg{n}" for n in range(200)]
    assert _spools(tmp_path) == []


async def test_two_listeners_in_one_folder_and_the_living_one_sends_what_the_dead_one_left(
    simulator, movable, tmp_path
):
    async with (
        listener_process(simulator, tmp_path, movable.url) as first,
        listener_process(simulator, tmp_path, movable.url, connections=2) as second,
    ):
        await said(simulator, 100)
        await _until_acked(simulator, 100)
        left = len(first.logged("message_spooled"))
        assert 0 < left < 100, "both have some"
        assert len(_spools(tmp_path)) == 2
        await first.end(signal.SIGKILL)

        movable.start()
        await _until_drained(second, 100)

        assert [e["messages"] for e in second.logged("spool_adopted")] == [left]
        found = _ids(movable.broker)
        assert sorted(found) == sorted(f"msg{n}" for n in range(100))
        assert len(_spools(tmp_path)) == 1


async def test_a_full_spool_has_its_oldest_reported_and_keeps_the_rest(
    simulator, movable, tmp_path
):
    async with listener_process(simulator, tmp_path, movable.url, SPOOL_MAX_MB="1") as listener:
        said_ids = await said(simulator, 150, text="x" * 10_000)
        await _until_acked(simulator, 150)
        await asyncio.to_thread(movable.start)
        await listener.until(lambda it: it.logged("loss_reported"), "the report")
        await listener.until(
            lambda it: any(e["message_id"] == "msg149" for e in it.logged("message_enqueued")),
            "the last one",
        )
        await listener.end(signal.SIGTERM)
        full = listener.logged("spool_full")

    lost = [m.message_id for report in _reports(movable.broker) for m in report.messages]
    assert lost
    assert lost == said_ids[: len(lost)]
    assert _ids(movable.broker) == said_ids[len(lost) :]
    assert sum(entry["dropped"] for entry in full) == len(lost)
    assert {entry["level"] for entry in full} == {"ERROR"}


def _reports(broker: Broker) -> list[Report]:
    found = []
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == EVENTS)(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append(read_report(message.payload[1]["report"]))
    return [report for report in found if isinstance(report, Report)]


def _small_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


async def test_a_full_disk_is_said_and_nothing_is_acknowledged_that_is_not_kept(
    simulator, movable, tmp_path
):
    async with listener_process(simulator, tmp_path, movable.url, before=_small_disk) as listener:
        everything = await said(simulator, 200, text="x" * 20_000)
        await listener.until(lambda it: it.logged("spool_failed"), "the error")
        await simulator.push("*", "{}", kind="EVENT")
        await simulator.until(lambda s: any(ack.kind == "other" for ack in s.acks))
        acked = {ack.message_id for ack in simulator.message_acks}
        spooled = {entry["message_id"] for entry in listener.logged("message_spooled")}
        assert acked == spooled
        assert len(acked) < 200

        await asyncio.to_thread(movable.start)
        await _until_acked(simulator, 200)
        await _until_drained(listener, 200)
        await listener.end(signal.SIGTERM)

    assert {ack.code for ack in simulator.message_acks} == {200}
    assert set(_ids(movable.broker)) == set(everything)
    assert {entry["level"] for entry in listener.logged("spool_failed")} == {"ERROR"}


async def test_with_neither_broker_nor_disk_it_says_that_messages_are_lost(simulator, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "spool").write_text("in the way")
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with listener_process(simulator, tmp_path, url) as listener:
        await said(simulator, 3)
        await listener.until(
            lambda it: any(e["waiting"] == 3 for e in it.logged("spool_failed")), "the error"
        )
        took_s = await listener.end(signal.SIGTERM)

        assert listener.process.returncode == 0
        assert took_s < KILLED_AFTER_S / 2
        assert listener.logged("messages_unconfirmed")[0]["unconfirmed"] == 3
    assert simulator.message_acks == []


async def test_its_memory_is_bounded_however_much_comes_while_the_broker_is_away(
    simulator, movable, tmp_path
):
    async with listener_process(simulator, tmp_path, movable.url, LOG_LEVEL="ERROR") as listener:
        await said(simulator, 3000, text="x" * 1000)
        await _until_acked(simulator, 3000)
        before = psutil.Process(listener.pid).memory_info().rss
        await said(simulator, 9000, start=3000, text="x" * 1000)
        await simulator.until(lambda s: len(s.message_acks) == 12_000, 200)
        after = psutil.Process(listener.pid).memory_info().rss

    assert {ack.code for ack in simulator.message_acks} == {200}
    assert after - before < 60 * 2**20
