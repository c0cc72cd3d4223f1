"""``celery -A worker trace``: what an operator reads of a message, and what nobody reads."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contract.routing import task_id
from tests.unit.worker.answering_parts import (
    SECRET_WORDS,
    SESSION,
    START,
    WEBHOOK,
    Clock,
    envelope,
)
from worker.agents import Usage
from worker.agents.usage import summed
from worker.commands.telling import in_words
from worker.commands.trace import trace
from worker.settings import WorkerSettings
from worker.store import Claimed, Parked, Reason, Step, Turn
from worker.store.sql import SqlStore
from worker.story import agent_steps, beginning

PRIVATE = (SECRET_WORDS, SESSION, WEBHOOK, "Alice in secret", "the kept answer")


class Place:
    """A store whose clock passes when told, and messages that are worked on in it."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.store = SqlStore(f"sqlite:///{folder}/trace.db", clock_ms=self.clock.ms)
        self.store.prepare()

    def claim(
        self, message_id: str = "msg1", *, owner: str = "one:1", turn: Turn | None = None, **more
    ) -> Any:
        message = envelope(message_id=message_id, **{"received_at": self.clock.now} | more)
        wire = message.to_wire()
        self.clock.advance(0.25)
        return self.store.claim(
            task_id(message.bot, message_id),
            owner=owner,
            lease_s=15,
            envelope=wire,
            turn=turn,
            steps=beginning(wire, self.clock.now),
        )

    def taken(self, message_id: str = "msg1", **more: Any) -> Claimed:
        claim = self.claim(message_id, **more)
        assert isinstance(claim, Claimed)
        return claim


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    """The store the command reads, with nothing of the environment left."""
    monkeypatch.chdir(tmp_path)
    for field in WorkerSettings.model_fields.values():
        alias = field.validation_alias
        for name in getattr(alias, "choices", [alias]):
            monkeypatch.delenv(str(name), raising=False)
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path}/trace.db")
    place = Place(tmp_path)
    yield place
    place.store.close()


def run(*arguments: str) -> Result:
    """Run the command; whatever it says, it says nothing private."""
    result = CliRunner().invoke(trace, list(arguments))
    assert not any(private in result.output + result.stderr for private in PRIVATE)
    return result


def rows(result: Result) -> list[tuple[str, str, str, str]]:
    """Return the timeline: time of day, seconds since received, spare seconds, words."""
    assert result.exit_code == 0, result.stderr
    _, table, _ = result.output.split("\n\n")
    head, *lines = table.splitlines()
    assert head.split() == ["TIME", "(UTC)", "+SECONDS", "SPARE", "WHAT"]
    cells = [line.split(maxsplit=4) for line in lines]
    return [(time, since, spare, what) for _, time, since, spare, what in cells]


def test_an_answered_message_is_one_timeline_from_frame_to_reply(place):
    claimed = place.taken(enqueued_at=START + timedelta(milliseconds=7))
    place.clock.advance(3)
    steps = [Step("agent_started", ago_s=2.9), Step("agent_ended", {"agent_s": 2.9})]
    steps[1].facts["outcome"] = "answered"
    place.store.keep_answer(claimed.lease, "the kept answer", steps)
    sending = Step("sending", {"part": 1, "of": 1, "route": "webhook"})
    place.store.sending(claimed.lease, sent=0, steps=[sending])
    place.clock.advance(0.5)
    facts = {"state": "SUCCESS", "outcome": "on_time", "attempts": 1, "parts": 1}
    place.store.finish(claimed.lease, "SUCCESS", [Step("finished", facts)])

    result = run("msg1")

    assert rows(result) == [
        ("09:00:00.000", "0.000", "1200.000", "received: text in private"),
        ("09:00:00.007", "0.007", "1199.993", "put on the broker"),
        ("09:00:00.250", "0.250", "1199.750", "taken by one:1"),
        ("09:00:00.350", "0.350", "1199.650", "agent started"),
        ("09:00:03.250", "3.250", "1196.750", "agent ended after 2.9 s: answered"),
        ("09:00:03.250", "3.250", "1196.750", "sends the reply by webhook"),
        ("09:00:03.750", "3.750", "1196.250", "ended as SUCCESS: on_time, 1 part"),
    ]
    head, _, end = result.output.split("\n\n")
    assert head.splitlines() == [
        "message:      msg1",
        f"task:         {task_id('robot1', 'msg1')}",
        "bot:          robot1",
        "conversation: cid1 private",
        "sender:       staff1",
    ]
    assert end == "ended as SUCCESS, 3.750 s after it was received\n"


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        ([Usage("m", 512, 60)], "1 call of m, 512 tokens in, 60 out"),
        ([Usage("m", 1, 2), Usage("m", 3, 4)], "2 calls of m, 4 tokens in, 6 out"),
        ([Usage("m", 1, 2), Usage("m")], "2 calls of m, its tokens were not told"),
        ([Usage("m", 1, 2), Usage("", 3, 4)], "1 call of m, 1 tokens in, 2 out; 1 call of ?, 3"),
    ],
    ids=["one", "two", "untold", "two models"],
)
def test_what_was_used_of_a_model_is_told_with_the_agents_end(usage, words):
    _, ended = agent_steps(2.5, "answered", summed(usage))
    assert in_words(ended).startswith(f"agent ended after 2.5 s: answered ({words}")


