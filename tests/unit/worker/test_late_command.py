"""``celery -A worker late``: what an operator sees of missed replies, does, and what nobody sees.

DingTalk is a simulator, and the store a real one. What goes to the broker is recorded here; on a
real one it is tested in ``tests/acceptance/test_operator_commands.py``.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet

from contract.routing import task_id
from contract.sealing import IN_CLEAR, Sealer
from dingwire.simulator import SimulatorThread
from tests.servers import wait_for
from tests.unit.worker.answering_parts import SECRET_WORDS, SESSION, START, WEBHOOK, envelope
from worker.commands.handling import Handling, operator
from worker.commands.late import late
from worker.outcome import Outcome
from worker.settings import WorkerSettings
from worker.store import Claimed, DueMessage, Parked, Reason, Step, Turn
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
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield store
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    store.close()


def miss(
    store,
    message_id="msg1",
    *,
    answer: str | None = ANSWER,
    reason: Reason = Reason.EXPIRED_AT_SEND,
    in_doubt: bool = False,
    sealer: Sealer = IN_CLEAR,
    state: str = "FLAGGED",
    **facts,
) -> str:
    message = envelope(message_id=message_id, **facts)
    id_ = task_id(message.bot, message.message_id)
    claimed = store.claim(id_, owner="me", lease_s=60, envelope=sealer.seal(message.to_wire()))
    assert isinstance(claimed, Claimed)
    if answer is not None:
        store.keep_answer(claimed.lease, sealer.seal_text(answer))
    store.miss(
        claimed.lease,
        state=state,
        reason=reason,
        errcode=300001,
        detail="session over",
        in_doubt=in_doubt,
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
    long = "cid" + "x" * 60
    miss(store, "msg1")
    miss(store, "msg2", answer=None, conversation="group", sender_staff_id=None)
    miss(store, "msg3", in_doubt=True, conversation_id=long)

    result = run("list")

    assert result.exit_code == 0
    head, *rows = result.output.splitlines()
    assert head.split() == [
        *("AGE", "STATE", "REASON", "ANSWER", "SENDER", "CHAT", "CONVERSATION", "MESSAGE")
    ]
    by_message = {row.split()[-1]: row.split()[1:-1] for row in rows}
    assert by_message == {
        "msg1": ["FLAGGED", "expired_at_send", "kept", "staff1", "private", "cid1"],
        "msg2": ["FLAGGED", "expired_at_send", "none", "-", "group", "cid1"],
        "msg3": ["FLAGGED", "expired_at_send", "in_doubt", "staff1", "private", long],
    }


def test_the_list_tells_bots_apart_where_there_are_several(store):
    miss(store, "msg1")
    miss(store, "msg2", bot="robot2")

    head, *rows = run("list").output.splitlines()

    assert head.split()[0] == "BOT"
    assert {(row.split()[0], row.split()[-1]) for row in rows} == {
        ("robot1", "msg1"),
        ("robot2", "msg2"),
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
        "in_doubt": False,
        "parts_sent": 0,
        "handled_at": None,
    }


def missed_ago(tmp_path, ago: timedelta, message_id: str = "msg1") -> None:
    """Have one missed at a time in the past."""
    then_ms = round((datetime.now(UTC) - ago).timestamp() * 1000)
    past = SqlStore(f"sqlite:///{tmp_path}/late.db", clock_ms=lambda: then_ms)
    miss(past, message_id)
    past.close()


def listed(*arguments: str) -> list[str]:
    """Return the message ids that are listed."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [shown["message_id"] for shown in json.loads(result.output)]


def test_the_list_goes_back_as_far_as_one_wants(store, tmp_path):
    missed_ago(tmp_path, timedelta(hours=3), "old")
    missed_ago(tmp_path, timedelta(minutes=30), "new")

    assert listed("list", "--since", "2h") == ["new"]
    assert listed("--since", "4h") == ["new", "old"]
    assert listed("list", "--since", "60s") == []
    assert run("--since", "60s").output == "no missed replies\n"


