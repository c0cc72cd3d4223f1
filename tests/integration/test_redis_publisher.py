"""What the listener writes to Redis is what kombu would write, in fewer steps."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis
from kombu.transport.redis import Transport as KombuTransport

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import COMMANDS, MESSAGES, QUEUES, WAKE, WAKE_COMMANDS
from listener.redis_connection import RedisConnection, RedisError
from listener.redis_publisher import RedisPublisher
from listener.task_message import TaskMessage, answer_task, command_task
from tests import servers
from tests.listening import envelopes_on
from tests.servers import wait_for

SENT = datetime(2026, 1, 1, tzinfo=UTC)


def _envelope(number: int) -> Envelope:
    return Envelope(bot="ding1", message_id=f"msg{number}", text='你好 "q" \\', received_at=SENT)


def _task(number: int) -> TaskMessage:
    return answer_task(_envelope(number))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with servers.redis(tmp_path) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def publisher(url: str, tmp_path: Path) -> Iterator[RedisPublisher]:
    publisher = RedisPublisher(Broker.from_url(url, tmp_path))
    publisher.open()
    yield publisher
    publisher.close()


def _nothing(_: object) -> None:
    pass


def _calls(client: Any) -> dict[str, int]:
    stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): its["calls"] for name, its in stats.items()}


def test_it_declares_the_queues_as_kombu_does(publisher, client, url):
    ours = {key: client.smembers(key) for key in client.keys("_kombu.binding.*")}
    client.flushall()
    broker = Broker.from_url(url, Path())
    with broker.connection(transport=KombuTransport) as connection:
        for queue in broker.queues():
            queue(connection.default_channel).declare()

    assert ours == {key: client.smembers(key) for key in client.keys("_kombu.binding.*")}
    assert len(ours) == len(QUEUES)


def test_its_messages_are_those_that_kombu_writes(publisher, client, url):
    """Field by field, so that a new one in a later kombu shows here."""
    task = _task(1)
    publisher.publish([task], _nothing)
    with Broker.from_url(url, Path()).connection(transport=KombuTransport) as connection:
        producer: Any = kombu.Producer(connection.default_channel, serializer="json")
        producer.publish(
            task.body,
            exchange="",
            routing_key=MESSAGES,
            headers=task.headers,
            correlation_id=task.task_id,
            reply_to="",
            delivery_mode=2,
        )

    kombus, ours = map(json.loads, client.lrange(MESSAGES, 0, -1))
    tags = [each["properties"].pop("delivery_tag") for each in (ours, kombus)]
    bodies = [json.loads(base64.b64decode(each.pop("body"))) for each in (ours, kombus)]

    assert ours == kombus
    assert bodies[0] == bodies[1]
    assert len(set(tags)) == 2


def test_they_come_in_their_order_and_wake_who_waits_for_their_queue(publisher, client, url):
    tasks = [_task(n) for n in range(3)]
    command = command_task(_envelope(9))
    confirmed = list[str]()

    publisher.publish(
        [*tasks[:2], command, tasks[2]], lambda its: confirmed.extend(t.task_id for t in its)
    )

    assert sorted(confirmed) == sorted(task.task_id for task in (*tasks, command))
    assert (client.llen(WAKE), client.llen(WAKE_COMMANDS), client.llen(COMMANDS)) == (3, 1, 1)
    found = envelopes_on(Broker.from_url(url, Path()))
    assert found == [_envelope(n) for n in range(3)]


def test_a_batch_is_two_commands_whatever_is_in_it(publisher, client):
    before = _calls(client)
    publisher.publish([_task(n) for n in range(200)], _nothing)
    after = _calls(client)

    assert after["lpush"] - before.get("lpush", 0) == 2


def test_the_same_task_published_again_has_a_tag_of_its_own(publisher, client):
    """By the tag Redis knows what a worker has in hand."""
    publisher.publish([_task(1), _task(1)], _nothing)
    publisher.publish([_task(1)], _nothing)

    found = [json.loads(each) for each in client.lrange(MESSAGES, 0, -1)]
    assert len({each["properties"]["delivery_tag"] for each in found}) == 3


def test_what_redis_refuses_is_not_confirmed(publisher, client):
    confirmed = list[object]()
    client.config_set("maxmemory", "1")

    with pytest.raises(RedisError, match="OOM"):
        publisher.publish([_task(1)], confirmed.extend)

    assert confirmed == []


def test_a_connection_that_redis_has_closed_is_replaced_without_a_failure(publisher, client):
    """Many a Redis closes what has said nothing for some minutes."""
    publisher.publish([_task(1)], _nothing)
    client.client_kill_filter(_type="normal", skipme=True)
    wait_for(lambda: publisher._connection.is_dead, what="the connection to be closed")

    publisher.publish([_task(2)], _nothing)

    assert client.llen(MESSAGES) == 2


def test_one_that_is_closed_by_us_is_dead(url):
    connection = RedisConnection(url, timeout_s=5)
    assert not connection.is_dead
    connection.close()
    assert connection.is_dead


def test_user_password_and_database_are_read_from_the_address(client, url):
    client.acl_setuser("writer", enabled=True, passwords=["+p@ss w"], commands=["+@all"], keys="*")
    at = url.partition("//")[2].partition("/")[0]

    connection = RedisConnection(f"redis://writer:p%40ss%20w@{at}/3", timeout_s=5)

    assert connection.ask("SET", "key", "value") == "OK"
    connection.close()
    with redis.Redis.from_url(f"redis://{at}/3") as third:
        assert third.get("key") == b"value"
    with pytest.raises(RedisError, match="WRONGPASS"):
        RedisConnection(f"redis://writer:another@{at}/3", timeout_s=5)


def test_a_user_without_a_password_is_let_in(client, url):
    client.acl_setuser("open", enabled=True, nopass=True, commands=["+@all"], keys="*")
    at = url.partition("//")[2]

    connection = RedisConnection(f"redis://open@{at}", timeout_s=5)

    assert [each["user"] for each in client.client_list() if each["cmd"] == "auth"] == ["open"]
    connection.close()


def test_what_was_sent_is_in_no_error(url):
    connection = RedisConnection(url, timeout_s=5)
    with pytest.raises(RedisError, match="unknown command") as refused:
        connection.ask("NOSUCH", "a message")
    connection.close()

    assert "a message" not in str(refused.value)


def test_a_batch_of_megabytes_arrives(publisher, client):
    task = answer_task(_envelope(1).model_copy(update={"text": "长" * 100_000}))

    publisher.publish([task] * 40, _nothing)

    assert client.llen(MESSAGES) == 40


def test_it_speaks_tls_whenever_workers_do(tmp_path):
    """Also by an address of the other scheme that has a rule for certificates."""
    with servers.redis_with_tls(tmp_path, "SECRET") as url:
        by_rule = f"{url.replace('rediss', 'redis')}?ssl_cert_reqs"
        trusted = f"required&ssl_check_hostname=false&ssl_ca_certs={tmp_path}/certificate.pem"
        for address in (f"{by_rule}=none", f"{by_rule}={trusted}"):
            with kombu.Connection(address) as connection:
                connection.connect()
            RedisConnection(address, timeout_s=5).close()
        with pytest.raises(OSError, match="certificate"):
            RedisConnection(f"{by_rule}=required&ssl_check_hostname=false", timeout_s=5)


def test_it_reaches_a_redis_behind_tls_and_checks_its_certificate_when_told_to(tmp_path):
    with servers.redis_with_tls(tmp_path, "SECRET") as url:
        publisher = RedisPublisher(Broker.from_url(url, tmp_path))
        publisher.open()
        publisher.publish([_task(1)], _nothing)
        publisher.publish([_task(2)], _nothing)
        assert publisher._connection is not None
        assert publisher._connection.ask("LLEN", MESSAGES) == 2
        assert not publisher._connection.is_dead
        publisher.close()
        with pytest.raises(OSError, match="certificate"):
            RedisConnection(f"{url}?ssl_cert_reqs=required", timeout_s=5)
