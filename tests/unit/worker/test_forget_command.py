"""``celery -A worker forget``: what an operator has the bots forget."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.integration.store_place import envelope
from worker.commands.forget import forget
from worker.settings import WorkerSettings
from worker.store import Claimed, Exchange, Scope
from worker.store.sql import SqlStore


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The store the command writes to, with nothing of the environment left."""
    monkeypatch.chdir(tmp_path)
    for field in WorkerSettings.model_fields.values():
        alias = field.validation_alias
        for name in getattr(alias, "choices", [alias]):
            monkeypatch.delenv(str(name), raising=False)
    url = f"sqlite:///{tmp_path}/store.db"
    monkeypatch.setenv("STORE_URL", url)
    store = SqlStore(url)
    store.prepare()
    for number, (conversation, person) in enumerate(
        [("cid1", "alice"), ("cid1", "bob"), ("cid2", "alice")]
    ):
        task_id = f"task{number}"
        claim = store.claim(task_id, owner="me", lease_s=15, envelope=envelope(number))
        assert isinstance(claim, Claimed)
        scope = Scope("robot", conversation)
        exchange = Exchange(scope, person, (number, number), f"q{number}", turns=9, ttl_s=60)
        store.finish(claim.lease, "SUCCESS", exchange=exchange)
    yield store
    store.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(forget, arguments)


def remembered(store: SqlStore) -> list[str]:
    return [
        said
        for conversation in ("cid1", "cid2")
        for said in store.exchanges(
            Scope("robot", conversation), before=(2**52, 0), turns=9, within_s=60
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "left", "words"),
    [
        (["cid1"], ["q2"], "forgot 2 turns\n"),
        (["cid1", "--person", "bob"], ["q0", "q2"], "forgot 1 turn\n"),
        (["--person", "alice"], ["q1"], "forgot 2 turns\n"),
    ],
    ids=["a conversation", "a person in it", "a person"],
)
def test_it_forgets_what_is_named_and_nothing_else(store, arguments, left, words):
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (0, words)
    assert remembered(store) == left


@pytest.mark.parametrize("arguments", [["cid9"], ["cid1", "--person", "carol"]])
def test_where_nothing_is_remembered_it_says_so(store, arguments):
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "nothing is remembered\n"
    assert remembered(store) == ["q0", "q1", "q2"]


def test_machines_get_a_count(store):
    facts = {"conversation_id": "cid1", "person": None, "forgotten": 2}
    assert json.loads(run("cid1", "--json").stdout) == facts
    again = run("cid1", "--json")
    assert (again.exit_code, json.loads(again.stdout)["forgotten"]) == (1, 0)


@pytest.mark.parametrize("arguments", [[], [""], ["--person", ""]])
def test_all_there_is_cannot_be_forgotten_by_mistake(store, arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert "name a conversation" in result.stderr
    assert len(remembered(store)) == 3


def test_settings_that_cannot_be_read_and_a_store_that_is_away_are_told(store, monkeypatch):
    monkeypatch.setenv("STORE_URL", "redis://127.0.0.1:1/0")
    away = run("cid1")
    assert away.exit_code == 1
    assert "cannot read the store" in away.stderr
    monkeypatch.setenv("STORE_URL", "ftp://x")
    wrong = run("cid1")
    assert wrong.exit_code == 2
    assert "STORE_URL" in wrong.stderr
