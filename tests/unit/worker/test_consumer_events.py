"""Events of tasks go to the broker together, and none is lost on the way."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport.virtual import QoS

from worker.celery import app
from worker.running.consumer import EVENTS_EVERY_S, Consumer
from worker.telling import events


class Later:
    """What a hub and its timer are asked for, done by the test."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.after: list[tuple[float, Callable[[], object]]] = []

    def call_soon(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def call_after(self, seconds: float, call: Callable[[], object]) -> None:
        self.after.append((seconds, call))


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def consumer(later) -> Any:
    """A consumer as far as events go, on a broker in memory."""
    made: Any = Consumer.__new__(Consumer)
    made.hub = made.timer = later
    made.event_dispatcher = app.events.Dispatcher(
        app.connection_for_write("memory://"),
        buffer_group=["task"],
        on_send_buffered=made.on_send_event_buffered,
    )
    made.sent = []
    made.event_dispatcher._publish = lambda event, producer, key, **_: made.sent.append(
        (key, event)
    )
    yield made
    made.event_dispatcher.close()


def test_events_of_many_tasks_are_one_message(consumer, later):
    for number in range(100):
        consumer.event_dispatcher.send("task-received", uuid=str(number))
        consumer.event_dispatcher.send("task-succeeded", uuid=str(number))
    assert len(later.soon) == 1
    later.soon.pop()()
    (due,) = later.after
    assert due[0] == EVENTS_EVERY_S
    assert consumer.sent == []

    due[1]()

    ((key, events),) = consumer.sent
    assert key == "task.multi"
    assert [event["uuid"] for event in events] == [str(n) for n in range(100) for _ in "rs"]


def test_those_that_come_later_are_sent_as_well(consumer, later):
    for number in range(2):
        consumer.event_dispatcher.send("task-received", uuid=str(number))
        later.soon.pop()()
        later.after.pop()[1]()

    assert [events[0]["uuid"] for _, events in consumer.sent] == ["0", "1"]


def test_those_that_come_until_there_is_another_connection_outlive_the_lost_one(
    consumer, monkeypatch
):
    consumer.event_dispatcher.send("task-received", uuid="1")
    monkeypatch.setattr(CeleryConsumer, "connect", lambda _: None)
    consumer.connect()
    following = app.events.Dispatcher(enabled=False)
    following.extend_buffer(consumer.event_dispatcher)

    ((events, key),) = following._outbound_buffer
    assert (key, [event["uuid"] for event in events]) == ("task.multi", ["1"])


def test_what_a_task_tells_itself_goes_along_in_its_place(consumer, later):
    events.begin(lambda: consumer.event_dispatcher)
    consumer.event_dispatcher.send("task-received", uuid="1")
    assert events.send("task-flagged", uuid="1", result="{}")
    consumer._flush_events()

    ((_, sent),) = consumer.sent
    assert [event["type"] for event in sent] == ["task-received", "task-flagged"]


def test_when_the_dispatcher_is_closed_somebody_else_has_to_tell(consumer):
    events.begin(lambda: consumer.event_dispatcher)
    consumer.event_dispatcher.disable()

    assert not events.send("task-flagged", uuid="1")


def test_no_more_is_taken_at_once_than_slots_are_free(consumer, monkeypatch):
    """Of tasks that an earlier connection brought, the channel of the new one knows nothing."""
    channel: Any = SimpleNamespace(do_restore=False)
    qos: Any = QoS(channel, prefetch_count=64)
    consumer.pool = SimpleNamespace(num_processes=64)
    monkeypatch.setattr(state, "reserved_requests", set(range(63)))
    assert qos.can_consume_max_estimate() == 64

    consumer._heed_tasks_of_before(qos)

    assert qos.can_consume_max_estimate() == 1
