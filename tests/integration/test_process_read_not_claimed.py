"""A process dies with a message that it has read and not claimed: another one answers it.

The store does not know such a message yet, so each broker has to give it out again.
"""

import signal
from functools import partial

import pytest
import redis

from contract.broker import Broker
from tests.integration.worker_place import WorkerPlace, place
from tests.processes import Process
from tests.servers import wait_for

# Reads one message as a worker does, and never acknowledges it.
READER = """
import os, pathlib
from contract.broker import Broker

broker = Broker.from_url(os.environ["BROKER_URL"], pathlib.Path(os.environ["DATA_DIR"]))
with broker.connection() as connection:
    channel = connection.channel()
    channel.basic_qos(0, 1, False)
    queue = next(q for q in broker.queues() if q.name == "messages")(channel)
    queue.consume(callback=lambda message: print("read", flush=True))
    while True:
        try:
            connection.drain_events(timeout=1)
        except TimeoutError:
            continue
"""


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


@pytest.fixture(params=["redis", "rabbitmq", "embedded"])
def kind(request, here):
    if request.param == "embedded":
        here.broker_url = "embedded://"
    elif request.param == "rabbitmq":
        here.broker_url = request.getfixturevalue("rabbitmq_url")
        with Broker.from_url(here.broker_url, here.folder).connection() as connection:
            for queue in Broker.from_url(here.broker_url, here.folder).queues():
                queue(connection.default_channel).declare()
                queue(connection.default_channel).purge()
    return request.param


def _answered(here: WorkerPlace, count: int) -> bool:
    return len(here.simulator.accepted) >= count


def _answers(here: WorkerPlace) -> set[str]:
    return {reply.text for reply in here.simulator.accepted}


def _has_run(here: WorkerPlace, count: int) -> bool:
    return len(here.runs) >= count


def _reader_with_a_message(here: WorkerPlace) -> Process:
    (here.folder / "reader.py").write_text(READER)
    reader = here.start("python reader.py")
    here.simulator.say("hello")
    reader.until_logged("read")
    return reader


def test_what_was_read_and_not_claimed_is_answered_by_another(here, kind):
    here.gate.touch()
    here.listener()
    reader = _reader_with_a_message(here)
    for name in ("one", "two"):
        here.worker(f"-n {name}@%h")

    reader.kill()
    wait_for(lambda: _answered(here, 1), what="the answer")

    assert [reply.text for reply in here.simulator.accepted] == ["answer to hello"]
    assert len(here.runs) == 1


def test_a_message_on_its_way_to_a_stopped_worker_is_not_lost(here):
    """With kombu's own transport Redis had forgotten it by then."""
    here.gate.touch()
    here.listener()
    stopped = here.worker()
    here.simulator.say("before")
    wait_for(lambda: _answered(here, 1), what="the first answer")

    stopped.signal(signal.SIGSTOP)
    here.simulator.say("hello")
    wait_for(lambda: here.simulator.message_acks[1:], what="the listener's ack")
    stopped.kill()
    here.worker()
    wait_for(lambda: _answered(here, 2), what="the answer")

    assert len(here.runs) == 2


def test_every_message_sent_to_workers_that_are_killed_is_answered(here):
    """Whatever each of them had read, and however far it had come with it."""
    here.gate.touch()
    here.listener()
    for killed in range(3):
        worker = here.worker()
        for number in range(40):
            here.simulator.say(f"message {killed} {number}", person=f"person {number}")
        wait_for(partial(_has_run, here, 40 * killed + 5), what="work to begin")
        worker.kill()
    here.worker()

    # A post that was under way when its worker was killed may be made again.
    wait_for(lambda: len(_answers(here)) == 120, what="an answer to each message")


def test_a_message_that_takes_long_is_not_given_out_again(here):
    """The visibility timeout of 10 s is shorter than many an agent's work."""
    here.listener()
    worker = here.worker()
    id_ = here.simulator.say("hello").message_id.encode()
    wait_for(lambda: len(here.runs) == 1, what="the agent to be run")

    def since() -> float:
        """When the worker took it last; a listener's report may be in its hands as well."""
        with redis.Redis.from_url(here.broker_url) as broker:
            [tag] = [t for t, held in broker.hgetall("unacked").items() if id_ in held]
            return float(broker.zscore("unacked_index", tag) or 0)

    first = since()
    wait_for(lambda: since() > first + 12, what="the worker to say it has it")
    here.gate.touch()
    wait_for(lambda: _answered(here, 1), what="the answer")

    assert len(here.runs) == 1
    assert "duplicate_dropped" not in worker.log
    with redis.Redis.from_url(here.broker_url) as broker:
        wait_for(lambda: not broker.hlen("unacked"), what="its acknowledgement")
