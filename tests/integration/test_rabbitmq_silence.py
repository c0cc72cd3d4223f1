"""A RabbitMQ that lives and does not answer, as with a quorum queue that has no leader."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest

from contract import rabbitmq_broker
from contract.broker import Broker
from contract.rabbitmq_broker import NoAnswerError
from tests.integration.worker_place import place
from tests.listening import empty
from tests.rabbitmqctl import rabbitmqctl

LIMIT_S = 1.5


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_broker, "ANSWER_LIMIT_S", LIMIT_S)


@pytest.fixture
def queue() -> kombu.Queue:
    name = f"test-{uuid.uuid4().hex}"
    return kombu.Queue(name, durable=True, queue_arguments={"x-queue-type": "quorum"})


@contextmanager
def _silent(url: str, queue: str) -> Iterator[None]:
    """Have the queue answer nothing, as without a leader; RabbitMQ itself goes on."""
    process = f'whereis(list_to_atom("%2F_{queue}"))'
    rabbitmqctl(url, "eval", f"sys:suspend({process}).")
    try:
        yield
    finally:
        rabbitmqctl(url, "eval", f"sys:resume({process}).")


@pytest.mark.usefixtures("short_limit")
def test_a_queue_that_never_answers_is_given_up_though_heartbeats_come(rabbitmq_url, queue):
    broker = Broker.from_url(rabbitmq_url, Path())
    with broker.connection() as connection:
        queue(connection.default_channel).declare()
    # Connected in the silence only: making it may take longer than a heartbeat.
    with _silent(rabbitmq_url, queue.name), broker.connection(heartbeat=1) as connection:
        bound = queue(connection.default_channel)
        started = time.monotonic()
        with pytest.raises(NoAnswerError) as raised:
            bound.consume("tag", callback=lambda message: None)
        took_s = time.monotonic() - started
        connection.collect(socket_timeout=1)

    assert took_s >= LIMIT_S
    assert repr(queue.name) in str(raised.value)
    assert "basic.ConsumeOk" in str(raised.value)
    assert isinstance(raised.value, connection.recoverable_connection_errors)


@pytest.mark.usefixtures("short_limit")
def test_waiting_for_messages_has_no_limit(rabbitmq_url, queue):
    received: list[Any] = []
    broker = Broker.from_url(rabbitmq_url, Path())
    with broker.connection() as connection, broker.connection() as other:
        bound = queue(connection.default_channel)
        bound.declare()
        bound.consume("tag", callback=received.append, no_ack=True)
        publish = other.Producer().publish
        later = threading.Timer(LIMIT_S + 1, publish, ("hello",), {"routing_key": queue.name})
        later.start()
        connection.drain_events()
        later.join()
        bound.delete()

    assert [message.body for message in received] == ["hello"]


def test_a_time_limit_is_not_begun_anew_by_each_heartbeat(rabbitmq_url):
    """The listener's wait for confirms is one: it would last for ever."""
    with Broker.from_url(rabbitmq_url, Path()).connection(heartbeat=1) as connection:
        connection.connect()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=2)

    assert time.monotonic() - started >= 2


def test_a_worker_says_which_queue_is_silent_and_goes_on_when_it_answers(
    tmp_path, redis_url, rabbitmq_url
):
    empty(Broker.from_url(rabbitmq_url, tmp_path))
    with place(tmp_path, redis_url) as here:
        here.broker_url = rabbitmq_url
        here.gate.touch()
        with _silent(rabbitmq_url, "events"):
            worker = here.start("celery -A worker worker")
            worker.until_logged("broker_silent")
        worker.until_logged(" ready.")
        here.listener()
        here.simulator.until_answered(here.simulator.say("hello"))

    assert "for queue 'events', which may have lost its leader" in worker.log
    assert "guest:guest" not in worker.log
