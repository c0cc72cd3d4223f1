from pathlib import Path

import pytest

from contract.broker import Broker
from contract.routing import QUEUES
from contract.settings import EMBEDDED_BROKER

DATA_DIR = Path("/srv/bot")


def test_the_embedded_broker_lives_in_the_data_folder():
    broker = Broker.from_url(EMBEDDED_BROKER, DATA_DIR)
    assert broker.is_embedded
    assert broker.transport_options["folder"] == "/srv/bot/broker"


@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "amqps"])
def test_a_brokers_password_is_in_no_text_of_it(scheme):
    broker = Broker.from_url(f"{scheme}://user:hunter2@queue.example:1234/0", DATA_DIR)
    assert broker.name == f"{scheme} at queue.example:1234"
    assert "hunter2" not in repr(broker)
    assert "hunter2" in broker.url
    assert not broker.is_embedded


def test_nobody_waits_for_a_confirm_after_each_publish():
    """The threads of a worker would, on the one connection of its events, and block each other."""
    options = Broker.from_url("amqp://queue.example", DATA_DIR).transport_options

    assert "confirm_publish" not in options


@pytest.mark.parametrize("url", ["amqp://queue.example", "redis://queue.example", EMBEDDED_BROKER])
def test_both_sides_declare_the_same_durable_queues(url):
    first, second = (Broker.from_url(url, DATA_DIR).queues() for _ in range(2))
    assert [queue.name for queue in first] == list(QUEUES)
    assert first == second
    assert all(queue.durable and queue.exchange.durable for queue in first)


def test_connections_do_not_share_their_options():
    broker = Broker.from_url(EMBEDDED_BROKER, DATA_DIR)
    first, second = broker.connection(), broker.connection()
    assert first.transport_options == second.transport_options
    assert first.transport_options is not second.transport_options
