"""The Procfile's lines on real brokers and stores: what becomes of a message, and what is seen.

Every test runs on Redis, on RabbitMQ with PostgreSQL, and on the embedded broker with SQLite.
"""

import json
import signal
import socket
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from contract.routing import task_id
from tests.acceptance.deployment import (
    CLIENT_ID,
    CLIENT_SECRET,
    MARKER,
)
from tests.processes import KILLED_AFTER_S
from tests.servers import wait_for
from worker.words import FAILED

MIB = 1024 * 1024


def _epoch_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def test_two_hundred_messages_are_each_answered_once(deployment):
    """Twenty conversations, two workers, nothing left behind."""
    people = [f"{deployment.port}-{time.monotonic_ns()}-{n}" for n in range(20)]
    said = [
        deployment.simulator.say(f"{MARKER} {number} to you", person, group=group)
        for number in range(10)
        for position, person in enumerate(people)
        for group in [f"team {person}" if position % 2 else None]
    ]

    deployment.until_acked(said)
    deployment.until_answered(said)
    deployment.until_finished(said)

    assert len({m.conversation_id for m in said}) == 20
    expected = Counter((m.conversation_id, f"you said {m.text}") for m in said)
    assert Counter((r.conversation_id, r.text) for r in deployment.accepted(said)) == expected
    ids = {m.message_id for m in said}
    acks = [a for a in deployment.simulator.message_acks if a.message_id in ids]
    assert len(acks) == 200
    assert {a.code for a in acks} == {200}
    calls = [call for call in deployment.calls() if call[0] in ids]
    assert Counter(id_ for id_, _ in calls) == Counter(ids)
    assert {deployment.worker_of(pid).line for pid in {pid for _, pid in calls}} == {
        worker.line for worker in deployment.workers
    }, "both took part"
    tasks = {task_id(CLIENT_ID, id_) for id_ in ids}
    wait_for(
        lambda: tasks <= set(deployment.flower("/api/tasks", state="SUCCESS").json()),
        what="200 successes in Flower",
    )


def test_a_webhook_that_expires_in_the_queue_costs_no_agent_and_is_flagged(deployment):
    for worker in deployment.workers:
        worker.signal(signal.SIGSTOP)
    deployment.simulator.switch(session_ttl_s=2.5)
    message = deployment.say("too long in the queue")
    deployment.simulator.switch(session_ttl_s=5400)
    deployment.until_expired(message)
    for worker in deployment.workers:
        worker.signal(signal.SIGCONT)

    shown = deployment.until_state(message, "FLAGGED")

    assert "expired_in_queue" in shown["result"]
    assert deployment.calls(message) == []
    assert deployment.posts(message) == []
    listed = deployment.late("list")
    [missed] = [m for m in listed if m["message_id"] == message.message_id]
    assert missed["reason"] == "expired_in_queue"
    assert missed["state"] == "FLAGGED"
    assert missed["has_answer"] is False


def test_an_agent_that_outlives_the_webhook_is_flagged_and_its_answer_kept(deployment):
    message = deployment.say_outliving_its_webhook()

    shown = deployment.until_state(message, "FLAGGED")

    assert "expired_running" in shown["result"]
    assert len(deployment.calls(message)) == 1
    assert deployment.posts(message) == []
    kept = deployment.late("show", message.message_id)
    assert kept["reason"] == "expired_running"
    assert kept["answer"] == f"you said {message.text}"
    assert kept["task_id"] == task_id(CLIENT_ID, message.message_id)


def test_http_200_with_300001_is_not_taken_for_delivered(deployment):
    message = deployment.say("wait:gone for the session")
    deployment.until_called([message])
    deployment.simulator.expire_session(message.person)
    deployment.open_gate("gone")

    shown = deployment.until_state(message, "FLAGGED")

    [post] = deployment.posts(message)
    assert (post.status, post.errcode, post.accepted) == (200, 300001, False)
    assert "300001" in shown["result"]
    kept = deployment.late("show", message.message_id)
    assert kept["errcode"] == 300001
    assert kept["reason"] == "expired_at_send"
    assert kept["answer"] == f"you said {message.text}"


