"""``celery -A worker late``: what an operator sees of missed replies, and what nobody sees."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contract.routing import task_id
from tests.unit.worker.answering_parts import SECRET_WORDS, SESSION, START, WEBHOOK, envelope
from worker.commands.late import late
from worker.settings import WorkerSettings
from worker.store import Claimed, Reason
from worker.store.sql import SqlStore

PRIVATE = (SECRET_WORDS, SESSION, WEBHOOK, "Alice in secret")
ANSWER = '{"kind": "text", "content": "the kept answer"}'


@pytest.fixture
def store(monkeypatch, tmp_path):
    """The store the command will read, with nothing of the environment left."""
    monkeypatch.chdir(tmp_path)
    for field in WorkerSettings.model_fields.values():
        alias = field.validation_alias
        for name in getattr(alias, "choices", [alias]):
            monkeypatch.delenv(str(name), raising=False)
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path}/late.db")
    store = SqlStore(f"sqlite:///{tmp_path}/late.db")
    store.prepare()
    yield store
    store.close()


def miss(store, message_id="msg1", *, answer: str | None = ANSWER, **facts) -> str:
    message = envelope(message_id=message_id, **facts)
    id_ = task_id(message.bot, message.message_id)
    claimed = store.claim(id_, owner="me", lease_s=60, envelope=message.to_wire())
    assert isinstance(claimed, Claimed)
    if answer is not None:
        store.keep_answer(claimed.lease, answer)
    store.miss(
        claimed.lease,
        state="FLAGGED",
        reason=Reason.EXPIRED_AT_SEND,
        errcode=300001,
        detail="session over",
    )
    return id_


def run(*arguments: str) -> Result:
    """Run the command; whatever it says, it says nothing private."""
    result = CliRunner().invoke(late, list(arguments))
    assert not any(private in result.output + result.stderr for private in PRIVATE)
    return result


def test_nothing_missed_is_said_in_words(store):
    result = run()
    assert (result.exit_code, result.output) == (0, "no missed replies\n")
    assert run("list").output == result.output


def test_the_list_shows_each_with_reason_and_whether_there_is_an_answer(store):
    miss(store, "msg1")
    miss(store, "msg2", answer=None)

    result = run("list")

    assert result.exit_code == 0
    head, *rows = result.output.splitlines()
    assert head.split() == ["AGE", "STATE", "REASON", "ANSWER", "CONVERSATION", "MESSAGE"]
    by_message = {row.split()[-1]: row.split()[1:-1] for row in rows}
    assert by_message == {
        "msg1": ["FLAGGED", "expired_at_send", "kept", "cid1"],
        "msg2": ["FLAGGED", "expired_at_send", "none", "cid1"],
    }


def test_the_list_can_be_cut(store):
    for number in range(3):
        miss(store, f"msg{number}")

    assert len(run("list", "--limit", "2").output.splitlines()) == 1 + 2
    assert run("list", "--limit", "0").exit_code == 2


def test_the_list_is_there_for_machines(store):
    id_ = miss(store, conversation="group")

    (shown,) = json.loads(run("list", "--json").output)

    assert shown.pop("missed_at")
    assert shown == {
        "task_id": id_,
        "message_id": "msg1",
        "bot": "robot1",
        "state": "FLAGGED",
        "reason": "expired_at_send",
        "errcode": 300001,
        "detail": "session over",
        "conversation": "group",
        "conversation_id": "cid1",
        "sender_staff_id": "staff1",
        "has_answer": True,
    }


@pytest.mark.parametrize("by", ["task id", "message id"])
def test_one_is_shown_with_its_answer(store, by):
    id_ = miss(store)

    result = run("show", id_ if by == "task id" else "msg1")

    assert result.exit_code == 0
    lines = dict(line.split(": ", 1) for line in result.output.splitlines())
    assert lines["reason"].strip() == "expired_at_send"
    assert lines["errcode"].strip() == "300001"
    assert lines["answer"].strip() == "the kept answer"


def test_a_formatted_answer_is_shown_as_it_was_written(store):
    miss(store, answer='{"kind": "markdown", "title": "t", "text": "# Answer\\nwith **marks**"}')
    assert json.loads(run("show", "msg1", "--json").output)["answer"] == "# Answer\nwith **marks**"


def test_what_a_later_release_kept_is_shown_as_far_as_it_can_be_read(store):
    miss(store, answer='{"kind": "hologram"}', version=99, conversation="group")

    result = run("show", "msg1", "--json")

    assert result.exit_code == 0
    shown = json.loads(result.output)
    assert shown["has_answer"] is True
    assert shown["answer"] is None
    assert (shown["conversation"], shown["conversation_id"]) == ("group", "cid1")


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (timedelta(minutes=2, seconds=30), "2m"),
        (timedelta(minutes=90), "1h"),
        (timedelta(days=3, hours=5), "3d"),
        (timedelta(minutes=-5), "0s"),
    ],
)
def test_ages_are_short(store, tmp_path, ago, shown):
    then_ms = round((datetime.now(UTC) - ago).timestamp() * 1000)
    past = SqlStore(f"sqlite:///{tmp_path}/late.db", clock_ms=lambda: then_ms)
    miss(past)
    past.close()

    assert run("list").output.splitlines()[1].split()[0] == shown


def test_an_unknown_id_is_a_failure_that_says_where_to_look(store):
    result = run("show", "nobody")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no missed reply with the id nobody: `celery -A worker late list`" in result.stderr


@pytest.mark.parametrize("url", ["redis://:SECRET@127.0.0.1:1/0", "sqlite:////proc/version"])
def test_a_store_that_is_away_is_a_failure_without_a_traceback(store, monkeypatch, url):
    monkeypatch.setenv("STORE_URL", url)

    result = run("list")

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("cannot read the store: ")
    assert "SECRET" not in result.stderr


def test_where_nothing_was_ever_remembered_nothing_is_created(store, monkeypatch, tmp_path):
    monkeypatch.delenv("STORE_URL")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))

    result = run("list")

    assert (result.exit_code, result.stdout) == (1, "")
    where = tmp_path / "data" / "store.sqlite3"
    assert result.stderr == f"no store at {where}: nothing was ever remembered here\n"
    assert not (tmp_path / "data").exists()


def test_a_store_that_cannot_be_named_is_a_failure_without_a_traceback(store, monkeypatch):
    monkeypatch.setenv("STORE_URL", "sqlite://")
    result = run("list")
    assert result.exit_code == 1
    assert result.stderr.startswith("cannot read the store: store URL sqlite:// names no file")


def test_bad_settings_are_named_without_their_values(store, monkeypatch):
    monkeypatch.setenv("STORE_URL", "mysql://SECRET")
    monkeypatch.setenv("LATE_POLICY", "SECRET")

    result = run("list")

    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert {line.split(": ")[1] for line in lines} == {"STORE_URL", "LATE_POLICY"}
    assert "SECRET" not in result.stderr


def test_it_is_a_command_of_celery(store, tmp_path):
    """As an operator types it, on a broken setup too."""
    miss(store)
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "celery", "--workdir", str(root), "-A", "worker", "late"]

    def celery(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"DATA_DIR": str(tmp_path)} | variables
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment
        )

    fine, broken = celery(), celery(BROKER_URL="nonsense")

    assert (fine.returncode, fine.stderr) == (0, "")
    assert "msg1" in fine.stdout
    assert SECRET_WORDS not in fine.stdout
    assert broken.returncode == 2
    assert "cannot read settings: BROKER_URL: must start with" in broken.stderr


def test_times_are_shown_with_their_zone(store):
    miss(store, created_at=START)
    assert json.loads(run("list", "--json").output)[0]["missed_at"].endswith("+00:00")
