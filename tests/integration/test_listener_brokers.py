"""The ack to DingTalk waits for the broker, whichever it is."""

import logging

import pytest

from contract.broker import Broker
from dingwire.simulator import Simulator
from tests import servers
from tests.listening import empty, envelopes_on, running_listener, until_waiting


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
async def test_what_was_acknowledged_is_on_the_broker(simulator, tmp_path, request, kind):
    broker = empty(Broker.from_url(request.getfixturevalue(f"{kind}_url"), tmp_path))
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        said = [(await simulator.say(f"hello {n}")).message_id for n in range(100)]
        await simulator.until(lambda s: len(s.message_acks) == 100)

        assert [e.message_id for e in envelopes_on(broker)] == said

    assert {ack.code for ack in simulator.message_acks} == {200}


async def test_without_a_broker_nothing_is_acknowledged_and_with_it_everything(
    simulator, tmp_path, caplog
):
    port = servers.free_port()
    broker = Broker.from_url(f"redis://127.0.0.1:{port}/0", tmp_path)
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        said = [(await simulator.say(f"hello {n}")).message_id for n in range(3)]
        await until_waiting(caplog, 3)
        assert simulator.message_acks == []

        with servers.redis(tmp_path, port):
            await simulator.until(lambda s: len(s.message_acks) == 3)

            assert [e.message_id for e in envelopes_on(broker)] == said


async def test_a_redelivery_waits_for_the_confirmation_of_the_first(simulator, tmp_path, caplog):
    """Acknowledging it sooner would promise what is not yet true."""
    port = servers.free_port()
    broker = Broker.from_url(f"redis://127.0.0.1:{port}/0", tmp_path)
    async with running_listener(simulator, tmp_path, broker_url=broker.url):
        await simulator.say("hello", msgId="msg1")
        await simulator.say("hello", msgId="msg1")
        # Frames are read in order: whoever has answered this one has seen the others.
        await simulator.push("*", "{}", kind="EVENT")
        await simulator.until(lambda s: any(ack.kind == "other" for ack in s.acks))
        await until_waiting(caplog, 1)
        assert simulator.message_acks == []

        with servers.redis(tmp_path, port):
            await simulator.until(lambda s: len(s.message_acks) == 2)

            assert len(envelopes_on(broker)) == 1


async def test_more_than_may_wait_is_refused_aloud(simulator, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("listener.enqueue.WAITING_LIMIT", 2)
    url = f"redis://127.0.0.1:{servers.free_port()}/0"
    async with running_listener(simulator, tmp_path, broker_url=url):
        for number in range(3):
            await simulator.say(f"hello {number}", msgId=f"msg{number}")
        await simulator.until(lambda s: s.message_acks)

    assert [(a.message_id, a.code) for a in simulator.message_acks] == [("msg2", 500)]
    refused = [r for r in caplog.records if getattr(r, "action", "") == "message_refused"]
    assert [r.message_id for r in refused] == ["msg2"]


async def test_a_refused_message_that_comes_again_is_no_duplicate(tmp_path, monkeypatch):
    monkeypatch.setattr("listener.enqueue.WAITING_LIMIT", 1)
    port = servers.free_port()
    broker = Broker.from_url(f"redis://127.0.0.1:{port}/0", tmp_path)
    async with (
        Simulator() as simulator,
        running_listener(simulator, tmp_path, broker_url=broker.url),
    ):
        await simulator.say("first", msgId="msg1")
        await simulator.say("second", msgId="msg2")
        await simulator.until(lambda s: s.message_acks)
        with servers.redis(tmp_path, port):
            await simulator.until(lambda s: len(s.message_acks) == 2)
            await simulator.say("second", msgId="msg2")
            await simulator.until(lambda s: len(s.message_acks) == 3)

            assert [e.text for e in envelopes_on(broker)] == ["first", "second"]
