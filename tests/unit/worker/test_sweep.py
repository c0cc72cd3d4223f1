"""What is due is published, once in the whole fleet, whatever the store and the broker do."""

import logging
import threading
from collections import Counter

import pytest
from kombu.exceptions import OperationalError

from tests.servers import wait_for
from worker.running.sweep import Sweeper
from worker.store import Claimed, DueMessage, StoreUnavailableError
from worker.store.sql import SqlStore


@pytest.fixture
def store(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    store.prepare()
    yield store
    store.close()


def give_back(store, number: int, *, due_in_s: float = 0, answer: str | None = None) -> None:
    envelope = {"bot": "robot1", "message_id": f"msg{number}", "text": "SECRET"}
    claimed = store.claim(f"task{number}", owner="me", lease_s=60, envelope=envelope)
    assert isinstance(claimed, Claimed)
    if answer:
        store.keep_answer(claimed.lease, answer)
    store.release(claimed.lease, due_in_s=due_in_s)


def test_what_is_due_is_published_and_the_rest_waits(store):
    published: list[DueMessage] = []
    give_back(store, 1)
    give_back(store, 2, answer="an answer")
    give_back(store, 3, due_in_s=600)

    assert Sweeper(store, published.append).sweep() == 2

    assert {(m.task_id, m.has_answer) for m in published} == {("task1", False), ("task2", True)}


def test_more_than_a_batch_is_published_in_one_sweep(store):
    published: list[DueMessage] = []
    for number in range(205):
        give_back(store, number)

    assert Sweeper(store, published.append).sweep() == 205
    assert len({m.task_id for m in published}) == 205


def test_two_sweepers_publish_nothing_twice(store, tmp_path):
    other = SqlStore(f"sqlite:///{tmp_path}/store.db")
    published: Counter[str] = Counter()
    lock = threading.Lock()

    def publish(message: DueMessage) -> None:
        with lock:
            published[message.task_id] += 1

    for number in range(300):
        give_back(store, number)
    sweepers = [Sweeper(s, publish, every_s=0.001) for s in (store, other)]
    for sweeper in sweepers:
        sweeper.start()
    wait_for(lambda: len(published) == 300, what="everything to be published")
    for sweeper in sweepers:
        sweeper.stop()
    other.close()

    assert set(published.values()) == {1}


@pytest.mark.parametrize("fails", ["store", "broker"])
def test_a_failure_is_told_once_and_the_sweep_goes_on(store, caplog, fails):
    caplog.set_level(logging.WARNING)
    failures, published = [1, 2, 3], list[DueMessage]()
    real_due = store.due

    def due(**arguments):
        if fails == "store" and failures:
            failures.pop()
            raise StoreUnavailableError("no connection")
        return real_due(**arguments | {"hold_s": 0.01})

    def publish(message):
        if fails == "broker" and failures:
            failures.pop()
            raise OperationalError("amqp://user:SECRET@host")
        published.append(message)

    store.due = due
    give_back(store, 1)
    sweeper = Sweeper(store, publish, every_s=0.002)
    sweeper.start()
    wait_for(lambda: published, what="the message to be published after all")
    sweeper.stop()

    assert not failures
    assert [getattr(r, "action", "") for r in caplog.records] == ["sweep_failed"]
    assert "SECRET" not in caplog.text


def test_a_message_that_cannot_be_published_does_not_hold_back_the_rest(store):
    published: list[str] = []

    def publish(message: DueMessage) -> None:
        if message.task_id == "task2":
            raise OperationalError("no")
        published.append(message.task_id)

    for number in range(5):
        give_back(store, number)
    sweeper = Sweeper(store, publish)
    for number in (5, 6):
        with pytest.raises(OperationalError):
            sweeper.sweep()
        give_back(store, number)
    with pytest.raises(OperationalError):
        sweeper.sweep()

    assert sorted(published) == [f"task{number}" for number in (0, 1, 3, 4, 5, 6)]


def test_what_a_broker_that_was_away_refused_goes_out_as_soon_as_it_is_back(store):
    """However long it was away; the store hands a message out more seldom each time."""
    published: list[str] = []
    is_away = True

    def publish(message: DueMessage) -> None:
        if is_away:
            raise OperationalError("no")
        published.append(message.task_id)

    for number in range(3):
        give_back(store, number)
    sweeper = Sweeper(store, publish)
    for _ in range(5):
        with pytest.raises(OperationalError):
            sweeper.sweep()
    is_away = False

    assert sweeper.sweep() == 3
    assert sorted(published) == ["task0", "task1", "task2"]


def test_what_is_past_its_time_is_forgotten_on_the_way(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/store.db", done_ttl_s=0)
    store.prepare()
    claimed = store.claim("task1", owner="me", lease_s=60, envelope={"message_id": "msg1"})
    assert isinstance(claimed, Claimed)
    store.finish(claimed.lease, "SUCCESS")
    pruned = []
    real_prune = store.prune

    def prune() -> int:
        pruned.append(real_prune())
        return pruned[-1]

    store.prune = prune  # type: ignore[method-assign]
    sweeper = Sweeper(store, lambda _: None, every_s=0.001)
    sweeper.start()
    wait_for(lambda: pruned, what="the first pruning")
    sweeper.stop()
    store.close()

    assert pruned == [1]


def test_a_log_line_of_the_sweep_names_the_message_and_not_its_text(store, caplog):
    caplog.set_level(logging.DEBUG)
    give_back(store, 1)

    Sweeper(store, lambda _: None).sweep()

    (line,) = (vars(r) for r in caplog.records if getattr(r, "action", "").startswith("message_"))
    assert (line["message_id"], line["task_id"]) == ("msg1", "task1")
    assert "SECRET" not in str(line)


def test_a_sweeper_that_never_started_can_be_stopped(store):
    Sweeper(store, lambda _: None).stop()
