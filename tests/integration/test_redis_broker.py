"""Our way of reading from Redis, where kombu's would lose what is being read."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
import redis
from kombu.asynchronous import Hub
from kombu.asynchronous.timer import Timer
from kombu.transport.redis import Transport as KombuTransport

from contract.broker import Broker
from contract.redis_broker import TAKEN_AT_ONCE, Transport
from contract.routing import COMMANDS, WAKE, WAKE_COMMANDS
from tests import servers
from tests.listening import empty
from tests.servers import wait_for

ADDRESS = "messages"


@pytest.fixture
def broker(redis_url, tmp_path) -> Broker:
    with redis.Redis.from_url(redis_url) as client:
        client.delete(WAKE, "unacked", "unacked_index")
    return empty(Broker.from_url(redis_url, tmp_path))


@contextmanager
def _publishing(broker: Broker, **arguments: Any) -> Iterator[Callable[[str], None]]:
    with broker.connection(**arguments) as connection:
        producer = kombu.Producer(connection.default_channel, serializer="json")
        yield lambda words: producer.publish(words, exchange="", routing_key=ADDRESS)


def _steps(client: Any) -> dict[str, int]:
    """Return how often Redis did what, within scripts too, since its count was reset."""
    stats: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): told["calls"] for name, told in stats.items()}


@contextmanager
def _consuming(broker: Broker, *, no_ack: bool = False) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a function that waits for events at most some seconds, and what was read."""
    read: list[Any] = []
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == ADDRESS)
        consumer = connection.Consumer(
            queue, no_ack=no_ack, on_message=read.append, prefetch_count=0
        )

        def drain(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    connection.drain_events(timeout=0.05)
                except (TimeoutError, redis.ResponseError):
                    continue  # the latter from kombu's look for what is overdue, when Redis is full

        with consumer:
            yield drain, read


def _until_read(drain: Any, read: list[Any], count: int) -> float:
    started = time.monotonic()

    def has_read() -> bool:
        drain(0.05)
        return len(read) >= count

    wait_for(has_read, what=f"{count} message(s)")
    return time.monotonic() - started


def test_one_that_waits_for_messages_leaves_without_waiting_for_the_answer(broker, monkeypatch):
    """Else each worker would stop a second or two later, one for every connection it takes by."""
    monkeypatch.setattr(Transport, "brpop_timeout", 3600)

    with _consuming(broker) as (drain, read), redis.Redis.from_url(broker.url) as client:

        def is_waited() -> bool:
            drain(0.05)
            return any(each["cmd"] == "brpop" for each in client.client_list())

        wait_for(is_waited, what="it to wait")

    with _publishing(broker) as publish, _consuming(broker) as (drain, read):
        publish("still there")
        _until_read(drain, read, 1)
        read[0].ack()


def test_one_that_is_woken_has_the_message_at_the_same_turn_of_the_loop(broker):
    read: list[Any] = []
    with _publishing(broker) as publish, broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == ADDRESS)
        with connection.Consumer(queue, on_message=read.append, prefetch_count=0):
            transport = connection.transport

            def turn(seconds: float) -> None:
                with suppress(Empty):
                    transport.cycle.get(transport._deliver, timeout=seconds)

            with redis.Redis.from_url(broker.url) as client:

                def is_waited() -> bool:
                    turn(0.05)
                    return any(each["cmd"] == "brpop" for each in client.client_list())

                wait_for(is_waited, what="it to wait")
                publish("hello")
            turn(10)
            (message,) = read
            message.ack()


def test_a_message_that_was_read_is_noted_until_it_is_acknowledged(broker):
    with _publishing(broker) as publish, _consuming(broker) as (drain, read):
        publish("你好")
        _until_read(drain, read, 1)
        with redis.Redis.from_url(broker.url) as client:
            assert client.llen(ADDRESS) == 0
            assert client.hlen("unacked") == client.zcard("unacked_index") == 1
            read[0].ack()
            assert client.hlen("unacked") == client.zcard("unacked_index") == 0

    assert read[0].payload == "你好"


def test_a_rejected_message_comes_again_as_it_was(broker):
    with _publishing(broker) as publish, _consuming(broker) as (drain, read):
        publish('quotes " and \\ and 😀')
        _until_read(drain, read, 1)
        read[0].reject(requeue=True)
        _until_read(drain, read, 2)

    assert read[0].payload == read[1].payload == 'quotes " and \\ and 😀'


