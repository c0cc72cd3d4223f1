"""A message is done when the broker has it, and not before."""

import asyncio
import itertools
import logging
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from contract.broker import Broker
from contract.envelope import Envelope
from listener.enqueue import Enqueuer
from listener.spool import Spool
from listener.task_message import answer_task
from tests import servers
from tests.listening import empty, envelopes_on

_numbers = itertools.count()


def _task(number: int | None = None, text: str = "hello"):
    number = next(_numbers) if number is None else number
    return answer_task(
        Envelope(
            bot="ding1",
            message_id=f"msg{number}",
            text=text,
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )


@asynccontextmanager
async def _enqueuer(broker: Broker, folder: Path, **options):
    enqueuer = _new_enqueuer(broker, folder, **options)
    try:
        yield enqueuer
    finally:
        await enqueuer.stop(5)


def _new_enqueuer(broker: Broker, folder: Path, **options) -> Enqueuer:
    spool = Spool(folder / "spool", max_bytes=2**20)
    enqueuer = Enqueuer(broker, spool, clock=lambda: datetime.now(UTC), delays=[0.05], **options)
    enqueuer.start()
    return enqueuer


def _ids(broker: Broker) -> list[str]:
    return [envelope.message_id for envelope in envelopes_on(broker)]


async def test_what_was_enqueued_is_on_the_broker_in_order(each_broker, tmp_path):
    async with _enqueuer(each_broker, tmp_path, batch=7) as enqueuer:
        await asyncio.gather(*(enqueuer.accept(_task(n)) for n in range(50)))

        assert _ids(each_broker) == [f"msg{n}" for n in range(50)]


async def test_rabbitmq_confirms_nothing_for_a_queue_that_is_gone(rabbitmq_url, tmp_path):
    """Without the mandatory flag it would confirm, and drop the message."""
    broker = Broker.from_url(rabbitmq_url, tmp_path)
    async with _enqueuer(broker, tmp_path) as enqueuer:
        await enqueuer.accept(_task())
        with broker.connection() as connection:
            for queue in broker.queues():
                queue(connection.default_channel).delete()

        await asyncio.wait_for(enqueuer.accept(_task(77)), 20)

        assert _ids(broker) == ["msg77"]


async def test_a_broken_connection_to_rabbitmq_is_replaced_and_nothing_lost(rabbitmq_url, tmp_path):
    broker = empty(Broker.from_url(rabbitmq_url, tmp_path))
    async with _enqueuer(broker, tmp_path, batch=50) as enqueuer:
        await enqueuer.accept(_task(0))
        waiting = [enqueuer.accept(_task(n)) for n in range(1, 500)]
        await asyncio.sleep(0.02)
        enqueuer._publisher._connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)

        await asyncio.wait_for(asyncio.gather(*waiting), 30)

        assert set(_ids(broker)) == {f"msg{n}" for n in range(500)}


async def test_an_idle_connection_to_rabbitmq_is_kept_by_heartbeats(
    rabbitmq_url, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("listener.kombu_publisher.RabbitMQPublisher.heartbeat_s", 2)
    monkeypatch.setattr("listener.enqueue.IDLE_S", 0.3)
    broker = empty(Broker.from_url(rabbitmq_url, tmp_path))
    async with _enqueuer(broker, tmp_path) as enqueuer:
        await enqueuer.accept(_task(1))
        await asyncio.sleep(7)  # RabbitMQ cuts after two intervals of silence
        await enqueuer.accept(_task(2))

    assert "reconnecting" not in {getattr(r, "action", "") for r in caplog.records}


async def test_stopping_flushes_what_waits(each_broker, tmp_path):
    enqueuer = _new_enqueuer(each_broker, tmp_path)
    waiting = [enqueuer.accept(_task(n)) for n in range(300)]

    assert await enqueuer.stop(10) == 0

    await asyncio.gather(*waiting)
    assert len(_ids(each_broker)) == 300


async def test_a_password_in_the_brokers_address_is_not_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    url = f"redis://:hunter2@127.0.0.1:{servers.free_port()}/0"
    enqueuer = _new_enqueuer(Broker.from_url(url, tmp_path), tmp_path)
    await asyncio.to_thread(
        servers.wait_for,
        lambda: "reconnecting" in {getattr(r, "action", "") for r in caplog.records},
        what="a failed attempt",
    )
    await enqueuer.stop(0.1)

    assert "hunter2" not in str([vars(r) for r in caplog.records])
