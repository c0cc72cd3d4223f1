"""Any Celery worker reads what the listener writes, and its events show no secret."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import ANSWER, MESSAGES, safe_kwargsrepr, task_id
from listener.publisher import Publisher
from listener.task_message import answer_task
from tests.listening import empty
from tests.servers import wait_for

ENVELOPE = Envelope(
    bot="ding1",
    message_id="msg1",
    text="what was written",
    session_webhook="https://oapi.dingtalk.com/robot/sendBySession?session=abc",
    received_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture(params=["embedded", "redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    """An empty broker of each kind."""
    url = "embedded://"
    if request.param != "embedded":
        url = request.getfixturevalue(f"{request.param}_url")
    return empty(Broker.from_url(url, tmp_path))


@pytest.fixture
def app(broker: Broker) -> Iterator[Celery]:
    """A Celery application that knows nothing of us but the broker."""
    level = logging.getLogger().level
    app = Celery("anybody", broker=broker.url, set_as_current=False)
    app.conf.update(
        broker_transport_options=broker.transport_options,
        task_queues=broker.queues(),
        task_default_queue=MESSAGES,
        task_create_missing_queues=False,
        worker_send_task_events=True,
        worker_detect_quorum_queues=True,
        accept_content=["json"],
    )
    yield app
    logging.getLogger().setLevel(level)  # the worker set it for the whole process


@pytest.fixture
def events(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """What Flower would see."""
    seen: list[dict[str, Any]] = []
    ready, stop = threading.Event(), threading.Event()

    def watch() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context() as (receiving, _, _):
                ready.set()
                while not stop.is_set():
                    try:
                        receiving.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert ready.wait(10)
    yield seen
    stop.set()
    watcher.join(10)


def test_a_celery_worker_runs_it_and_its_events_show_only_the_id(broker, app, events):
    ran: list[tuple[str, object]] = []

    @app.task(name=ANSWER, bind=True, shared=False)
    def answer(self, envelope):
        ran.append((self.request.id, envelope))

    publisher = Publisher(broker)
    publisher.open()
    publisher.publish([answer_task(ENVELOPE)], lambda task: None)
    publisher.close()
    with start_worker(app, pool="solo", perform_ping_check=False):
        wait_for(
            lambda: {"task-received", "task-succeeded"} <= {e["type"] for e in events},
            limit_s=20,
            what="the worker's events",
        )

    assert [(i, Envelope.from_wire(e)) for i, e in ran] == [(task_id("ding1", "msg1"), ENVELOPE)]
    received = next(e for e in events if e["type"] == "task-received")
    assert received["uuid"] == task_id("ding1", "msg1")
    assert received["name"] == ANSWER
    assert received["kwargs"] == safe_kwargsrepr("msg1")
    assert received["args"] == "()"
    assert "written" not in str(events)
    assert "session=" not in str(events)