def test_one_who_waits_is_woken_at_once(broker):
    with _publishing(broker) as publish, _consuming(broker) as (drain, read):
        drain(0.3)
        took = list[float]()
        for number in range(5):
            publish(f"message {number}")
            took.append(_until_read(drain, read, number + 1))

    assert min(took) < 0.5, "which looking once a second would not manage"


def test_what_kombu_itself_published_is_found_in_a_second_or_so(broker):
    with (
        _publishing(broker, transport=KombuTransport) as publish,
        _consuming(broker) as (drain, read),
    ):
        drain(0.3)
        publish("from elsewhere")
        _until_read(drain, read, 1)

    assert read[0].payload == "from elsewhere"


def test_a_burst_is_read_in_its_order_and_leaves_no_wake_up_calls(broker):
    with _publishing(broker) as publish, _consuming(broker) as (drain, read):
        for number in range(500):
            publish(f"message {number}")
        _until_read(drain, read, 500)
        drain(0.3)
        with redis.Redis.from_url(broker.url) as client:
            assert client.exists(WAKE) == 0

    assert [message.payload for message in read] == [f"message {n}" for n in range(500)]


def test_wake_up_calls_do_not_pile_up_behind_a_queue_that_is_never_empty(broker):
    with redis.Redis.from_url(broker.url) as client:
        with _publishing(broker) as publish:
            for number in range(1100):
                publish(str(number))
        assert client.llen(WAKE) == 1100

        with _consuming(broker) as (drain, read):
            _until_read(drain, read, 1)

        assert client.llen(WAKE) <= 1000


def test_who_takes_messages_leaves_the_wake_up_calls_for_commands(broker):
    """Else the lane of commands would look a second late."""
    with redis.Redis.from_url(broker.url) as client, _publishing(broker) as publish:
        client.delete(WAKE_COMMANDS)
        with broker.connection() as connection:
            producer = kombu.Producer(connection.default_channel, serializer="json")
            producer.publish("/stop", exchange="", routing_key=COMMANDS)
        assert (client.llen(WAKE), client.llen(WAKE_COMMANDS)) == (0, 1)
        with _consuming(broker) as (drain, read):
            publish("hello")
            _until_read(drain, read, 1)
            drain(0.3)

        assert client.llen(WAKE_COMMANDS) == client.llen(COMMANDS) == 1


def test_as_many_are_taken_at_once_as_there_is_room_for(broker):
    with (
        redis.Redis.from_url(broker.url) as client,
        _publishing(broker) as publish,
        broker.connection() as connection,
    ):
        for number in range(5):
            publish(f"message {number}")
        read: list[Any] = []
        queue = next(q for q in broker.queues() if q.name == ADDRESS)
        with connection.Consumer(queue, on_message=read.append, prefetch_count=3):
            client.config_resetstat()
            connection.drain_events(timeout=5)
            assert [message.payload for message in read] == [f"message {n}" for n in range(3)]
            assert client.hlen("unacked") == 3, "the others are anybody's"
            assert _steps(client)["eval"] == 1


def test_in_an_event_loop_takes_carry_acknowledgements_along(broker):
    """As in a worker: a round trip to take some, which also ends those before them."""
    with (
        redis.Redis.from_url(broker.url) as client,
        _publishing(broker) as publish,
        broker.connection() as connection,
    ):
        for number in range(40):
            publish(f"message {number}")
        loop, read = Hub(timer=Timer()), list[Any]()

        def take(message: Any) -> None:
            read.append(message)
            loop.call_soon(message.ack)

        connection.transport.register_with_event_loop(connection.connection, loop)
        queue = next(q for q in broker.queues() if q.name == ADDRESS)
        with connection.Consumer(queue, on_message=take, prefetch_count=TAKEN_AT_ONCE):
            client.config_resetstat()

            def has_settled() -> bool:
                loop.run_once()
                return len(read) == 40 and client.hlen("unacked") == 0

            wait_for(has_settled, what="40 messages to be read and acknowledged")
            assert client.zcard("unacked_index") == 0
            steps = _steps(client)
            assert steps["eval"] == 40 / TAKEN_AT_ONCE + 1, "the last finds nothing"
            assert "multi" not in steps, "no round trip for acknowledgements alone"
        loop.close()


