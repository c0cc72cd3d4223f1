"""What a worker does with its command line, its settings and messages that are not for it."""

import contextlib
import json
import sqlite3
import uuid
from datetime import UTC, datetime

import pytest
import redis

from contract.broker import Broker
from contract.routing import task_id
from tests.integration.worker_place import place
from tests.servers import wait_for

WEBHOOK = "https://oapi.dingtalk.com/robot/sendBySession?session=marked0webhook"


NAME = "asked@here"
ASKED = ("-d", NAME, "-t", "60")  # whoever names no worker waits for others until the time is up


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


@pytest.mark.parametrize(
    ("options", "variables", "pool", "concurrency"),
    [
        ("", {}, "worker.running.pool:ThreadPool", 64),
        ("-c 3", {}, "worker.running.pool:ThreadPool", 3),
        ("-P prefork -c 2", {}, "worker.running.pool:ProcessPool", 2),
        ("-P prefork", {"WORKER_CONCURRENCY": "2"}, "worker.running.pool:ProcessPool", 2),
        (
            "",
            {"WORKER_POOL": "prefork", "WORKER_CONCURRENCY": "1"},
            "worker.running.pool:ProcessPool",
            1,
        ),
        ("-P threads -c 5", {"WORKER_POOL": "prefork"}, "worker.running.pool:ThreadPool", 5),
    ],
)
def test_the_command_line_wins_over_the_environment(here, options, variables, pool, concurrency):
    """Celery ignores ``-P prefork`` when the configuration names a pool."""
    here.worker(f"{options} -n {NAME}", **variables)

    answer = here.run("celery", "-A", "worker", "inspect", "stats", "--json", *ASKED)

    assert answer.returncode == 0, answer.stderr
    (stats,) = json.loads(answer.stdout).values()
    assert stats["pool"]["implementation"] == pool
    assert stats["pool"]["max-concurrency"] == concurrency


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"LATE_POLICY": "shrug", "LEASE_S": "0"}, "LATE_POLICY"),
        ({"LATE_POLICY": "shrug", "LEASE_S": "0"}, "LEASE_S"),
        ({"AGENT": "no_such_module:agent"}, "no_such_module"),
        ({"STORE_URL": ""}, "STORE_URL: a remote broker needs a store"),
        ({"BROKER_URL": "http://example.com"}, "BROKER_URL: must start with redis://"),
    ],
)
def test_a_worker_refuses_bad_settings_in_plain_words(here, variables, complaint):
    refused = here.run("celery", "-A", "worker", "worker", **variables)

    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "shrug" not in refused.stderr


def test_a_message_this_release_does_not_know_is_kept_and_not_shown(here):
    """Celery itself would log the whole body, and lose the message."""
    worker = here.worker()
    envelope = {
        "version": 1,
        "bot": "dingprocess",
        "message_id": "msgFromTheFuture==",
        "conversation_id": "cidFuture==",
        "text": "marked text",
        "session_webhook": WEBHOOK,
        "received_at": datetime.now(UTC).isoformat(),
    }
    body = [[], {"envelope": envelope}, {}]
    headers = {"lang": "py", "task": "answer_in_verse", "id": str(uuid.uuid4())}
    broker = Broker.from_url(here.broker_url, here.folder)
    with broker.connection() as connection, connection.Producer() as producer:
        producer.publish("marked text, no task", routing_key="messages")
        producer.publish(
            b"{marked text",
            content_type="application/json",
            content_encoding="utf-8",
            routing_key="messages",
        )
        producer.publish(
            [["marked text"]], headers={"task": "answer", "id": "1"}, routing_key="messages"
        )
        producer.publish(body, headers=headers, routing_key="messages")
    worker.until_logged("answer_in_verse")

    (kept,) = here.missed()

    assert kept["message_id"] == "msgFromTheFuture=="
    assert kept["reason"] == "unsupported_version"
    assert kept["task_id"] == task_id("dingprocess", "msgFromTheFuture==")
    with redis.Redis.from_url(here.broker_url) as client:
        wait_for(lambda: client.llen("messages") == 0, what="the queue to be empty")
    assert "marked" not in worker.log
    assert worker.is_running


def test_an_envelope_of_a_later_version_is_kept_whole(here):
    worker = here.worker()
    envelope = {
        "version": 99,
        "bot": "dingprocess",
        "message_id": "msgLater==",
        "text": "marked text",
        "new_field": [1, 2],
        "session_webhook": WEBHOOK,
    }
    identity = task_id("dingprocess", "msgLater==")
    headers = {"lang": "py", "task": "answer", "id": identity, "kwargsrepr": "{}"}
    broker = Broker.from_url(here.broker_url, here.folder)
    with broker.connection() as connection, connection.Producer() as producer:
        producer.publish(
            [[], {"envelope": envelope}, {}],
            headers=headers,
            correlation_id=identity,
            routing_key="messages",
        )
    worker.until_logged("reply_failed")

    (kept,) = here.missed()

    assert kept["reason"] == "unsupported_version"
    assert "99" in kept["detail"]
    assert here.runs == []
    assert "marked" not in worker.log


def test_a_message_no_worker_can_claim_stays_on_the_broker(here):
    """A store without tables is an operator's mistake; it must not cost a message."""
    file = here.folder / "store.sqlite3"
    here.listener()
    worker = here.worker(STORE_URL=f"sqlite:///{file}")
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE dingtalk_messages RENAME TO elsewhere")
        here.simulator.say("hello")
        worker.until_logged("message_requeued")
        database.execute("ALTER TABLE elsewhere RENAME TO dingtalk_messages")
    here.gate.touch()

    worker.until_logged("reply_posted")

    assert [r.text for r in here.simulator.accepted] == ["answer to hello"]


@pytest.mark.parametrize("options", ["", "-P prefork -c 1"])
def test_remote_control_shows_no_arguments(here, options):
    """Celery answers ``inspect active`` with the arguments as they are."""
    here.listener()
    here.worker(f"{options} -n {NAME}")
    message = here.simulator.say("marked text")
    wait_for(lambda: here.runs, what="the agent to be run")

    shown = here.run("celery", "-A", "worker", "inspect", "active", "--json", *ASKED)
    queried = here.run(
        "celery", "-A", "worker", "inspect", "query_task", "--json", *ASKED,
        task_id("dingprocess", message.message_id),
    )  # fmt: skip

    for answer in (shown, queried):
        assert message.message_id in answer.stdout, answer.stderr
        assert "marked" not in answer.stdout
        assert "session=" not in answer.stdout