def test_it_is_found_by_its_task_id_as_well(place):
    place.taken()
    assert run(task_id("robot1", "msg1")).output.startswith("message:      msg1\n")


def test_spare_seconds_are_by_dingtalks_clock(place):
    place.taken(clock_offset_s=200)
    assert rows(run("msg1"))[0][2] == "1000.000"


def test_a_message_from_the_spool_says_so(place):
    then = START + timedelta(seconds=1)
    place.clock.advance(60)
    place.taken(received_at=START, spooled_at=then, enqueued_at=then + timedelta(seconds=58))

    assert [(since, what) for _, since, _, what in rows(run("msg1"))][1:3] == [
        ("1.000", "written to the listener's spool: the broker was away"),
        ("59.000", "put on the broker"),
    ]


def test_every_retry_is_told_with_its_errcode(place):
    claimed = place.taken()
    facts = {"errcode": 130101, "detail": "throttled", "retry_in_s": 60.0, "attempts": 1}
    place.store.release(claimed.lease, due_in_s=60, steps=[Step("retried", facts)])

    result = run("msg1")

    assert rows(result)[-1][-1] == (
        "attempt 1 not delivered (errcode 130101, throttled); the next in 60.0 s"
    )
    assert "now: waits for its next attempt, for " in result.output


def test_how_long_a_message_waited_for_its_turn_is_told(place):
    lane = "robot1\ncid1"
    first = place.taken("msg1", turn=Turn(lane, (1, 1)))
    assert isinstance(place.claim("msg2", turn=Turn(lane, (2, 2))), Parked)
    parked = run("msg2")
    place.clock.advance(5)
    place.store.finish(first.lease, "SUCCESS")
    place.taken("msg2", owner="two:2")

    taken = rows(run("msg2"))

    assert "now: waits for its turn in its conversation, for " in parked.output
    assert [what for *_, what in taken][1:] == [
        "waits for its turn: its conversation is busy",
        "taken by two:2, after it waited 5.250 s for its turn",
    ]


def test_who_works_on_a_message_and_since_when_is_told(place, monkeypatch):
    monkeypatch.setenv("LEASE_S", "7")
    place.taken()
    in_ten_seconds = START + timedelta(seconds=10)
    monkeypatch.setattr("worker.commands.trace.clock", lambda: in_ten_seconds)
    long = run("msg1").output.splitlines()[-1]
    monkeypatch.setattr("worker.commands.trace.clock", lambda: place.clock.now)
    short = run("msg1").output.splitlines()[-1]

    assert long == (
        "now: with the agent by one:1, for 9.750 s (since 2026-03-01 09:00:00.250); if that "
        "process died, another worker takes over within LEASE_S (7 s) of its end; if none does, "
        "no worker runs: `celery -A worker doctor`"
    )
    assert short == "now: with the agent by one:1, for 0.000 s (since 2026-03-01 09:00:00.250)"