def test_what_is_acknowledged_while_the_loop_only_waits_is_so_at_once(broker):
    with (
        redis.Redis.from_url(broker.url) as client,
        _publishing(broker) as publish,
        broker.connection() as connection,
    ):
        loop, read = Hub(timer=Timer()), list[Any]()
        connection.transport.register_with_event_loop(connection.connection, loop)
        queue = next(q for q in broker.queues() if q.name == ADDRESS)
        with connection.Consumer(queue, on_message=read.append, prefetch_count=2):
            publish("hello")

            def is_read() -> bool:
                loop.run_once()
                return bool(read)

            wait_for(is_read, what="the message")
            loop.run_once()  # looks, or waits for more
            read[0].ack()

            def is_settled() -> bool:
                loop.run_once()
                return bool(client.hlen("unacked") == 0)

            wait_for(is_settled, what="the end of it")
        loop.close()


def test_an_acknowledgement_that_is_refused_is_sent_again(tmp_path):
    with (
        servers.redis(tmp_path) as url,
        redis.Redis.from_url(url) as client,
        _publishing(broker := Broker.from_url(url, tmp_path)) as publish,
        broker.connection() as connection,
    ):
        loop, read = Hub(timer=Timer()), list[Any]()
        connection.transport.register_with_event_loop(connection.connection, loop)
        queue = next(q for q in broker.queues() if q.name == ADDRESS)
        with connection.Consumer(queue, on_message=read.append, prefetch_count=1):
            queue(connection.default_channel).declare()
            publish("hello")

            def is_read() -> bool:
                loop.run_once()
                return bool(read)

            wait_for(is_read, what="the message")
            client.config_set("min-replicas-to-write", 1)
            # So that it cannot go along with a take.
            channel: Any = connection.default_channel
            channel.qos.can_consume = lambda: False
            read[0].ack()
            loop.run_once()
            assert client.hlen("unacked") == 1
            client.config_set("min-replicas-to-write", 0)

            def is_settled() -> bool:
                loop.run_once()
                return bool(client.hlen("unacked") == 0)

            wait_for(is_settled, what="the end of it")
        loop.close()


def test_what_is_acknowledged_before_the_end_is_not_given_out_again(broker):
    with redis.Redis.from_url(broker.url) as client, _publishing(broker) as publish:
        publish("hello")
        with broker.connection() as connection:
            loop, read = Hub(timer=Timer()), list[Any]()
            connection.transport.register_with_event_loop(connection.connection, loop)
            queue = next(q for q in broker.queues() if q.name == ADDRESS)
            consumer = connection.Consumer(queue, on_message=read.append, prefetch_count=1)
            consumer.consume()

            def is_read() -> bool:
                loop.run_once()
                return bool(read)

            wait_for(is_read, what="the message")
            read[0].ack()
        assert client.hlen("unacked") == client.zcard("unacked_index") == 0
        loop.close()


def test_a_batch_wakes_as_well(broker):
    with broker.connection() as connection:
        producer: Any = kombu.Producer(connection.default_channel, serializer="json")
        with producer.batch():
            for number in range(3):
                producer.publish(f"message {number}", exchange="", routing_key=ADDRESS)
    with redis.Redis.from_url(broker.url) as client:
        assert client.llen(ADDRESS) == client.llen(WAKE) == 3


def test_who_reads_without_acknowledging_leaves_nothing_behind(broker):
    with _publishing(broker) as publish, _consuming(broker, no_ack=True) as (drain, read):
        publish("hello")
        _until_read(drain, read, 1)
        with redis.Redis.from_url(broker.url) as client:
            assert client.exists("unacked", "unacked_index") == 0


def test_a_full_redis_still_gives_out_what_it_has(tmp_path: Path):
    """Or it would stay full for ever."""
    with servers.redis(tmp_path) as url:
        broker = Broker.from_url(url, tmp_path)
        with (
            redis.Redis.from_url(url) as client,
            _publishing(broker) as publish,
            _consuming(broker) as (drain, read),
        ):
            publish("hello")
            client.config_set("maxmemory", "1")
            _until_read(drain, read, 1)
            assert client.hlen("unacked") == 1


def test_a_redis_that_refuses_is_waited_for(tmp_path: Path):
    """As a replica does after a failover."""
    (tmp_path / "replica").mkdir()
    (tmp_path / "other").mkdir()
    with servers.redis(tmp_path / "replica") as url, servers.redis(tmp_path / "other") as other:
        broker = Broker.from_url(url, tmp_path)
        with (
            redis.Redis.from_url(url) as client,
            _publishing(broker) as publish,
            _consuming(broker) as (drain, read),
        ):
            client.replicaof("127.0.0.1", urlsplit(other).port or 0)
            drain(2.5)
            client.replicaof("NO", "ONE")
            publish("hello")
            _until_read(drain, read, 1)
