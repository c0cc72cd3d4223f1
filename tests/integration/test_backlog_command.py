"""``celery -A worker backlog`` on each broker: it looks, takes nothing, and says what is away."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from contract.broker import Broker
from contract.envelope import Envelope
from contract.report import Report
from contract.routing import QUEUES
from contract.sealing import IN_CLEAR, Sealer
from listener.publisher import new_publisher
from listener.task_message import answer_task, report_task
from tests import warm
from tests.integration.store_place import FakeClock, StorePlace, envelope
from tests.listening import envelopes_on
from tests.processes import ROOT
from tests.servers import free_port
from worker.running.queues import read_queues
from worker.store import Claimed

KEY = Fernet.generate_key().decode()
MARKED = "marked words 7f3a"


def letter(number: int, *, age_s: float, spare_s: float) -> Envelope:
    now = datetime.now(UTC)
    return Envelope(
        bot="ding1",
        message_id=f"waiting{number}",
        conversation_id=f"cid{number}",
        text=MARKED,
        session_webhook="https://oapi.dingtalk.com/robot/sendBySession?session=marked",
        received_at=now - timedelta(seconds=age_s),
        deadline=now + timedelta(seconds=spare_s),
    )


def publish(broker: Broker, letters: Sequence[Envelope], sealer: Sealer = IN_CLEAR) -> None:
    publisher = new_publisher(broker)
    publisher.open()
    reports = [report_task(Report(reason="spool_full", messages=()))]
    tasks = [answer_task(each, sealer) for each in letters]
    publisher.publish([*reports, *tasks], lambda _: None)
    publisher.close()


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A store that saw four messages answered, in 10 s each, and a worker of 2 slots."""
    url = f"sqlite:///{tmp_path}/store.sqlite3"
    clock = FakeClock()
    clock.advance(-60)
    with closing(StorePlace(url).open(clock_ms=clock)) as store:
        store.prepare()
        claims = [
            store.claim(f"done{n}", owner="one", lease_s=60, envelope=envelope(n)) for n in range(4)
        ]
        clock.advance(10)
        for claim in claims:
            assert isinstance(claim, Claimed)
            store.finish(claim.lease, "SUCCESS")
        store.remember("worker", "one@here", {"concurrency": 2}, ttl_s=600)
    return url


def run(
    folder: Path, broker_url: str, store_url: str, *options: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": str(ROOT),
        "BROKER_URL": broker_url,
        "STORE_URL": store_url,
        "DATA_DIR": str(folder),
    }
    command = ["celery", "-A", "worker", "backlog", *options]
    return warm.run(command, env=environment, cwd=folder)


def url_of(broker: Broker) -> str:
    return "embedded://" if broker.is_embedded else broker.url


def test_what_waits_on_the_broker_is_weighed_and_left_there(each_broker, tmp_path, store_url):
    letters = [letter(1, age_s=50, spare_s=40)]
    letters += [letter(n, age_s=20, spare_s=3600) for n in range(2, 9)]
    publish(each_broker, letters)

    done = run(tmp_path, url_of(each_broker), store_url, "--json", "--within", "80")

    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["queues"] == {"messages": 8, "turns": 0, "replies": 0, "events": 1, "commands": 0}
    assert found["waiting"] == 8
    assert found["seconds_per_message"] == pytest.approx(10)
    assert found["work_s"] == pytest.approx(80)
    assert found["workers"] == 1
    assert found["slots"] == 2
    assert MARKED not in done.stdout + done.stderr
    if each_broker.url.startswith("amqp"):
        # It only counts: 80 s of work in 80 s.
        assert (
            found["oldest_age_s"] is found["oldest_age_from"] is found["smallest_spare_s"] is None
        )
        assert found["workers_needed"] == 1
    else:
        # The first deadline leaves less than 40 s for it.
        assert 50 <= found["oldest_age_s"] < 90
        assert found["oldest_age_from"] == "queue"
        assert 0 < found["smallest_spare_s"] <= 40
        assert found["workers_needed"] == 2
    assert [e.message_id for e in envelopes_on(each_broker)] == [e.message_id for e in letters]


def test_a_sealed_message_shows_its_times_without_the_key(each_broker):
    publish(each_broker, [letter(1, age_s=50, spare_s=40)], Sealer.from_setting(KEY))

    queue = read_queues(each_broker)["messages"]

    assert queue.depth == 1
    if queue.oldest is not None:
        (seen,) = queue.oldest
        assert "sealed" in seen
        assert seen["received_at"] < seen["deadline"]


def test_a_broker_nobody_has_used_yet_has_empty_queues(rabbitmq_url):
    """RabbitMQ answers a question about a queue that is not there by closing the channel."""
    broker = Broker.from_url(rabbitmq_url, Path())
    with broker.connection() as connection:
        for queue in broker.queues():
            queue(connection.default_channel).delete()

    depths = {name: queue.depth for name, queue in read_queues(broker).items()}

    assert depths == dict.fromkeys(QUEUES, 0)


def test_people_get_a_few_lines(tmp_path, store_url):
    publish(Broker.from_url("embedded://", tmp_path), [letter(1, age_s=50, spare_s=3600)])

    done = run(tmp_path, "embedded://", store_url)

    assert done.returncode == 0, done.stderr
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line[0] != "f")
    assert shown["waiting"].startswith("1, of which 0 for their turn (messages 1, ")
    assert shown["oldest"].endswith(" s (by the queue)")
    assert shown["pace"] == "4 finished in the last 5 min, 10.0 s each"
    assert "workers needed  1, within 60 s" in done.stdout


@pytest.mark.parametrize(
    ("broker_url", "complaint"),
    [
        ("redis://:s3cretpw@127.0.0.1:{port}/0", "cannot read the broker: cannot connect to redis"),
        ("amqp://user:s3cretpw@127.0.0.1:{port}//", "cannot read the broker: cannot connect"),
        ("embedded://", "cannot read the broker: no embedded broker at"),
    ],
)
def test_a_broker_that_is_away_is_one_line_and_exit_1(tmp_path, store_url, broker_url, complaint):
    done = run(tmp_path, broker_url.format(port=free_port()), store_url, "--json")

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(complaint)
    assert "s3cretpw" not in line


def test_a_store_that_is_away_is_one_line_and_exit_1(tmp_path, redis_url):
    store_url = f"redis://127.0.0.1:{free_port()}/0"

    done = run(tmp_path, redis_url, store_url)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("cannot read the store: ")


@pytest.mark.parametrize("options", [("--within", "0"), ("--within", "soon"), ("--wthin", "5")])
def test_a_wrong_option_is_exit_2(tmp_path, store_url, options):
    done = run(tmp_path, "embedded://", store_url, *options)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_settings_that_cannot_be_read_are_exit_2(tmp_path):
    done = run(tmp_path, "http://broker.example", "redis://127.0.0.1:1/0")

    assert done.returncode == 2
    assert done.stderr.startswith("cannot read settings: BROKER_URL")