@pytest.mark.parametrize(
    "webhook",
    [
        "https://oapi.dingtalk.com.evil.example/robot/sendBySession?session=stolen",
        "http://127.0.0.1:{port}/robot/sendBySession?session=stolen",
    ],
)
def test_a_webhook_to_a_foreign_host_is_never_asked(deployment, webhook):
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        foreign.setblocking(False)
        url = webhook.format(port=foreign.getsockname()[1])

        message = deployment.say("to a stranger", sessionWebhook=url)

        shown = deployment.until_state(message, "FAILURE")
        with pytest.raises(BlockingIOError):
            foreign.accept()
    assert "webhook_not_allowed" in shown["exception"]
    assert "stolen" not in json.dumps(shown)
    assert deployment.calls(message) == []
    assert deployment.posts(message) == []
    assert deployment.late("show", message.message_id)["reason"] == "webhook_not_allowed"


def test_a_passing_fault_is_retried_without_asking_the_agent_again(deployment):
    person = f"patient-{time.monotonic_ns()}"
    deployment.simulator.fail_replies(2, person, status=500)
    message = deployment.say("third time lucky", person)

    deployment.until_answered([message])
    shown = deployment.until_state(message, "SUCCESS", when=lambda task: task["retried"])

    assert [post.status for post in deployment.posts(message)] == [500, 500, 200]
    assert [reply.text for reply in deployment.accepted([message])] == [f"you said {message.text}"]
    assert len(deployment.calls(message)) == 1
    assert shown["failed"] is None
    deployment.until_finished([message])


def test_an_agent_that_fails_is_a_failure_that_quotes_nobody(deployment):
    """The person is told once, in words of ours."""
    message = deployment.say("raise: this")

    shown = deployment.until_state(message, "FAILURE")

    assert "agent_failed" in shown["exception"]
    assert [post.text for post in deployment.posts(message)] == [FAILED.en]
    assert deployment.late("show", message.message_id)["detail"] == "ValueError"


def test_flower_finds_messages_by_their_id_and_shows_nothing_private(deployment):
    """The logs are looked through after every test; see the fixture."""
    foreign = "https://elsewhere.example/robot/sendBySession?session=stolen"
    fine = deployment.say("hello")
    failed = deployment.say("raise: an error")
    refused = deployment.say("hello", sessionWebhook=foreign)
    late = deployment.say("hello", sessionWebhookExpiredTime=_epoch_ms() - 60_000)
    retried = f"private-{time.monotonic_ns()}"
    deployment.simulator.fail_replies(1, retried, status=500)
    again = deployment.say("hello", retried)
    messages = [fine, failed, refused, late, again]

    shown = []
    states = ["SUCCESS", "FAILURE", "FAILURE", "FLAGGED", "SUCCESS"]
    for message, state in zip(messages, states, strict=True):
        shown.append(json.dumps(deployment.until_state(message, state)))
        by_state = deployment.flower("/api/tasks", state=state)
        task = by_state.json()[task_id(CLIENT_ID, message.message_id)]
        assert message.message_id in task["kwargs"]
        by_id = deployment.flower("/api/tasks", search=message.message_id)
        assert list(by_id.json()) == [task["uuid"]]
        shown.append(by_state.text)
    shown.append(deployment.flower("/api/tasks").text)
    shown.append(deployment.flower("/api/workers", refresh="1").text)

    webhooks = {m.session_webhook for m in messages} | {foreign}
    sessions = {url.rpartition("=")[2] for url in webhooks}
    for private in {MARKER, CLIENT_SECRET, "sendBySession", *webhooks, *sessions}:
        assert private not in "\n".join(shown)
        assert private not in deployment.logs()


def test_the_doctor_finds_everything_in_its_place(deployment):
    """Listeners report themselves every quarter of a minute."""
    seen: dict[str, dict[str, str]] = {}

    def is_well() -> bool:
        # A listener that has just started reports itself before it is connected.
        shown = json.loads(
            deployment.run("celery", "-A", "worker", "doctor", "--json", may_fail=True)
        )
        seen.update({check["name"]: check for check in shown["checks"]})
        return seen["listeners"]["status"] == "ok"

    wait_for(is_well, what="a listener's report")

    # Other tests here leave missed replies behind, and groups of their own.
    for name in ("missed replies", "group messages", "proactive", "stream"):
        seen.pop(name)
    # What is not set here.
    skipped = {name for name, check in seen.items() if check["status"] == "skip"}
    assert skipped == {"api budget"}
    assert {check["status"] for name, check in seen.items() if name not in skipped} == {"ok"}, seen


