"""``celery -A worker stop``: what an operator ends, and what is told of it."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contract.routing import task_id
from tests.unit.worker.answering_parts import SECRET_WORDS, envelope
from worker.commands.handling import operator
from worker.commands.stop import stop
from worker.outcome import Outcome
from worker.settings import WorkerSettings
from worker.store import Claimed, DueMessage, StoppedEarly
from worker.store.sql import SqlStore
from worker.story import beginning
from worker.turns import Turns


@pytest.fixture
def store(monkeypatch, tmp_path):
    """The store the command will work on, with nothing of the environment left."""
    monkeypatch.chdir(tmp_path)
    for field in WorkerSettings.model_fields.values():
        alias = field.validation_alias
        for name in getattr(alias, "choices", [alias]):
            monkeypatch.delenv(str(name), raising=False)
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path}/stop.db")
    store = SqlStore(f"sqlite:///{tmp_path}/stop.db")
    store.prepare()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield store
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    store.close()


@pytest.fixture(autouse=True)
def told(monkeypatch) -> list[tuple[str, Outcome]]:
    """What Flower is told; what is published goes nowhere."""
    told: list[tuple[str, Outcome]] = []

    def publish(message: DueMessage) -> bool:
        return True

    monkeypatch.setattr("worker.commands.broker.publish", publish)
    monkeypatch.setattr(
        "worker.commands.broker.tell_end", lambda id_, outcome: told.append((id_, outcome))
    )
    return told


def claim(store: SqlStore, number: int, **more: Any) -> Any:
    now = datetime.now(UTC)
    written = now - timedelta(minutes=1) + timedelta(seconds=number)
    facts = {"received_at": now, "created_at": written, "deadline": now + timedelta(hours=1)}
    data = envelope(message_id=f"msg{number}", **facts | more).to_wire()
    turns = Turns()
    return store.claim(
        task_id(data["bot"], data["message_id"]),
        owner="worker1",
        lease_s=300,
        envelope=data,
        turn=turns.of(data),
        written=turns.place_of(data),
        steps=beginning(data, now),
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(stop, list(arguments))


def test_what_is_unfinished_in_a_conversation_is_stopped(store, told):
    claim(store, 1)
    claim(store, 2)
    claim(store, 3, conversation_id="cid2")

    result = run("cid1")

    assert (result.exit_code, result.stdout) == (
        0,
        "cid1: stopped 1 with a worker, 1 that waited\n",
    )
    assert [each.envelope["message_id"] for each in store.unfinished()] == ["msg3"]
    assert [id_ for id_, _ in told] == [task_id("robot1", "msg1"), task_id("robot1", "msg2")]
    assert {outcome.detail for _, outcome in told} == {f"stopped by {operator()}"}
    assert SECRET_WORDS not in result.output


def test_of_a_conversation_what_is_on_the_broker_is_stopped_too(store):
    store.finish(claim(store, 1).lease, "SUCCESS")

    result = run("cid1")

    assert (result.exit_code, result.stdout) == (
        0,
        "cid1: nothing of it is unfinished; what is still on the broker is not begun\n",
    )
    assert isinstance(claim(store, 2), StoppedEarly)
    assert isinstance(claim(store, 99), Claimed), "written later"


@pytest.mark.parametrize("by", ["message id", "task id"])
def test_one_message_is_stopped_and_no_other(store, by):
    claim(store, 1)
    claim(store, 2)

    result = run({"message id": "msg2", "task id": task_id("robot1", "msg2")}[by])

    assert result.exit_code == 0
    assert result.stdout.endswith(": stopped\n")
    assert [each.envelope["message_id"] for each in store.unfinished()] == ["msg1"]


def test_the_conversations_of_all_bots_are_stopped(store):
    claim(store, 1)
    claim(store, 2, bot="robot2")

    assert run("cid1").stdout == "cid1: stopped 2 with a worker, 0 that waited\n"


def test_what_has_ended_and_what_nobody_knows_is_said_and_the_others_are_stopped(store):
    store.finish(claim(store, 1).lease, "SUCCESS")
    claim(store, 2)

    result = run("msg1", "nothing", "msg2")

    assert result.exit_code == 1
    assert result.stdout == "msg2: stopped; a worker had it\n"
    assert result.stderr == (
        "msg1: it has ended as SUCCESS\n"
        "nothing: no message and no conversation that a worker has heard of has this id\n"
    )


def test_machines_are_told_in_json(store):
    claim(store, 1)

    result = run("cid1", "nothing", "--json")

    assert result.exit_code == 1
    stopped, failed = json.loads(result.stdout)
    assert stopped == {
        "id": "cid1",
        "outcome": "stopped",
        "why": None,
        "running": 1,
        "waiting": 0,
    }
    assert (failed["id"], failed["outcome"]) == ("nothing", "failed")


def test_a_store_that_is_away_is_said(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path}/none.db")

    result = run("cid1")

    assert result.exit_code == 1
    assert "nothing was ever remembered here" in result.stderr
