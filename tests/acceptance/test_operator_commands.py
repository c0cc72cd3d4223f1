"""``celery -A worker late`` and ``trace`` on a running deployment: what is done, and what is seen.

One deployment on Redis, with two workers and Flower, in which kept answers are the operator's.
"""

import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from contract.routing import task_id
from dingwire.simulator.records import Message
from tests import warm
from tests.acceptance.conftest import deployed
from tests.acceptance.deployment import CLIENT_ID, CLIENT_SECRET, MARKER, Deployment
from tests.servers import wait_for

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module", params=["redis"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with deployed(request, tmp_path_factory.mktemp("operated"), LATE_HANDOVER="false") as place:
        yield place


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    """All processes, running; no log tells what is private."""
    running.start()
    running.simulator.heal_replies()
    running.simulator.switch(session_ttl_s=5400, proactive="ok")
    yield running
    for private in (MARKER, CLIENT_SECRET, "sendBySession"):
        assert private not in running.logs()


def celery(
    deployment: Deployment, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``celery -A worker …``; it shows nothing private, save an answer that is asked for."""
    environment = deployment.environment | variables
    done = warm.run(["celery", "-A", "worker", *arguments], env=environment, cwd=deployment.work)
    output = done.stdout + done.stderr
    for private in (CLIENT_SECRET, "sendBySession", "Traceback"):
        assert private not in output
    assert MARKER not in output or "show" in arguments
    return done


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def a_person() -> str:
    return f"p{uuid.uuid4().hex[:12]}"


def flagged(deployment: Deployment, person: str = "", **more: Any) -> Message:
    """A message whose answer came too late for its webhook; sessions live long after it."""
    message = deployment.say_outliving_its_webhook(person, **more)
    deployment.until_state(message, "FLAGGED")
    return message


def handle_the_rest(deployment: Deployment) -> None:
    """Leave nothing to the operator of what other tests have left."""
    ids = [missed["message_id"] for missed in deployment.late("list", "--limit", "1000")]
    if ids:
        said(celery(deployment, "late", "discard", *ids))


def answers(deployment: Deployment, message: Message) -> list[str]:
    """What reached the conversation of the message, by any way."""
    proactive = [
        send.text
        for send in deployment.simulator.proactive
        if send.accepted and message.conversation_id in send.conversation_ids
    ]
    return [reply.text for reply in deployment.accepted([message])] + proactive


def told(deployment: Deployment, message: Message) -> list[dict[str, Any]]:
    """Return the steps of a message's story."""
    shown = json.loads(said(celery(deployment, "trace", message.message_id, "--json")))
    return list(shown["steps"])


def test_a_kept_answer_goes_by_a_later_webhook_and_no_agent_is_asked(deployment):
    person = a_person()
    late = flagged(deployment, person)
    fresh = deployment.say("and now", person)
    deployment.until_answered([fresh])

    sent = said(celery(deployment, "late", "send", late.message_id))
    again = celery(deployment, "late", "send", late.message_id)

    assert sent == (
        f"{late.message_id}: sent by the webhook of a later message, {fresh.message_id}\n"
    )
    assert len(deployment.calls(late)) == 1
    first, last = answers(deployment, late)
    assert first == f"you said {fresh.text}"
    mark, _, answer = last.partition("\n")
    assert mark == f"Late answer to: “{late.text}”"
    assert answer == f"you said {late.text}"
    assert "'sent_by_operator'" in deployment.until_state(late, "SUCCESS")["result"]
    assert again.returncode == 1
    assert re.search(r"it was sent at .* UTC by \S+@\S+; --again sends it once more", again.stderr)
    assert late.message_id not in said(celery(deployment, "late"))
    assert late.message_id in said(celery(deployment, "late", "--handled"))
    steps = told(deployment, late)
    assert [step["step"] for step in steps[-3:]] == ["finished", "sending", "sent"]
    assert steps[-3]["facts"]["reason"] == "expired_running"


def test_without_a_live_webhook_a_group_is_told_by_a_proactive_message(deployment):
    late = flagged(deployment, a_person(), group=f"team {uuid.uuid4().hex}")
    deployment.simulator.expire_session(late.conversation_id)

    sent = said(celery(deployment, "late", "send", late.message_id))

    assert sent == f"{late.message_id}: sent as a proactive message\n"
    assert answers(deployment, late)[0].endswith(f"you said {late.text}")
    deployment.until_state(late, "RESCUED")


def test_a_refused_reply_that_is_rescued_is_no_failure_in_flower_any_more(deployment):
    """Flower lets nothing take the place of FAILURE at once."""
    person = a_person()
    deployment.simulator.fail_replies(1, person, errcode=430101)
    refused = deployment.say("refused", person)
    deployment.until_state(refused, "FAILURE")
    deployment.simulator.expire_session(person)

    said(celery(deployment, "late", "send", refused.message_id))

    deployment.until_state(refused, "RESCUED")


def test_a_send_that_was_cut_off_is_in_doubt_and_sent_again_only_when_told_so(deployment):
    person = a_person()
    late = flagged(deployment, person)
    deployment.until_answered([deployment.say("and now", person)])
    deployment.simulator.fail_replies(1, person, reset=True, accept=True)

    first = celery(deployment, "late", "send", late.message_id)
    second = celery(deployment, "late", "send", late.message_id)
    posts = len(deployment.posts(late))
    third = celery(deployment, "late", "send", late.message_id, "--again")

    assert [done.returncode for done in (first, second, third)] == [1, 1, 0]
    assert "it may have arrived" in first.stderr
    assert "as a post was cut off" in second.stderr
    assert len(deployment.posts(late)) == posts + 1
    assert [step["step"] for step in told(deployment, late)][-4:] == [
        *("sending", "send_failed", "sending", "sent")
    ]


def test_a_send_that_is_killed_leaves_the_reply_missed_and_in_doubt(deployment):
    """A worker finds that nobody holds it any more, and keeps it again instead of posting it."""
    person = a_person()
    late = flagged(deployment, person)
    deployment.until_answered([deployment.say("and now", person)])
    posts = len(deployment.posts(late))
    deployment.simulator.fail_replies(1, person, hang_s=120)

    with subprocess.Popen(
        ["celery", "-A", "worker", "late", "send", late.message_id],
        env=deployment.environment,
        cwd=deployment.work,
    ) as sending:
        wait_for(lambda: len(deployment.posts(late)) > posts, what="the post")
        sending.kill()

    def is_missed() -> bool:
        listed = {m["message_id"]: m for m in deployment.late("list")}
        return bool(listed.get(late.message_id, {}).get("in_doubt"))

    wait_for(is_missed, what="the reply to be missed again")
    assert len(deployment.posts(late)) == posts + 1


def test_several_are_sent_each_for_itself_also_with_flower_and_broker_away(deployment):
    person = a_person()
    late = flagged(deployment, person)
    deployment.until_answered([deployment.say("and now", person)])

    done = celery(deployment, "late", "send", "nobody", late.message_id, BROKER_URL=NOWHERE)

    assert done.returncode == 1
    assert done.stdout.startswith(f"{late.message_id}: sent by the webhook of a later message")
    assert "nobody: no missed reply has this id" in done.stderr
    assert len(answers(deployment, late)) == 2


@pytest.mark.parametrize("broker", [{}, {"BROKER_URL": NOWHERE}], ids=["there", "away"])
def test_what_was_never_answered_is_run_anew_and_reaches_the_person(deployment, broker):
    """With the broker away, for the command, a worker's sweep publishes it."""
    for worker in deployment.workers:
        worker.signal(signal.SIGSTOP)
    deployment.simulator.switch(session_ttl_s=2.5)
    message = deployment.say("too long in the queue")
    deployment.until_expired(message)
    for worker in deployment.workers:
        worker.signal(signal.SIGCONT)
    deployment.until_state(message, "FLAGGED")

    done = said(celery(deployment, "late", "rerun", message.message_id, **broker))

    expected = "queued to run anew" if not broker else "a worker queues it when that is back"
    assert expected in done
    deployment.until_state(message, "RESCUED")
    assert len(deployment.calls(message)) == 1
    [answer] = answers(deployment, message)
    assert answer.endswith(f"you said {message.text}")
    assert message.message_id not in said(celery(deployment, "late"))
    steps = [step["step"] for step in told(deployment, message)]
    assert steps[steps.index("rerun") :] == [
        *("rerun", "taken", "agent_started", "agent_ended", "sending", "finished")
    ]


def test_one_that_is_discarded_is_dropped_in_flower(deployment):
    failed = deployment.say("raise: this")
    deployment.until_state(failed, "FAILURE")

    assert said(celery(deployment, "late", "discard", failed.message_id)).endswith("discarded\n")

    deployment.until_state(failed, "DROPPED")
    assert told(deployment, failed)[-1]["step"] == "discarded"
    shown = celery(deployment, "late", "show", failed.message_id)
    assert (shown.returncode, shown.stdout) == (1, "")


def test_all_of_a_reason_are_sent_at_once(deployment):
    handle_the_rest(deployment)
    person = a_person()
    late = [flagged(deployment, person) for _ in range(2)]
    deployment.until_answered([deployment.say("and now", person)])

    command = ("late", "send", "--all", "--since", "1h", "--reason", "expired_running")
    done = said(celery(deployment, *command))

    lines = done.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [m.message_id for m in late]
    assert lines[-1] == "2 sent"


def test_the_story_of_an_answered_message_has_every_step_and_its_spare_time(deployment):
    person = a_person()
    deployment.simulator.fail_replies(1, person, errcode=-1)
    message = deployment.say("hello", person)
    deployment.until_state(message, "SUCCESS")

    text = said(celery(deployment, "trace", message.message_id))
    steps = told(deployment, message)

    assert [step["step"] for step in steps] == [
        *("received", "enqueued", "taken", "agent_started", "agent_ended", "sending", "retried"),
        *("taken", "sending", "finished"),
    ]
    retried = steps[6]
    assert retried["facts"]["errcode"] == -1
    assert "errcode -1" in retried["what"]
    since = [step["since_received_s"] for step in steps]
    assert since == sorted(since)
    assert all(5300 < step["spare_s"] <= 5398.5 for step in steps)
    owner = steps[2]["facts"]["owner"]
    assert re.search(rf"taken by {re.escape(owner)}", text)
    assert re.search(r"ended as SUCCESS, \d+\.\d{3} s after it was received", text)


def test_a_running_message_says_who_has_it_and_a_dead_worker_shows(deployment):
    message = deployment.say("wait:traced until it is traced")
    deployment.until_called([message])
    [(_, pid)] = deployment.calls(message)

    running = said(celery(deployment, "trace", message.message_id)).splitlines()[-1]
    deployment.worker_of(pid).kill()
    wait_for(lambda: len(deployment.calls(message)) == 2, what="the other worker")
    deployment.open_gate("traced")
    deployment.until_answered([message])
    deployment.until_finished([message])

    assert re.match(rf"now: with the agent by \S+:{pid}, for \d+\.\d+ s", running)
    words = [step["what"] for step in told(deployment, message)]
    assert any(re.match(rf"taken over by \S+: \S+:{pid} had it", word) for word in words)


def test_a_conversation_shows_who_waited_for_their_turn(deployment):
    person = a_person()
    first = deployment.say("wait:turn for the second one", person)
    deployment.until_called([first])
    second = deployment.say("me too", person)

    def is_parked() -> bool:
        done = celery(deployment, "trace", second.message_id)
        return "now: waits for its turn in its conversation" in done.stdout

    wait_for(is_parked, what="the second one to be parked")
    deployment.open_gate("turn")
    deployment.until_answered([first, second])
    deployment.until_finished([first, second])

    words = [step["what"] for step in told(deployment, second)]
    assert any(re.search(r"after it waited \d+\.\d{3} s for its turn", word) for word in words)
    command = ("trace", "--conversation", first.conversation_id)
    listed = json.loads(said(celery(deployment, *command, "--json")))
    assert [one["message_id"] for one in listed] == [second.message_id, first.message_id]
    assert [one["outcome"] for one in listed] == ["SUCCESS", "SUCCESS"]
    rows = said(celery(deployment, *command)).splitlines()
    assert [row.split()[2] for row in rows[1:]] == [second.message_id, first.message_id]


def test_answers_in_parts_are_told_part_by_part(deployment):
    message = deployment.say("x " * 12_000)
    deployment.until_state(message, "SUCCESS")

    words = [step["what"] for step in told(deployment, message)]

    parts = [re.fullmatch(r"sends part (\d) of (\d) by webhook", word) for word in words]
    assert [(m[1], m[2]) for m in parts if m] == [("1", "2"), ("2", "2")]


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "line"),
    [
        ("late send nobody", {}, 1, "nobody: no missed reply has this id"),
        ("late --since 2weeks", {}, 2, "'2weeks' is no duration: write 90s, 15m, 2h or 3d"),
        ("late --color", {}, 2, "No such option"),
        ("trace nobody", {}, 1, "no story of nobody: stories are kept for 24 hours"),
        ("late send x", {"STORE_URL": NOWHERE}, 1, "cannot read the store: "),
        ("trace x", {"STORE_URL": NOWHERE}, 1, "cannot read the store: "),
        ("trace x", {"LEASE_S": "soon"}, 2, "cannot read settings: LEASE_S: "),
        ("late send x", {"BROKER_URL": "nonsense"}, 2, "cannot read settings: BROKER_URL: "),
    ],
)
def test_bad_input_gives_a_clear_line_and_the_right_exit_code(
    deployment, arguments, variables, code, line
):
    done = celery(deployment, *arguments.split(), **variables)

    assert (done.returncode, done.stdout) == (code, "")
    last = done.stderr.splitlines()[-1]
    assert line in last
    assert os.linesep not in last
    if "Usage:" not in done.stderr:
        assert len(done.stderr.splitlines()) == 1


def test_the_id_in_flower_is_good_for_every_command(deployment):
    message = deployment.say("raise: an error")
    id_ = task_id(CLIENT_ID, message.message_id)
    deployment.until_state(message, "FAILURE")

    assert json.loads(said(celery(deployment, "late", "show", id_, "--json")))["reason"] == (
        "agent_failed"
    )
    assert message.message_id in said(celery(deployment, "trace", id_))
