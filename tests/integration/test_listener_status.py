"""The listener reports itself to the workers, and no message pays for it."""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

import pytest
from cryptography.fernet import Fernet

from contract.broker import Broker
from contract.report import ListenerStatus, read_report
from contract.routing import EVENTS
from contract.sealing import Sealer
from dingwire.simulator import Simulator
from listener.publisher import FLEETING_LIMIT, new_publisher
from listener.status import EVERY_S
from listener.task_message import TaskMessage, status_task
from tests.integration.listener_place import MovableBroker, said
from tests.listening import empty, envelopes_on, running_listener, until_away
from tests.servers import wait_for


@pytest.fixture
async def simulator():
    async with Simulator(ping_first_s=0.02) as simulator:
        yield simulator


def _taken(broker: Broker) -> list[Any]:
    """Take everything off the queue of events, oldest first."""
    found = []
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == EVENTS)(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            found.append(message)
    return found


def _statuses(broker: Broker) -> list[ListenerStatus]:
    reports = [read_report(message.payload[1]["report"]) for message in _taken(broker)]
    return [report for report in reports if isinstance(report, ListenerStatus)]


async def _until_told(broker: Broker, connections_up: int) -> ListenerStatus:
    found: list[ListenerStatus] = []

    def is_told() -> bool:
        found.extend(_statuses(broker))
        return bool(found) and found[-1].connections_up == connections_up

    what = f"a status with {connections_up} connections"
    await asyncio.to_thread(wait_for, is_told, what=what)
    return found[-1]


async def test_workers_are_told_how_it_does_and_that_it_stops(simulator, tmp_path, each_broker):
    key = Fernet.generate_key().decode()
    async with running_listener(
        simulator,
        tmp_path,
        broker_url=each_broker.url,
        allowed_users=("manager1", "manager2"),
        connections=2,
        envelope_key=key,
    ):
        first = await _until_told(each_broker, 2)
        await simulator.say("xyzzy", senderStaffId="manager1", group="team")
        await simulator.say("xyzzy", senderStaffId="manager1")
        for sender in ("stranger", "stranger", "other"):
            await simulator.say("xyzzy", senderStaffId=sender)
        await simulator.until(lambda s: len(s.message_acks) == 5)
    left = _taken(each_broker)

    last = read_report(left[-1].payload[1]["report"])
    assert isinstance(last, ListenerStatus)
    assert (first.stopped, last.stopped) == (False, True)
    assert (first.listener, first.started_at) == (last.listener, last.started_at)
    assert first.started_at <= first.sent_at < last.sent_at
    assert (last.connections_wanted, last.connections_up) == (2, 0)
    assert (last.bot, last.sealed) == ("ding1", True)
    assert last.key == Sealer.from_setting(key).fingerprint
    assert (last.allowed_users, last.allows_everybody) == (2, False)
    assert (last.messages, last.group_messages) == (2, 1)
    assert (last.denied, last.denied_senders) == (3, 2)
    assert last.frames >= 7
    for age_s in (last.last_frame_age_s, last.last_message_age_s, last.last_denied_age_s):
        assert age_s is not None
        assert 0 <= age_s < 60
    assert abs(last.clock_offset_s or 0) < 5
    shown = json.dumps([message.payload for message in left] + [m.headers for m in left])
    for private in ("xyzzy", "s3cret", "sendBySession", "stranger", key, *simulator.tickets_seen):
        assert private not in shown


async def test_a_connection_that_goes_and_comes_is_told_at_once(simulator, tmp_path):
    """And not when the next status would be due."""
    broker = Broker.from_url("embedded://", tmp_path)
    async with running_listener(simulator, tmp_path):
        await _until_told(broker, 1)
        await simulator.switch(registration="auth_failed")
        since = time.monotonic()
        await simulator.drop()
        lost = await _until_told(broker, 0)
        await simulator.switch(registration="ok")
        back = await _until_told(broker, 1)
        took_s = time.monotonic() - since

    assert took_s < EVERY_S, "it did not wait for its turn"
    assert lost.trouble in ("closed", "refused")
    assert lost.reconnects >= 1
    assert back.trouble is None


async def test_with_the_broker_away_a_status_is_dropped_and_never_spooled(
    simulator, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    movable = MovableBroker("redis", tmp_path)
    with contextlib.closing(movable):
        async with running_listener(
            simulator, tmp_path, broker_url=movable.url, silence_limit_s=60
        ):
            await _until_told(movable.broker, 1)
            await asyncio.to_thread(movable.stop)
            everything = await said(simulator, 1)
            await until_away(caplog)
            for _ in range(3):  # each is news to be told
                await simulator.drop()
                await asyncio.sleep(1.2)
                await simulator.until_connected()
            await asyncio.to_thread(movable.start)
            back = await _until_told(movable.broker, 1)
            rest = _statuses(movable.broker)
            assert [e.message_id for e in envelopes_on(movable.broker)] == everything
        assert (back.reconnects, len(rest)) == (3, 0), "one of now, and none from before"
        drained = [r for r in caplog.records if getattr(r, "action", "") == "loss_reported"]
        assert drained == []


async def test_a_queue_that_is_gone_costs_a_status_and_no_message(
    simulator, tmp_path, rabbitmq_url, caplog
):
    caplog.set_level(logging.INFO)
    broker = empty(Broker.from_url(rabbitmq_url, tmp_path))
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        await _until_told(broker, 1)
        with broker.connection() as connection:
            next(q for q in broker.queues() if q.name == EVENTS)(connection).delete()
        await simulator.drop()
        await asyncio.sleep(1.5)  # the status that cannot be told
        await simulator.until_connected()
        everything = await said(simulator, 3)
        await simulator.until(lambda s: len(s.message_acks) == 3)

    assert [e.message_id for e in envelopes_on(broker)] == everything
    actions = [(vars(r).get("action"), vars(r).get("peer")) for r in caplog.records]
    assert ("reconnecting", "broker") not in actions
    assert ("message_spooled", None) not in actions


def _status(number: int) -> TaskMessage:
    when = {"started_at": "2026-01-01T00:00Z", "sent_at": "2026-01-01T00:00Z"}
    return status_task(
        ListenerStatus.model_validate(
            {"listener": f"host:{number}", "release": "1", "bot": "ding1"} | when
        )
    )


def test_where_no_worker_takes_them_statuses_do_not_pile_up(each_broker):
    """A worker that is given queues by -Q may leave this one to nobody, for months."""
    publisher = new_publisher(each_broker)
    publisher.open()
    for number in range(FLEETING_LIMIT + 5):
        publisher.publish_fleeting(_status(number))
    publisher.close()

    left = _taken(each_broker)
    if each_broker.url.startswith("amqp"):
        assert {message.properties["expiration"] for message in left} == {"120000"}
    else:
        assert len(left) == FLEETING_LIMIT