def test_bad_input_kills_nothing(deployment):
    simulator = deployment.simulator
    pids = {p.pid for process in deployment.processes.values() for p in process.members()}

    for frame in ("", "{", "[]", "null", '"text"', '{"type": 7}', "\x00", b"\xff\xfe\x00", b"{}"):
        simulator.raw(frame)
    simulator.raw('{"type": "NEWS", "headers": {"messageId": "1", "topic": "?"}, "data": "{}"}')
    simulator.raw('{"type": "CALLBACK", "headers": {"topic": 1}, "data": {"no": "text"}}')
    simulator.raw("x" * MIB)
    simulator.raw(b"x" * MIB)
    simulator.push("/v1.0/no/such/topic", "{}")
    simulator.push("/v1.0/im/bot/messages/get", "no json")
    simulator.push("/v1.0/im/bot/messages/get", "[]")
    simulator.push("/v1.0/im/bot/messages/get", "{}")
    routeless = deployment.say("hello", omit=("sessionWebhook", "sessionWebhookExpiredTime"))
    in_text = deployment.say("text", sessionWebhookExpiredTime=str(_epoch_ms() + 600_000))
    never = deployment.say("never", sessionWebhookExpiredTime=None)
    long = deployment.say(f"brief {'x' * MIB}")
    normal = deployment.say("and this is a good one")

    deployment.until_answered([in_text, never, long, normal])

    assert [r.text for r in deployment.accepted([normal])] == [f"you said {normal.text}"]
    assert [r.text for r in deployment.accepted([long])] == ["in short"]
    assert "no_route" in deployment.until_state(routeless, "FAILURE")["exception"]
    assert deployment.late("show", routeless.message_id)["reason"] == "no_route"
    assert pids == {p.pid for process in deployment.processes.values() for p in process.members()}
    assert len(simulator.live_connections) == 1


def test_a_killed_workers_messages_are_answered_by_the_other(deployment):
    said = [deployment.say("wait:killed for a worker to die") for _ in range(8)]
    deployment.until_called(said)
    holders = Counter(pid for message in said for _, pid in deployment.calls(message))
    [(pid, held)] = holders.most_common(1)
    deployment.worker_of(pid).kill()
    deployment.open_gate("killed")

    deployment.until_answered(said)

    assert [r.text for r in deployment.accepted(said)] == [f"you said {said[0].text}"] * 8
    assert {len(deployment.posts(m)) for m in said} == {1}
    assert sum(len(deployment.calls(m)) for m in said) == 8 + held
    missed = {m["message_id"] for m in deployment.late("list")}
    assert missed.isdisjoint(m.message_id for m in said)


def test_an_answer_kept_by_a_killed_worker_is_sent_by_the_other(deployment):
    """The agent has been paid for once; nobody asks it again."""
    person = f"kept-{time.monotonic_ns()}"
    deployment.simulator.fail_replies(None, person, status=500)
    message = deployment.say("say it once", person)
    wait_for(lambda: deployment.posts(message), what="a first attempt")
    [(_, pid)] = deployment.calls(message)
    deployment.worker_of(pid).kill()
    deployment.simulator.heal_replies()

    deployment.until_answered([message])

    assert [r.text for r in deployment.accepted([message])] == [f"you said {message.text}"]
    assert len(deployment.calls(message)) == 1


def test_sigterm_ends_everything_in_time_and_loses_nothing(deployment):
    """What an agent is still busy with goes back, and is answered after the next start."""
    done = [deployment.say("quick") for _ in range(5)]
    deployment.until_answered(done)
    held = deployment.say("wait:restarted for the next start")
    deployment.until_called([held])

    running = dict(deployment.processes)
    for process in running.values():
        process.signal(signal.SIGTERM)
    started = time.monotonic()
    codes, took_s = {}, {}
    for name in sorted(running):  # the listener first
        codes[name] = running[name].wait(KILLED_AFTER_S)
        took_s[name] = time.monotonic() - started

    assert codes == dict.fromkeys(running, 0)
    assert took_s["listener"] < KILLED_AFTER_S / 2
    assert max(took_s.values()) < KILLED_AFTER_S - 5
    assert [p for process in running.values() for p in process.members()] == []
    assert sum(deployment.waiting().values()) <= 1, "what was answered had left the broker"

    deployment.open_gate("restarted")
    deployment.start()
    deployment.until_answered([held])
    deployment.until_finished([held, *done])
    assert [r.text for r in deployment.accepted([held])] == [f"you said {held.text}"]