def test_the_list_is_narrowed_to_reasons_before_it_is_cut(store):
    miss(store, "msg1", reason=Reason.NO_ROUTE)
    miss(store, "msg2", reason=Reason.THROTTLED)
    miss(store, "msg3")

    assert listed("--reason", "no_route") == ["msg1"]
    assert set(listed("list", "--reason", "no_route", "--reason", "throttled")) == {"msg1", "msg2"}
    assert listed("--reason", "no_route", "--limit", "1") == ["msg1"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["list", "--since", "yesterday"], "'yesterday' is no duration: write 90s, 15m, 2h or 3d"),
        (["--since", "-2h"], "'-2h' is no duration"),
        (["--since", "2"], "'2' is no duration"),
        (["list", "--reason", "bad_luck"], "'expired_in_queue', 'expired_running'"),
        (["list", "--colour"], "No such option '--colour'"),
        (["paint"], "No such command 'paint'"),
        (["show"], "Missing argument 'ID'"),
        (["send"], "name the ids to send, or all with --all --since 2h"),
        (["send", "msg1", "--all", "--since", "2h"], "name the ids to send, or all"),
        (["send", "--all"], "--all needs --since"),
        (["send", "msg1", "--reason", "no_route"], "--since and --reason go with --all"),
        (["rerun"], "Missing argument 'ID...'"),
        (["discard"], "Missing argument 'ID...'"),
    ],
)
def test_wrong_usage_is_told_without_touching_anything(store, arguments, problem):
    miss(store)

    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr.splitlines()[-1]
    assert len(store.missed()) == 1


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
    missed_ago(tmp_path, ago)
    assert run("list").output.splitlines()[1].split()[0] == shown


def test_an_unknown_id_is_a_failure_that_says_where_to_look(store):
    result = run("show", "nobody")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no missed reply with the id nobody: `celery -A worker late list`" in result.stderr


@pytest.mark.parametrize("url", ["redis://:SECRET@127.0.0.1:1/0", "sqlite:////proc/version"])
def test_a_store_that_is_away_is_a_failure_without_a_traceback(store, monkeypatch, url):
    monkeypatch.setenv("STORE_URL", url)
    monkeypatch.setattr("worker.store.database.WAIT_S", 0.5)

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