def test_a_worker_that_died_shows_in_the_story(place):
    place.taken(owner="one:1")
    place.clock.advance(20)
    place.store.claim(task_id("robot1", "msg1"), owner="two:2", lease_s=15, envelope=None)

    assert [what for *_, what in rows(run("msg1"))][1:] == [
        "taken by one:1",
        "taken over by two:2: one:1 had it, and its lease had run out",
    ]


def test_one_that_was_given_back_waits_for_another(place):
    claimed = place.taken()
    place.store.release(claimed.lease, due_in_s=0, steps=[Step("given_back")])

    result = run("msg1")

    assert rows(result)[-1][-1] == "given back by one:1"
    assert "now: waits for another worker, for " in result.output


def test_a_missed_reply_and_what_an_operator_did_with_it_is_one_story(place):
    claimed = place.taken()
    facts = {"state": "FLAGGED", "reason": "expired_at_send", "errcode": 300001}
    place.store.miss(
        claimed.lease,
        state="FLAGGED",
        reason=Reason.EXPIRED_AT_SEND,
        errcode=300001,
        detail="",
        steps=[Step("finished", facts)],
    )
    missed = run("msg1").output
    taken = place.store.take_missed_one(task_id("robot1", "msg1"), owner="root@here", lease_s=15)
    assert taken is not None
    being_sent = run("msg1").output
    by = {"route": "webhook", "by_message_id": "msg9", "by": "root@here"}
    place.store.settle(taken[0], "SUCCESS", [Step("sent", by)])
    sent = run("msg1")
    for_machines = json.loads(run("msg1", "--json").output)

    assert (for_machines["state"], for_machines["outcome"]) == ("sent", "SUCCESS")
    assert missed.endswith(
        "ended as FLAGGED (expired_at_send), 0.250 s after it was received: "
        "`celery -A worker late show msg1`\n"
    )
    assert "now: being sent after all by root@here, for " in being_sent
    assert [what for *_, what in rows(sent)][2:] == [
        "ended as FLAGGED: expired_at_send (errcode 300001)",
        "sent after all by root@here, by the webhook of message msg9",
    ]
    assert sent.output.endswith(
        "ended as SUCCESS (expired_at_send), 0.250 s after it was received\n"
    )


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("merged", {"into": "msg2"}), "merged into the turn of message msg2"),
        (Step("handed_over", {"by_message_id": "m2"}), "sent after all by the webhook of message"),
        (Step("sending", {"part": 2, "of": 3, "route": "proactive"}), "sends part 2 of 3 as a pro"),
        (Step("sending", {"part": 1, "of": 1, "route": "card"}), "sends the reply by its card"),
        (Step("send_failed", {"by": "me@x", "detail": "no"}), "me@x tried to send it after all (n"),
        (Step("sent", {"by": "me@x", "route": "webhook"}), "sent after all by me@x, by webhook"),
        (
            Step("paced", {"retry_in_s": 9}),
            "put off, to post no faster than the limits allow; again in",
        ),
        (Step("retried", {"detail": "no"}), "not delivered (no)"),
        (Step("rerun"), "an operator had it run anew"),
        (Step("discarded"), "an operator discarded it"),
        (Step("beamed", {"to": "mars"}), "beamed to=mars"),
    ],
)
def test_every_step_has_words_one_of_a_later_release_included(place, step, words):
    claimed = place.taken()
    place.store.finish(claimed.lease, "SUCCESS", [step])
    assert rows(run("msg1"))[-1][-1].startswith(words)


def test_the_story_is_there_for_machines(place):
    claimed = place.taken(conversation="group")
    facts = {"state": "FLAGGED", "reason": "throttled", "errcode": 130101}
    place.store.miss(
        claimed.lease,
        state="FLAGGED",
        reason=Reason.THROTTLED,
        errcode=130101,
        detail="",
        steps=[Step("finished", facts)],
    )

    shown = json.loads(run("msg1", "--json").output)

    steps = shown.pop("steps")
    assert shown == {
        "task_id": task_id("robot1", "msg1"),
        "message_id": "msg1",
        "bot": "robot1",
        "conversation_id": "cid1",
        "conversation": "group",
        "sender_staff_id": "staff1",
        "kind": "text",
        "received_at": "2026-03-01T09:00:00.000+00:00",
        "state": "missed",
        "outcome": "FLAGGED",
        "reason": "throttled",
        "owner": None,
        "total_s": 0.25,
        "now": None,
    }
    assert [step["step"] for step in steps] == ["received", "taken", "finished"]
    assert steps[2] == {
        "step": "finished",
        "at": "2026-03-01T09:00:00.250+00:00",
        "since_received_s": 0.25,
        "spare_s": 1199.75,
        "what": "ended as FLAGGED: throttled (errcode 130101)",
        "facts": facts,
    }


