"""Any Celery worker reads what the listener writes, and its events show no secret."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery import Celery

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import ANSWER, safe_kwargsrepr, task_id
from listener.publisher import new_publisher
from listener.task_message import answer_task
from tests.servers import wait_for
from tests.watching import watching

ROOT = Path(__file__).parents[2]
ENVELOPE = Envelope(
    bot="ding1",
    message_id="msg1",
    text="what was written",
    session_webhook="https://oapi.dingtalk.com/robot/sendBySession?session=abc",
    received_at=datetime(2026, 1, 1, tzinfo=UTC),
)
# A Celery application that knows nothing of us but the broker. In a process of its own: a worker
# in a thread shares Celery's stop flags with every other one of the process.
ANYBODY = """
import json
import os
from pathlib import Path

from celery import Celery

from contract.broker import Broker
from contract.routing import ANSWER, MESSAGES

broker = Broker.from_url(os.environ["ITS_BROKER"], Path(os.environ["ITS_FOLDER"]))
app = Celery("anybody", broker=broker.url)
app.conf.update(
    broker_transport_options=broker.transport_options,
    task_queues=broker.queues(),
    task_default_queue=MESSAGES,
    task_create_missing_queues=False,
    worker_send_task_events=True,
    worker_detect_quorum_queues=True,
    accept_content=["json"],
)


@app.task(name=ANSWER, bind=True)
def answer(self, envelope):
    with Path("ran").open("a") as ran:
        ran.write(json.dumps([self.request.id, envelope]) + "\\n")
"""


@pytest.fixture
def _anybody(each_broker: Broker, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "anybody.py").write_text(ANYBODY)
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "ITS_BROKER": each_broker.url,
        "ITS_FOLDER": str(tmp_path),
    }
    command = [sys.executable, "-m", "celery", "-A", "anybody", "worker", "-P", "solo"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    yield
    process.kill()
    process.wait(60)


@pytest.fixture
def events(each_broker: Broker) -> Iterator[list[dict[str, object]]]:
    app = Celery("watcher", broker=each_broker.url, set_as_current=False)
    app.conf.update(broker_transport_options=each_broker.transport_options)
    with watching(app) as seen:
        yield seen


@pytest.mark.usefixtures("_anybody")
def test_a_celery_worker_runs_it_and_its_events_show_only_the_id(events, each_broker, tmp_path):
    publisher = new_publisher(each_broker)
    publisher.open()
    publisher.publish([answer_task(ENVELOPE)], lambda task: None)
    publisher.close()

    def has_run() -> bool:
        return {"task-received", "task-succeeded"} <= {str(e["type"]) for e in events}

    wait_for(has_run, what="the worker's events")

    (ran,) = map(json.loads, (tmp_path / "ran").read_text().splitlines())
    assert (ran[0], Envelope.from_wire(ran[1])) == (task_id("ding1", "msg1"), ENVELOPE)
    received = next(e for e in events if e["type"] == "task-received")
    assert received["uuid"] == task_id("ding1", "msg1")
    assert received["name"] == ANSWER
    assert received["kwargs"] == safe_kwargsrepr("msg1")
    assert received["args"] == "()"
    assert "written" not in str(events)
    assert "session=" not in str(events)
