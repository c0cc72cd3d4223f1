"""How a Redis store uses its connections."""

from contextlib import closing

import pytest
import redis

from tests.calls import socket_calls
from worker.store import redis_connections
from worker.store.redis import RedisStore


def test_a_step_is_one_call_to_send_and_one_to_receive(redis_url):
    with closing(RedisStore(redis_url, prefix="connections:")) as store:
        store.remembered("nothing")

        with socket_calls() as calls:
            store.remembered("nothing")

    assert calls == ["sendall", "recv"]


@pytest.mark.parametrize("look_after_s", [0, 3600])
def test_a_connection_that_the_server_has_closed_is_replaced(redis_url, monkeypatch, look_after_s):
    monkeypatch.setattr(redis_connections, "LOOK_AFTER_S", look_after_s)
    with (
        closing(RedisStore(redis_url, prefix="connections:")) as store,
        redis.Redis.from_url(redis_url) as client,
    ):
        store.remembered("nothing")
        client.client_kill_filter(_id=str(store._redis.client_id()))

        assert store.remembered("nothing") == []
