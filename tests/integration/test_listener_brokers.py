"""The ack to DingTalk waits for the broker, whichever it is."""

import pytest

from contract.broker import Broker
from dingwire.simulator import Simulator
from tests.listening import empty, envelopes_on, running_listener


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
