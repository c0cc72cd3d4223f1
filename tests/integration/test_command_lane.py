"""The lane of commands on a real broker of each kind: one leaves it once its work is done."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import kombu
import pytest
import redis

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import COMMAND, COMMANDS, task_id
from listener.publisher import new_publisher
from listener.task_message import TaskMessage, answer_task, command_task
from tests.servers import wait_for
from worker.outcome import FinalState, Outcome
from worker.running.lane import CommandLane
from worker.running.queues import read_queues
from worker.store import Reason, StoreError, open_store

DONE = Outcome(FinalState.SUCCESS)


@dataclass
class Recording:
    """Works on commands as it is told, and notes what becomes of them."""

    outcomes: list[Any] = field(default_factory=list)
    gate: Event = field(default_factory=Event)
    began: list[str] = field(default_factory=list)
    passed_on: list[str] = field(default_factory=list)
    told: list[tuple[str, str, str | None]] = field(default_factory=list)
    is_stopped: bool = False

    def work(self, task_id: str, data: dict[str, Any]) -> Outcome | None:
        self.began.append(data["message_id"])
        assert self.gate.wait(120)
        outcome = self.outcomes.pop(0) if self.outcomes else DONE
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def stop(self) -> None:
        self.is_stopped = True

    def pass_on(self, id_: str, data: dict[str, Any]) -> None:
        self.passed_on.append(data["message_id"])

    def tell(self, task_id: str, outcome: Outcome, *, message_id: str, name: str) -> None:
        self.told.append((name, message_id, outcome.state and outcome.state.value))


class Connections:
    """Gives the lane its connections; the last one can be cut."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self.opened = broker, list[kombu.Connection]()

    def __call__(self) -> kombu.Connection:
        self.opened.append(self._broker.connection())
        return self.opened[-1]

    def cut(self) -> None:
        """Take the connection from under the lane, as a broker that goes away does."""
        connection: Any = self.opened[-1].connection
        if self._broker.is_embedded:  # files, which do not go away
            self.opened[-1].release()
        elif self._broker.url.startswith("redis"):
            with redis.Redis.from_url(self._broker.url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
        else:
            connection.transport.sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def work() -> Recording:
    work = Recording()
    work.gate.set()
    return work


@contextmanager
def _running(broker: Broker, work: Recording, connections: Any = None) -> Iterator[CommandLane]:
    queue = next(each for each in broker.queues() if each.name == COMMANDS)
    lane = CommandLane(
        connections or Connections(broker),
        queue,
        work,
        pass_on=work.pass_on,
        tell=work.tell,
        back_after_s=0.1,
    )
    lane.start()
    try:
        yield lane
    finally:
        work.gate.set()
        lane.join(60)


def _command(message_id: str, text: str = "/stop") -> TaskMessage:
    now = datetime.now(UTC)
    return command_task(Envelope(bot="b", message_id=message_id, text=text, received_at=now))


def _publish(broker: Broker, *tasks: TaskMessage) -> None:
    publisher = new_publisher(broker)
    publisher.open()
    publisher.publish(tasks, lambda task: None)
    publisher.close()


def _publish_no_task(broker: Broker) -> None:
    with broker.connection() as connection:
        producer: Any = kombu.Producer(connection.default_channel, serializer="json")
        producer.publish([[], {}, {}], exchange="", routing_key=COMMANDS, correlation_id="x")


def _until_gone(broker: Broker) -> None:
    """Wait until the broker has none, neither waiting nor given out."""

    def is_gone() -> bool:
        if broker.is_embedded:
            folder = Path(broker.transport_options["folder"])
            return not list(folder.glob(f"*/**/{COMMANDS}/*.msg"))
        with broker.connection() as connection:
            if connection.transport.driver_type == "redis":
                client: Any = connection.default_channel.client  # type: ignore[attr-defined]
                return bool(client.llen(COMMANDS) + client.hlen("unacked") == 0)
        return read_queues(broker)[COMMANDS].depth == 0

    wait_for(is_gone, what="an empty queue")


def test_a_command_leaves_the_broker_once_it_is_done(each_broker, work):
    with _running(each_broker, work):
        _publish(each_broker, _command("m1"), _command("m2"))
        wait_for(lambda: len(work.told) == 2, what="two commands")
        _until_gone(each_broker)

    assert sorted(work.told) == [(COMMAND, "m1", "SUCCESS"), (COMMAND, "m2", "SUCCESS")]
    assert work.is_stopped


def test_a_slow_command_keeps_no_other_one_waiting(each_broker, work):
    work.gate.clear()
    with _running(each_broker, work):
        _publish(each_broker, *(_command(f"m{number}") for number in range(5)))
        wait_for(lambda: len(work.began) == 5, what="five at once")
        assert work.told == []


def test_one_in_hand_is_finished_when_the_worker_stops(each_broker, work):
    work.gate.clear()
    with _running(each_broker, work) as lane:
        _publish(each_broker, _command("m1"))
        wait_for(lambda: work.began == ["m1"], what="a command in hand")
        lane.stop()
        work.gate.set()
        lane.join(60)

    assert work.told == [(COMMAND, "m1", "SUCCESS")]
    _until_gone(each_broker)


def test_one_that_cannot_be_worked_on_comes_back(each_broker, work):
    work.outcomes = [StoreError("no tables"), KeyError("a secret")]
    with _running(each_broker, work):
        _publish(each_broker, _command("m1"))
        wait_for(lambda: len(work.told) == 1, what="the third attempt")
        _until_gone(each_broker)

    assert work.began == ["m1"] * 3


def test_a_copy_of_one_that_another_worker_has_stays_until_that_is_done(each_broker, work):
    """That worker may be dead, and no other one have a slot free when its lease is over."""
    work.outcomes = [Outcome(None, duplicate=True), Outcome(FinalState.SUCCESS, duplicate=True)]
    with _running(each_broker, work):
        _publish(each_broker, _command("m1"))
        wait_for(lambda: len(work.began) == 2, what="the second attempt")
        _until_gone(each_broker)

    assert work.told == []


def test_what_is_no_command_of_the_bot_goes_to_its_agent(each_broker, work):
    work.outcomes = [None]
    with _running(each_broker, work):
        _publish(each_broker, _command("m1", "hello"))
        wait_for(lambda: work.passed_on == ["m1"], what="it to be passed on")
        _until_gone(each_broker)

    assert work.told == []


def test_what_this_release_does_not_know_is_set_aside(each_broker, work, tmp_path, monkeypatch):
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path}/store.sqlite3")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    store = open_store(f"sqlite:///{tmp_path}/store.sqlite3", missed_ttl_s=3600)
    store.prepare()
    known = _command("m1")
    another = answer_task(Envelope.from_wire(known.envelope))
    strange = replace(another, queue=COMMANDS)
    with _running(each_broker, work):
        _publish(each_broker, strange)
        _publish_no_task(each_broker)
        wait_for(lambda: len(work.told) == 1, what="it to be set aside")
        _until_gone(each_broker)

    assert work.told == [("answer", "m1", "FAILURE")]
    missed = store.find_missed("m1")
    assert missed is not None
    assert (missed.task_id, missed.reason) == (task_id("b", "m1"), Reason.UNSUPPORTED_VERSION)
    store.close()


def test_a_lost_connection_is_replaced_and_nothing_is_done_twice(each_broker, work):
    connections = Connections(each_broker)
    with _running(each_broker, work, connections):
        _publish(each_broker, _command("m1"))
        wait_for(lambda: len(work.told) == 1, what="a command")
        _until_gone(each_broker)
        connections.cut()
        _publish(each_broker, _command("m2"))
        wait_for(lambda: len(work.told) == 2, what="a command after the loss")

    assert len(connections.opened) == 2
    assert work.began == ["m1", "m2"]
