"""A worker on RabbitMQ under a burst: its threads share one connection for events."""

import pytest

from tests.integration.worker_place import place
from tests.servers import wait_for

MESSAGES = 600


@pytest.fixture
def here(tmp_path, redis_url, rabbitmq_url):
    with place(tmp_path, redis_url) as somewhere:
        somewhere.broker_url = rabbitmq_url
        yield somewhere


def test_a_burst_on_rabbitmq_blocks_no_thread(here):
    """Events that waited for a publisher confirm stopped a worker until its heartbeats failed."""
    here.gate.touch()
    here.listener()
    worker = here.worker()

    for number in range(MESSAGES):
        here.simulator.say(f"message {number}", person=f"person {number % 60}")

    wait_for(lambda: len(here.simulator.accepted) >= MESSAGES, limit_s=60, what="all answers")
    assert len(here.simulator.accepted) == MESSAGES
    assert "onnection to broker lost" not in worker.log
