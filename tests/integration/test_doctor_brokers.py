"""Brokers of each kind: a round trip that leaves nothing behind, and what is wrong in words."""

import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import redis

from contract.broker import Broker
from contract.broker_check import check_broker, words_of
from contract.checks import Check, Status
from contract.rabbitmq_broker import NoAnswerError
from contract.routing import QUEUES
from tests.integration.doctor_place import MARK, black_hole
from tests.listening import empty
from tests.servers import free_port
from worker.doctor.processes import Notes
from worker.doctor.queues import check_queues
from worker.store import Note


def check_at(url: str) -> Check:
    check = check_broker(Broker.from_url(url, Path("/nowhere")))
    assert MARK not in f"{check}"
    return check


def queues(broker: Broker, *takes: str) -> Check:
    notes: Future[Notes | None] = Future()
    worker = Note("celery@a", {"queues": list(takes)}, 1.0)
    notes.set_result(Notes(workers=(worker,) if takes else ()))
    return check_queues(broker, notes)


def _ignore(*_: object) -> None:
    """Take a message."""


def test_a_round_trip_leaves_our_queues_alone(each_broker):
    with each_broker.connection() as connection:
        for queue in each_broker.queues():
            queue(connection.default_channel).declare()

    check = check_broker(each_broker)
    after = queues(each_broker, *QUEUES)

    assert check.status is Status.OK, check
    assert "0 waiting" in after.reason or "(0 waiting" in after.reason


def test_redis_holds_no_key_more_after_it(redis_url):
    client: Any = redis.Redis.from_url(redis_url.removesuffix("/0") + "/9")
    with client:
        client.flushdb()
        assert check_at(redis_url.removesuffix("/0") + "/9").status is Status.OK
        assert client.keys() == []


def test_a_redis_that_throws_keys_away_is_a_warning(redis_url):
    client: Any = redis.Redis.from_url(redis_url)
    with client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            check = check_at(redis_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert check.status is Status.WARN
    assert "maxmemory-policy allkeys-lru" in check.reason


def test_queues_that_nobody_declared_are_missed_and_not_made(each_broker):
    with each_broker.connection() as connection:
        for queue in each_broker.queues():
            bound = queue(connection.default_channel)
            bound.declare()  # kombu deletes on Redis what it knows of
            bound.delete()

    for _ in range(2):
        check = queues(each_broker, *QUEUES)
        assert check.status is Status.FAIL
        assert "there is no queue messages, turns, replies, events" in check.reason


def test_rabbitmq_says_itself_who_takes(rabbitmq_url, tmp_path):
    broker = empty(Broker.from_url(rabbitmq_url, tmp_path))
    with broker.connection() as connection:
        declared = [queue(connection.default_channel) for queue in broker.queues()]
        for queue in declared:
            queue.declare()
        nobody = queues(broker, *QUEUES)  # whatever notes say
        for queue in declared[1:]:
            queue.consume(callback=_ignore)
        some = queues(broker)
        declared[0].consume(callback=_ignore)
        all_ = queues(broker)

    assert "nobody takes messages from messages, turns, replies, events" in nobody.reason
    assert "nobody takes messages from messages (" in some.reason
    assert all_.status is Status.OK


@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "amqps"])
def test_a_port_nobody_listens_on_is_said(scheme):
    port = free_port()
    check = check_at(f"{scheme}://user:{MARK}@127.0.0.1:{port}/")
    assert check.status is Status.FAIL
    assert check.reason == f"cannot connect to {scheme} at 127.0.0.1:{port}: connection refused"
    assert "BROKER_URL" in check.fix


@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp"])
def test_one_that_never_answers_is_given_up(scheme):
    started = time.monotonic()
    with black_hole() as port:
        check = check_at(f"{scheme}://user:{MARK}@127.0.0.1:{port}/")
    assert time.monotonic() - started < 60
    assert check.status is Status.FAIL
    assert check.reason.endswith("no answer in time")
    assert "redis:// without TLS, rediss:// with, amqp(s):// for RabbitMQ" in check.fix


def test_a_name_that_leads_nowhere_is_said():
    for scheme in ("redis", "amqp"):
        check = check_at(f"{scheme}://user:{MARK}@no-such-host.invalid/")
        assert "its name is not known (DNS)" in check.reason


def test_rabbitmqs_wrong_password_and_wrong_virtual_host_are_told_apart(rabbitmq_url):
    at = rabbitmq_url.partition("@")[2].rstrip("/")
    password = check_at(f"amqp://guest:{MARK}@{at}//")
    host = check_at(f"amqp://guest:guest@{at}/{MARK}")
    assert "refused the login" in password.reason
    assert "no such virtual host" in host.reason


def test_the_wrong_password_of_a_redis_is_said(redis_url):
    client: Any = redis.Redis.from_url(redis_url)
    at = redis_url.partition("://")[2]
    with client:
        client.execute_command("ACL", "SETUSER", "doctor", "on", ">right", "+@all", "~*")
        client.execute_command("ACL", "SETUSER", "weak", "on", ">right", "+ping", "+client", "~*")
        try:
            wrong = check_at(f"redis://doctor:{MARK}@{at}")
            weak = check_at(f"redis://weak:right@{at}")
        finally:
            client.execute_command("ACL", "DELUSER", "doctor", "weak")
    assert "refused the login" in wrong.reason
    assert "does not let this user run what a worker runs" in weak.reason


@pytest.mark.parametrize(
    ("number", "words"),
    [("9999", "has no database of this number"), (MARK, "is no number")],
)
def test_a_database_that_redis_does_not_have_is_said(redis_url, number, words):
    check = check_at(f"{redis_url.rpartition('/')[0]}/{number}")
    assert check.status is Status.FAIL
    assert check.reason.endswith(words)
    assert "BROKER_URL" in check.fix


def test_another_kind_of_server_is_no_broker(redis_url):
    check = check_at(redis_url.replace("redis://", "amqps://"))
    assert check.status is Status.FAIL
    assert "cannot connect to amqps at 127.0.0.1" in check.reason


def test_a_queue_without_a_leader_is_said():
    broker = Broker.from_url("amqp://h//", Path("/nowhere"))
    reason, fix = words_of(NoAnswerError("queue.declare_ok", "messages"), broker)
    assert reason == "amqp at h:default port does not answer for a queue"
    assert "docs/reliability.md" in fix


def test_an_embedded_broker_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    check = check_broker(Broker.from_url("embedded://", tmp_path / "file"))
    assert check.status is Status.FAIL
    assert "DATA_DIR must be a folder" in check.fix