def run_alone(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator types it, in a process of its own."""
    root = str(Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, "-m", "celery", "--workdir", root, "-A", "worker", "late", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"DATA_DIR": str(Path.cwd())} | variables,
    )


def test_it_is_a_command_of_celery(store):
    """On a broken setup, too."""
    miss(store)

    fine, broken = run_alone(), run_alone(BROKER_URL="nonsense")

    assert (fine.returncode, fine.stderr) == (0, "")
    assert "msg1" in fine.stdout
    assert SECRET_WORDS not in fine.stdout
    assert broken.returncode == 2
    assert "cannot read settings: BROKER_URL: must start with" in broken.stderr


def test_times_are_shown_with_their_zone(store):
    miss(store, created_at=START)
    assert json.loads(run("list", "--json").output)[0]["missed_at"].endswith("+00:00")


# What is done about them.


@pytest.fixture
def simulator(monkeypatch):
    """DingTalk, where Alice and a group have written; the bot's credentials are set."""
    with SimulatorThread() as running:
        monkeypatch.setenv("DINGTALK_WEBHOOK_HOSTS", running.webhook_host)
        monkeypatch.setenv("DINGTALK_OPENAPI_ENDPOINT", running.endpoint)
        monkeypatch.setenv("DINGTALK_CLIENT_ID", "id")
        monkeypatch.setenv("DINGTALK_CLIENT_SECRET", "hush")
        yield running


@pytest.fixture
def told(monkeypatch) -> list[tuple[str, Outcome | None]]:
    """What Flower was told."""
    told: list[tuple[str, Outcome | None]] = []
    monkeypatch.setattr(
        "worker.commands.broker.tell", lambda id_, outcome=None: told.append((id_, outcome))
    )
    return told


@pytest.fixture
def published(monkeypatch) -> list[DueMessage]:
    """What was put on the broker."""
    published: list[DueMessage] = []

    def publish(message: DueMessage) -> bool:
        published.append(message)
        return True

    monkeypatch.setattr("worker.commands.broker.publish", publish)
    return published


def written(simulator: SimulatorThread, *, person: str = "alice", **more) -> dict[str, Any]:
    """Have somebody write; return the facts of an envelope that leads there."""
    message = simulator.say("hello", person)
    return {
        "bot": "id",
        "conversation_id": message.conversation_id,
        "sender_staff_id": person,
        "session_webhook": message.session_webhook,
        "deadline": datetime.now(UTC) + timedelta(hours=1),
        **more,
    }


OVER = START - timedelta(hours=1)


def arrived(simulator: SimulatorThread) -> list[str]:
    by_webhook = [reply.text for reply in simulator.accepted]
    return by_webhook + [send.text for send in simulator.proactive if send.accepted]


def names(store, id_: str) -> list[str]:
    """Return the story in words."""
    story = store.story(id_)
    assert story is not None
    return [step.name for step in story.steps]


def test_a_kept_answer_is_sent_and_recorded(store, simulator, told):
    id_ = miss(store, **written(simulator))

    result = run("send", "msg1")

    assert (result.exit_code, result.stdout) == (0, "msg1: sent by its own webhook\n")
    assert [text.partition("\n")[2] for text in arrived(simulator)] == ["the kept answer"]
    assert store.missed() == []
    [handled] = store.missed(handled=True)
    assert (handled.state, handled.handled_at is not None) == ("SUCCESS", True)
    assert names(store, id_)[-2:] == ["sending", "sent"]
    [(told_id, outcome)] = told
    assert told_id == id_
    assert outcome is not None
    assert outcome.summary() == {
        "state": "SUCCESS",
        "reason": "expired_at_send",
        "outcome": "sent_by_operator",
        "by": operator(),
        "route": "webhook",
        "parts": 1,
    }
    assert result.stderr == ""


def test_whoever_wants_the_log_of_what_was_sent_sets_its_level(store, simulator, told, monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    miss(store, **written(simulator))

    line = json.loads(run("send", "msg1").stderr)

    assert (line["action"], line["message_id"]) == ("reply_sent_by_operator", "msg1")
    assert line["by"] == operator()


def test_one_without_a_live_webhook_goes_out_as_a_proactive_message(store, simulator, told):
    id_ = miss(store, **written(simulator, deadline=OVER))

    result = run("send", id_)

    assert result.stdout == f"{id_}: sent as a proactive message\n"
    assert len(arrived(simulator)) == 1
    assert store.missed(handled=True)[0].state == "RESCUED"
    assert told[0][1].state == "RESCUED"


def test_what_was_sent_is_listed_apart_and_shown_with_its_sends(store, simulator, told):
    miss(store, "msg1", **written(simulator))
    miss(store, "msg2")
    run("send", "msg1")

    assert listed() == ["msg2"]
    assert listed("--handled") == ["msg1"]
    [send] = json.loads(run("show", "msg1", "--json").output)["sends"]
    assert send.pop("at")
    assert send == {"step": "sent", "route": "webhook", "parts": 1, "by": operator()}
    assert "route=webhook" in run("show", "msg1").output


def test_sending_twice_needs_again(store, simulator, told):
    facts = written(simulator)
    miss(store, **facts)
    run("send", "msg1")

    second = run("send", "msg1")
    third = run("send", "msg1", "--again")

    assert (second.exit_code, second.stdout) == (1, "")
    assert f" UTC by {operator()}; --again sends it once more\n" in second.stderr
    assert (third.exit_code, third.stdout) == (0, "msg1: sent by its own webhook\n")
    assert len(arrived(simulator)) == 2
    uuids = [reply.body["msgUuid"] for reply in simulator.accepted]
    assert uuids[0] != uuids[1], "or DingTalk may take it for a copy"


def test_an_unknown_id_keeps_the_others_from_nothing(store, simulator, told):
    miss(store, **written(simulator))

    result = run("send", "nobody", "msg1")

    assert result.exit_code == 1
    assert "msg1: sent by its own webhook" in result.stdout
    assert "nobody: no missed reply has this id: `celery -A worker late` lists" in result.stderr


def test_one_that_nothing_takes_is_kept_with_what_went_wrong(store, simulator, told):
    id_ = miss(store, **written(simulator))
    simulator.expire_session("alice")
    simulator.switch(proactive="permission")
    before = store.missed()[0].missed_at

    result = run("send", "msg1")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "msg1: not sent, and kept: no way leads to its conversation: its own" in result.stderr
    assert "300001" in result.stderr
    [missed] = store.missed()
    assert (missed.state, missed.reason) == ("FLAGGED", Reason.EXPIRED_AT_SEND)
    assert missed.detail.startswith("sending failed: ")
    assert missed.missed_at == before, "it is as old as it was"
    assert missed.in_doubt is False
    assert names(store, id_)[-1] == "send_failed"
    [send] = json.loads(run("show", "msg1", "--json").output)["sends"]
    assert (send["step"], send["by"], send["errcode"]) == ("send_failed", operator(), 300001)
    assert told == []


def test_one_that_may_have_arrived_needs_again(store, simulator, told):
    miss(store, **written(simulator))
    simulator.fail_replies(reset=True, accept=True)

    first = run("send", "msg1")
    second = run("send", "msg1")
    assert len(simulator.replies) == 1
    third = run("send", "msg1", "--again")

    assert first.exit_code == 1
    assert "msg1: it may have arrived: its own webhook: " in first.stderr
    assert second.exit_code == 1
    assert "may have arrived already, as a post was cut off" in second.stderr
    assert "--again" in second.stderr
    assert third.exit_code == 0
    assert len({reply.body["msgUuid"] for reply in simulator.replies}) == 1, "of one attempt"


def test_one_in_doubt_stays_so_when_it_is_not_sent_again_either(store, simulator, told):
    miss(store, in_doubt=True, **written(simulator))
    simulator.expire_session("alice")
    simulator.switch(proactive="permission")

    assert run("send", "msg1", "--again").exit_code == 1

    assert store.missed()[0].in_doubt is True


def test_one_that_was_sent_stays_so_when_it_cannot_be_sent_once_more(store, simulator, told):
    miss(store, **written(simulator))
    run("send", "msg1")
    simulator.expire_session("alice")
    simulator.switch(proactive="permission")

    assert run("send", "msg1", "--again").exit_code == 1

    assert store.missed() == []
    assert store.missed(handled=True)[0].state == "SUCCESS"


def test_what_has_no_answer_is_not_sent_but_told_what_to_do(store, simulator, told):
    miss(store, "msg1", answer=None)
    miss(store, "msg2", answer=None, reason=Reason.SPOOL_FULL)

    result = run("send", "msg1", "msg2")

    first, second = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert first == "msg1: it has no answer: `celery -A worker late rerun` gets one"
    assert "msg2: what was written was lost with the listener's full spool" in second
    assert arrived(simulator) == []


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"version": 99}, "its message cannot be read: envelope version 99 is newer than 1"),
        ({"answer": '{"kind": "hologram"}'}, "its answer was kept by a later release"),
    ],
)
def test_what_a_later_release_kept_is_left_alone(store, simulator, told, facts, problem):
    miss(store, **facts)

    result = run("send", "msg1")

    assert result.exit_code == 1
    assert f"msg1: {problem}" in result.stderr
    assert len(store.missed()) == 1


