"""What Flower is told about each end a message can have, by a real worker on a real Redis."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import task_id
from listener.publisher import new_publisher
from listener.task_message import answer_task
from tests.servers import free_port, wait_for
from tests.watching import watching

ROOT = Path(__file__).parents[2]
DATABASE = 11  # of the shared Redis; no other test uses it
WORDS, SESSION = "my salary is a secret", "5e55104b"
AGENT = """
def answer(message):
    if message.message_id == "silent":
        return None
    if message.message_id == "raises":
        raise ValueError(message.text)
    return "echo: " + message.text
"""


@pytest.fixture
def url(redis_url: str) -> str:
    return re.sub(r"/\d+$", f"/{DATABASE}", redis_url)


@pytest.fixture
def events(url: str) -> Iterator[list[dict[str, Any]]]:
    """All events of the worker, from before its start."""
    with watching(Celery("watcher", broker=url, set_as_current=False)) as seen:
        yield seen


@pytest.fixture
def worker_log(url: str, tmp_path: Path) -> Iterator[Path]:
    """A worker as the Procfile starts it; its log."""
    (tmp_path / "my_events_agent.py").write_text(AGENT)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DINGTALK", "REDIS"))}
    environment = kept | {
        "BROKER_URL": url,
        "STORE_URL": url,
        "AGENT": "my_events_agent:answer",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "DINGTALK_WEBHOOK_HOSTS": f"127.0.0.1:{free_port()}",
        "WORKER_CONCURRENCY": "4",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--workdir", str(ROOT), "-A", "worker", "worker"],
            env=environment,
            stdout=out,
            stderr=out,
            cwd=tmp_path,
        )
    (tmp_path / "webhook_host").write_text(environment["DINGTALK_WEBHOOK_HOSTS"])
    yield log
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)


def test_each_end_of_a_message_is_an_event_that_tells_why_and_nothing_private(
    url, events, worker_log, tmp_path
):
    now = datetime.now(UTC)
    host = (tmp_path / "webhook_host").read_text()  # nobody listens there

    def message(id_: str, **more: Any) -> Envelope:
        facts: dict[str, Any] = {
            "bot": "robot1",
            "message_id": id_,
            "text": WORDS,
            "session_webhook": f"http://{host}/robot/sendBySession?session={SESSION}",
            "deadline": now + timedelta(minutes=20),
            "received_at": now,
        }
        return Envelope(**facts | more)

    messages = [
        message("silent"),
        message("raises"),
        message("expired", deadline=now - timedelta(seconds=1)),
        message("foreign", session_webhook=f"https://evil.example/?session={SESSION}"),
        message("unreachable"),
    ]
    publisher = new_publisher(Broker.from_url(url, tmp_path))
    publisher.open()
    publisher.publish([answer_task(m) for m in messages], lambda task: None)
    publisher.close()

    def of(id_: str, kind: str) -> list[dict[str, Any]]:
        uuid = task_id("robot1", id_)
        return [e for e in events if e.get("uuid") == uuid and e["type"] == kind]

    wait_for(
        lambda: (
            of("silent", "task-succeeded")
            and of("raises", "task-failed")
            and of("expired", "task-flagged")
            and of("foreign", "task-failed")
            and len(of("unreachable", "task-retried")) >= 2
        ),
        what="the end of every message",
    )

    assert "'outcome': 'silent'" in of("silent", "task-succeeded")[0]["result"]
    failed = of("raises", "task-failed")[0]["exception"]
    assert "'reason': 'agent_failed'" in failed
    assert "'detail': 'ValueError'" in failed
    assert "'reason': 'expired_in_queue'" in of("expired", "task-flagged")[0]["result"]
    assert "'reason': 'webhook_not_allowed'" in of("foreign", "task-failed")[0]["exception"]
    retried = [e["exception"] for e in of("unreachable", "task-retried")]
    assert "'attempts': 1" in retried[0]
    assert "'attempts': 2" in retried[1]
    names = [e["name"] for e in of("unreachable", "task-received")]
    assert names[:2] == ["answer", "deliver"]
    arguments = {e["kwargs"] for e in of("unreachable", "task-received")}
    assert arguments == {"{'message_id': 'unreachable'}"}

    shown = str(events) + worker_log.read_text()
    for private in ("salary", SESSION, "sendBySession", "echo:"):
        assert private not in shown