def test_a_conversations_last_messages_are_listed_newest_first(place):
    for number in (1, 2, 3):
        claimed = place.taken(f"msg{number}", received_at=place.clock.now)
        place.clock.advance(number)
        facts = {"state": "FLAGGED", "reason": "throttled"} if number == 2 else {}
        place.store.finish(claimed.lease, "SUCCESS", [Step("finished", facts)])
    place.taken("elsewhere", conversation_id="cid2")

    result = run("--conversation", "cid1", "--limit", "2")

    assert result.exit_code == 0
    head, *lines = result.output.splitlines()
    assert head.split() == ["RECEIVED", "(UTC)", "MESSAGE", "STATE", "REASON", "SECONDS"]
    assert [line.split()[2:] for line in lines] == [
        ["msg3", "SUCCESS", "-", "3.250"],
        ["msg2", "SUCCESS", "throttled", "2.250"],
    ]
    shown = json.loads(run("--conversation", "cid1", "--json").output)
    assert [one["message_id"] for one in shown] == ["msg3", "msg2", "msg1"]
    assert (shown[1]["reason"], shown[1]["total_s"]) == ("throttled", 2.25)


def test_a_conversation_with_two_bots_tells_them_apart(place):
    for bot in ("robot1", "robot2"):
        claimed = place.taken("msg1", bot=bot, conversation="group")
        place.store.finish(claimed.lease, "SUCCESS", [Step("finished", {})])

    head, *lines = run("--conversation", "cid1").output.splitlines()

    assert head.split()[0] == "BOT"
    assert sorted(line.split()[0] for line in lines) == ["robot1", "robot2"]


@pytest.mark.parametrize(
    "arguments", [["nobody"], ["nobody", "--json"], ["--conversation", "nowhere"]]
)
def test_what_is_not_there_is_a_failure_that_says_how_long_stories_are_kept(
    place, monkeypatch, arguments
):
    monkeypatch.setenv("KEEP_MISSED_DAYS", "3")

    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert "24 hours after an answer, and for 3 days (KEEP_MISSED_DAYS)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "name a message id, or a conversation with --conversation ID"),
        (["msg1", "--conversation", "cid1"], "name a message id, or a conversation"),
        (["--colour"], "No such option '--colour'"),
        (["--conversation", "cid1", "--limit", "0"], "0 is not in the range 1<=x<=1000"),
    ],
)
def test_wrong_usage_is_told(place, arguments, problem):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr


@pytest.mark.parametrize("arguments", [["msg1"], ["--conversation", "cid1"]])
def test_a_store_that_is_away_and_settings_that_are_wrong_are_one_line_each(
    place, monkeypatch, arguments
):
    monkeypatch.setenv("STORE_URL", "redis://:SECRET@127.0.0.1:1/0")
    away = run(*arguments)
    monkeypatch.setenv("STORE_URL", "mysql://SECRET")
    wrong = run(*arguments)

    assert (away.exit_code, wrong.exit_code) == (1, 2)
    assert away.stderr.startswith("cannot read the store: ")
    assert wrong.stderr.startswith("cannot read settings: STORE_URL: ")
    assert [len(result.stderr.splitlines()) for result in (away, wrong)] == [1, 1]
    assert "SECRET" not in away.stderr + wrong.stderr


def test_it_is_a_command_of_celery(place):
    place.taken()
    root = str(Path(__file__).parents[3])

    ran = subprocess.run(
        [sys.executable, "-m", "celery", "--workdir", root, "-A", "worker", "trace", "msg1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"DATA_DIR": str(Path.cwd())},
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "received: text in private" in ran.stdout
    assert SECRET_WORDS not in ran.stdout