def test_one_that_somebody_else_is_sending_is_left_to_them(store, simulator, told):
    id_ = miss(store, **written(simulator))
    assert store.take_missed_one(id_, owner="another", lease_s=60)

    results = run("send", "msg1"), run("discard", "msg1"), run("rerun", "msg1")

    assert [result.exit_code for result in results] == [1, 1, 1]
    assert {result.stderr for result in results} == {
        "msg1: it is being worked on, or sent: `celery -A worker trace` tells more\n"
    }
    assert arrived(simulator) == []


def test_what_one_that_is_not_missed_yet_waits_for_is_said(store, told):
    """With nobody at work on it, nobody is said to be."""

    def claim(message_id: str, turn: int) -> Any:
        wire = envelope(message_id=message_id).to_wire()
        lane = Turn("robot1\ncid1", (turn, turn))
        id_ = task_id("robot1", message_id)
        return store.claim(id_, owner="me", lease_s=60, envelope=wire, turn=lane)

    first, parked = claim("msg1", 1), claim("msg2", 2)
    assert isinstance(parked, Parked)
    store.release(first.lease, due_in_s=60, steps=[Step("retried")])

    for command in ("send", "discard", "rerun"):
        result = run(command, "msg1", "msg2")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            "msg1: it is not missed yet, and waits for its next attempt: "
            "`celery -A worker trace` tells more",
            "msg2: it is not missed yet, and waits for its turn in its conversation: "
            "`celery -A worker trace` tells more",
        ]


