"""Samples of the profiler are sorted by the innermost part that they are in."""

from bench.profile import shares


def test_a_sample_belongs_to_its_innermost_part():
    found = shares(
        "worker",
        [
            "run (threading.py:1);apply_target (celery/concurrency/base.py:9);"
            "Answering.work (worker/answering.py:5);info (logging/__init__.py:7) 3",
            "run (threading.py:1);apply_target (celery/concurrency/base.py:9);"
            "Answering.work (worker/answering.py:5);RedisOperator._run (worker/store/x.py:5);"
            "send (redis/connection.py:2) 2",
            "main (celery/bin/celery.py:1);on_readable (kombu/transport/redis.py:3) 4",
            "idle (somewhere.py:1) 1",
        ],
    )

    assert found == {
        "log lines": 3,
        "store: three scripts": 2,
        "messages from Redis: kombu": 4,
        "rest": 1,
    }
