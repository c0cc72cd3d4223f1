"""A worker on RabbitMQ under bursts, while remote control asks it how it is, as Flower does."""

import threading
from functools import partial

import pytest

from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for

BURSTS, MESSAGES = 6, 400


@pytest.fixture
def here(tmp_path, redis_url, rabbitmq_url):
    with place(tmp_path, redis_url) as somewhere:
        somewhere.broker_url = rabbitmq_url
        yield somewhere


def _has(here: WorkerPlace, wanted: int) -> bool:
    return len(here.simulator.accepted) >= wanted


def test_bursts_and_questions_do_not_block_each_other(here):
    """Publishing that waits for confirms stopped a worker until its heartbeats failed."""
    here.gate.touch()
    here.listener()
    worker = here.worker()
    answered, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            asked = here.run("celery", "-A", "worker", "inspect", "stats", "-t", "5")
            answered.append(asked.returncode)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        wait_for(lambda: answered, what="the first answer to a question")
        for burst in range(1, BURSTS + 1):
            for number in range(MESSAGES):
                here.simulator.say(f"message {number}", person=f"person {number % 60}")
            wait_for(partial(_has, here, burst * MESSAGES), what=f"answers of burst {burst}")
    finally:
        stop.set()
        for thread in asking:
            thread.join()

    assert len(here.simulator.accepted) == BURSTS * MESSAGES
    assert set(answered) == {0}
    assert "onnection to broker lost" not in worker.log