def test_one_that_was_answered_is_no_missed_reply(store):
    claimed = store.claim("id1", owner="me", lease_s=60, envelope=envelope().to_wire())
    assert isinstance(claimed, Claimed)
    store.finish(claimed.lease, "SUCCESS")

    result = run("send", "msg1")

    assert result.exit_code == 1
    assert result.stderr == "msg1: it is no missed reply: it ended as SUCCESS\n"


def test_all_of_the_last_hours_are_sent_oldest_first_with_a_summary(
    store, simulator, told, tmp_path
):
    facts = written(simulator)
    for number in (1, 2):
        miss(store, f"msg{number}", text=f"question {number}", **facts)
        wait_for(_a_millisecond_later(), what="the next millisecond")
    miss(store, "msg3", answer=None, **facts)
    miss(store, "msg4", in_doubt=True, **facts)
    missed_ago(tmp_path, timedelta(hours=3), "old")

    result = run("send", "--all", "--since", "2h")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "msg1: sent by its own webhook",
        "msg2: sent by its own webhook",
        "2 sent, 1 in doubt (--again sends them, too), 1 without an answer (see late rerun)",
    ]
    marks = [text.partition("\n")[0] for text in arrived(simulator)]
    assert [mark[-11:-1] for mark in marks] == ["question 1", "question 2"]
    assert set(listed()) == {"msg3", "msg4", "old"}


def _a_millisecond_later() -> Callable[[], bool]:
    end = datetime.now(UTC) + timedelta(milliseconds=2)
    return lambda: datetime.now(UTC) > end


def test_all_can_be_narrowed_to_a_reason_and_fails_when_one_fails(store, simulator, told):
    facts = written(simulator)
    miss(store, "msg1", reason=Reason.THROTTLED, **facts)
    miss(store, "msg2", **facts)
    simulator.expire_session("alice")
    simulator.switch(proactive="permission")

    result = run("send", "--all", "--since", "2h", "--reason", "throttled")

    assert result.exit_code == 1
    assert result.stdout == "0 sent, 1 not sent\n"
    assert "msg2" not in result.stderr


def test_on_a_terminal_all_are_sent_only_after_a_yes(store, simulator, told, monkeypatch):
    miss(store, **written(simulator))
    monkeypatch.setattr("worker.commands.late.is_asked", lambda: True)
    command = ["send", "--all", "--since", "2h"]

    no = CliRunner().invoke(late, command, input="n\n")
    assert (no.exit_code, arrived(simulator)) == (1, [])
    assert "send 1 kept answers? [y/N]" in no.output
    yes = CliRunner().invoke(late, command, input="y\n")
    assert (yes.exit_code, len(arrived(simulator))) == (0, 1)
    assert "[y/N]" not in CliRunner().invoke(late, [*command, "--yes"]).output


def test_a_rerun_where_no_worker_is_says_so(store, told, published):
    miss(store, answer=None)

    result = run("rerun", "msg1")

    assert (result.exit_code, len(published)) == (0, 1)
    assert result.stdout == (
        "msg1: queued to run anew; no worker has said that it is there: start one\n"
    )


def test_one_without_an_answer_is_run_anew(store, told, published):
    store.remember("worker", "celery@here", {}, ttl_s=40)
    id_ = miss(store, answer=None, state="FAILURE", reason=Reason.AGENT_FAILED)

    result = run("rerun", "msg1")

    assert (result.exit_code, result.stdout) == (0, "msg1: queued to run anew\n")
    [message] = published
    assert (message.task_id, message.has_answer) == (id_, False)
    assert store.missed() == []
    claim = store.claim(id_, owner="worker", lease_s=60, envelope=None)
    assert isinstance(claim, Claimed)
    assert claim.rerun is True
    assert told == [(id_, None)]


def test_without_a_broker_a_rerun_is_left_to_the_workers(store, told, monkeypatch):
    miss(store, answer=None)
    monkeypatch.setattr("worker.commands.broker.publish", lambda message: False)

    result = run("rerun", "msg1")

    assert result.exit_code == 0
    assert "the broker is away, a worker queues it when that is back" in result.stdout


def test_what_has_an_answer_or_lost_its_words_is_not_run_anew(store, told, published):
    miss(store, "msg1")
    miss(store, "msg2", answer=None, reason=Reason.SPOOL_FULL)

    result = run("rerun", "msg1", "msg2", "nobody")

    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.split(":")[:2] for line in result.stderr.splitlines()] == [
        ["msg1", " it has an answer"],
        ["msg2", " what was written was lost with the listener's full spool"],
        ["nobody", " no missed reply has this id"],
    ]
    assert (published, told) == ([], [])
    assert len(store.missed()) == 2


def test_one_is_discarded_and_its_story_ends_so(store, told):
    id_ = miss(store)

    result = run("discard", "msg1", "nobody")

    assert (result.exit_code, result.stdout) == (1, "msg1: discarded\n")
    assert "nobody: no missed reply has this id" in result.stderr
    assert store.find_missed(id_) is None
    assert names(store, id_)[-1] == "discarded"
    assert [(told_id, outcome.state) for told_id, outcome in told] == [(id_, "DROPPED")]


def test_what_was_sent_is_not_discarded(store, simulator, told):
    miss(store, **written(simulator))
    run("send", "msg1")

    result = run("discard", "msg1")

    assert result.exit_code == 1
    assert "it was sent at " in result.stderr
    assert store.missed(handled=True)[0].state == "SUCCESS"


def told_as_json(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run it for a machine: stdout is one list, whatever happens."""
    result = run(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_a_machine_is_told_what_became_of_each_that_was_sent(store, simulator, told):
    miss(store, "msg1", **written(simulator))
    miss(store, "msg2", **written(simulator, person="bob", deadline=OVER))
    own = {"route": "webhook", "parts": 1, "by_message_id": None}

    code, rows = told_as_json("send", "msg1", "nobody", "msg2")

    assert code == 1
    assert rows.pop(1) == {
        "id": "nobody",
        "outcome": "failed",
        "why": "no missed reply has this id: `celery -A worker late` lists them",
    }
    assert rows == [
        {"id": "msg1", "outcome": "sent", "why": None, **own},
        {"id": "msg2", "outcome": "sent", "why": None, **own | {"route": "proactive"}},
    ]


def test_a_machine_is_told_of_what_all_leaves_out(store, simulator, told):
    facts = written(simulator)
    ids = [
        miss(store, "msg1", **facts),
        miss(store, "msg2", in_doubt=True, **facts),
        miss(store, "msg3", answer=None, **facts),
    ]

    code, rows = told_as_json("send", "--all", "--since", "2h")

    assert code == 0
    assert [row["task_id"] for row in rows] == ids
    assert [(row["id"], row["outcome"]) for row in rows] == [
        *(("msg1", "sent"), ("msg2", "skipped"), ("msg3", "skipped")),
    ]
    assert rows[1]["why"].startswith("in doubt")
    assert rows[2]["why"].startswith("without an answer")


def test_a_machine_is_asked_nothing_on_its_stdout(store, simulator, told, monkeypatch):
    miss(store, **written(simulator))
    monkeypatch.setattr("worker.commands.late.is_asked", lambda: True)
    command = ["send", "--all", "--since", "2h", "--json"]

    no = CliRunner().invoke(late, command, input="n\n")
    yes = CliRunner().invoke(late, command, input="y\n")

    assert (no.exit_code, no.stdout) == (1, "")
    assert [row["outcome"] for row in json.loads(yes.stdout)] == ["sent"]


@pytest.mark.parametrize("is_queued", [True, False], ids=["queued", "broker away"])
def test_a_machine_is_told_of_reruns(store, told, monkeypatch, is_queued):
    store.remember("worker", "celery@here", {}, ttl_s=40)
    monkeypatch.setattr("worker.commands.broker.publish", lambda message: is_queued)
    miss(store, answer=None)

    assert told_as_json("rerun", "msg1") == (
        0,
        [{"id": "msg1", "outcome": "rerun", "why": None, "queued": is_queued, "workers": 1}],
    )


def test_a_machine_is_told_of_what_was_discarded(store, told):
    miss(store)

    code, rows = told_as_json("discard", "msg1", "msg1", "nobody")

    assert code == 1
    assert rows[0] == {"id": "msg1", "outcome": "discarded", "why": None}
    assert [row["outcome"] for row in rows] == ["discarded", "failed"]


def test_what_was_done_before_it_broke_off_is_told_to_a_machine_all_the_same(
    store, simulator, told, monkeypatch
):
    facts = written(simulator)
    miss(store, "msg1", **facts)
    miss(store, "msg2", **facts)
    send = Handling.send

    def cut_off(self: Handling, id_: str, *, again: bool) -> Any:
        if id_ == "msg2":
            raise KeyboardInterrupt
        return send(self, id_, again=again)

    monkeypatch.setattr(Handling, "send", cut_off)

    code, rows = told_as_json("send", "msg1", "msg2")

    assert (code, [row["id"] for row in rows]) == (1, ["msg1"])


def test_a_sealed_answer_is_shown_and_sent_with_its_key_alone(store, simulator, told, monkeypatch):
    key, other = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    miss(store, sealer=Sealer.from_setting(key), **written(simulator))

    for keys, why in ((None, "ENVELOPE_KEY is not set here"), (other, "a key that is not in")):
        if keys:
            monkeypatch.setenv("ENVELOPE_KEY", keys)
        shown, sent = run("show", "msg1"), run("send", "msg1")
        assert (shown.exit_code, sent.exit_code) == (1, 1)
        assert "expired_at_send" in shown.stdout, "the facts are in clear"
        assert "the answer cannot be shown: it is sealed" in shown.stderr
        assert "msg1: its answer cannot be read: it is sealed" in sent.stderr
        assert why in shown.stderr
        assert why in sent.stderr
    monkeypatch.setenv("ENVELOPE_KEY", f"{other},{key}")

    assert "the kept answer" in run("show", "msg1").stdout
    assert run("send", "msg1").exit_code == 0
    assert [text.partition("\n")[2] for text in arrived(simulator)] == ["the kept answer"]


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["lines", "json"])
@pytest.mark.parametrize("command", ["send", "rerun", "discard", "show"])
def test_every_command_says_in_a_line_that_the_store_is_away(store, monkeypatch, command, as_json):
    monkeypatch.setenv("STORE_URL", "redis://:SECRET@127.0.0.1:1/0")

    result = run(command, "msg1", *as_json)

    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("cannot read the store: ")
    assert "SECRET" not in result.stderr
