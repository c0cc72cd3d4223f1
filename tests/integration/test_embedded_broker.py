"""The embedded broker keeps what a file system can keep."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

import pytest
from kombu import Exchange, Queue
from kombu.simple import SimpleQueue

from contract import embedded, embedded_wake
from contract.broker import Broker
from tests.servers import wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker.from_url("embedded://", tmp_path)


@contextmanager
def _queue(broker: Broker, name: str = "messages"):
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == name)
        simple = SimpleQueue(connection, queue)  # type: ignore[arg-type]
        yield simple
        simple.close()


def _put(broker: Broker, *bodies: object) -> None:
    with broker.connection() as connection, connection.Producer() as producer:
        for queue in broker.queues():
            queue(connection.default_channel).declare()
        for body in bodies:
            producer.publish(body, exchange="messages", routing_key="messages")


def _get_nothing(simple: SimpleQueue) -> None:
    with pytest.raises(Empty):
        simple.get(block=False)


def test_messages_come_in_the_order_they_were_put(broker):
    _put(broker, *range(20))

    with _queue(broker) as queue:
        got = []
        for _ in range(20):
            message = queue.get(timeout=60)
            got.append(message.payload)
            message.ack()

    assert got == list(range(20))


def test_only_the_owner_of_the_folder_may_look_inside(broker, tmp_path):
    _put(broker, "secret")

    for part in ("broker", "broker/queues", "broker/queues/messages", "broker/taken"):
        assert stat.S_IMODE((tmp_path / part).stat().st_mode) == 0o700, part


def test_an_acknowledged_message_leaves_no_file_behind(broker, tmp_path):
    _put(broker, "one")

    with _queue(broker) as queue:
        queue.get(timeout=60).ack()

    assert list(tmp_path.rglob("*.msg")) == []


def test_a_message_that_was_read_but_not_acknowledged_comes_back_on_close(broker):
    _put(broker, "first", "second")
    with _queue(broker) as queue:
        assert queue.get(timeout=60).payload == "first"

    with _queue(broker) as queue:
        assert [queue.get(timeout=60).payload for _ in range(2)] == ["first", "second"]


def test_a_message_in_the_hands_of_a_killed_process_comes_back(broker, tmp_path, monkeypatch):
    """Kombu's own transport deletes on read, and would have lost it."""
    _put(broker, "in hand")
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\n"
            "from contract.broker import Broker\n"
            "broker = Broker.from_url('embedded://', pathlib.Path(sys.argv[1]))\n"
            "queue = broker.connection().SimpleQueue(broker.queues()[0])\n"
            "print(queue.get(timeout=60).payload, flush=True)\n"
            "time.sleep(60)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "in hand\n"
    monkeypatch.setattr(embedded, "RECOVER_EVERY_S", 0.05)
    with _queue(broker) as queue:
        _get_nothing(queue)
        os.kill(reader.pid, signal.SIGKILL)
        reader.wait(60)
        reader.stdout.close()

        message = queue.get(timeout=60)

        assert message.payload == "in hand"
        message.ack()


def test_a_fork_does_not_keep_the_messages_of_its_dead_parent(broker, tmp_path, monkeypatch):
    """A pool child outlives its parent for a while and must not look like it."""
    _put(broker, "of the parent")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time, pathlib\n"
            "from contract.broker import Broker\n"
            "broker = Broker.from_url('embedded://', pathlib.Path(sys.argv[1]))\n"
            "queue = broker.connection().SimpleQueue(broker.queues()[0])\n"
            "queue.get(timeout=60)\n"
            "child = os.fork()\n"
            "if child: print(child, flush=True)\n"
            "time.sleep(60)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(60)
    parent.stdout.close()
    try:
        monkeypatch.setattr(embedded, "RECOVER_EVERY_S", 0.05)
        with _queue(broker) as queue:
            message = queue.get(timeout=60)
            assert message.payload == "of the parent"
            message.ack()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_reader_never_sees_a_message_that_is_still_being_written(broker, tmp_path):
    _put(broker)
    draft = tmp_path / "broker/queues/messages/00000000000000000001_x.tmp"
    draft.write_text('{"half": ')

    with _queue(broker) as queue:
        _get_nothing(queue)


def test_what_a_dead_writer_left_half_written_goes_after_a_while(broker, tmp_path, monkeypatch):
    _put(broker, "x")
    queue_folder = tmp_path / "broker/queues/messages"
    stale, fresh = queue_folder / "1_x.tmp", queue_folder / "2_y.tmp"
    for draft in (stale, fresh):
        draft.write_text('{"half": ')
    then = time.time() - 61
    os.utime(stale, (then, then))
    monkeypatch.setattr(embedded, "RECOVER_EVERY_S", 0.05)

    with _queue(broker) as queue:
        queue.get(timeout=60).ack()

    assert not stale.exists()
    assert fresh.exists()


def test_queues_that_come_and_go_meanwhile_end_nobody(broker, monkeypatch):
    """As those do in which Flower waits for answers: a worker ended that looked through them."""
    monkeypatch.setattr(embedded, "RECOVER_EVERY_S", 0)
    _put(broker)
    done = threading.Event()

    def come_and_go(name: str) -> None:
        with broker.connection() as connection:
            while not done.is_set():
                queue = Queue(name, Exchange(name), name, auto_delete=True)
                bound = queue(connection.default_channel)
                bound.declare()
                bound.delete()

    coming = [threading.Thread(target=come_and_go, args=(f"reply{n}",)) for n in range(3)]
    for thread in coming:
        thread.start()
    try:
        with _queue(broker) as queue:
            for _ in range(300):
                _get_nothing(queue)
    finally:
        done.set()
        for thread in coming:
            thread.join()


def test_the_event_queue_of_a_dead_watcher_goes_with_it(broker, tmp_path, monkeypatch):
    """Else every start of Flower would leave a queue that fills for ever."""
    watcher = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib, kombu\n"
            "from contract.broker import Broker\n"
            "broker = Broker.from_url('embedded://', pathlib.Path(sys.argv[1]))\n"
            "events = kombu.Exchange('celeryev', type='topic')\n"
            "queue = kombu.Queue('celeryev.watcher', events, routing_key='#', auto_delete=True)\n"
            "queue(broker.connection().default_channel).declare()\n"
            "import os; os._exit(1)\n",
            str(tmp_path),
        ],
        check=False,
    )
    assert watcher.returncode == 1
    folder = tmp_path / "broker/queues/celeryev.watcher"
    assert folder.is_dir()
    monkeypatch.setattr(embedded, "RECOVER_EVERY_S", 0.05)
    _put(broker, "x")

    with _queue(broker) as queue:

        def gone() -> bool:
            queue.get(timeout=60).requeue()
            return not folder.exists()

        wait_for(gone, what="the orphaned queue to go")

    assert "watcher" not in (tmp_path / "broker/control/celeryev.exchange").read_text()


def test_what_is_put_wakes_who_waits_for_it(broker, monkeypatch):
    """Two that hand a message to and fro would look only once an hour by themselves."""
    monkeypatch.setattr(embedded_wake, "LOOK_EVERY_S", 3600)

    def echo() -> None:
        with _queue(broker, "events") as asked, _queue(broker, "replies") as answers:
            for _ in range(20):
                message = asked.get(timeout=60)
                answers.put(message.payload)
                message.ack()

    echoing = threading.Thread(target=echo)
    echoing.start()
    with _queue(broker, "events") as asking, _queue(broker, "replies") as answers:
        for number in range(20):
            asking.put(number)
            message = answers.get(timeout=60)
            message.ack()
            assert message.payload == number
    echoing.join()


def test_room_for_another_message_wakes_who_may_take_it(broker, monkeypatch):
    """Acknowledged by another thread, as a worker's pool does."""
    monkeypatch.setattr(embedded_wake, "LOOK_EVERY_S", 3600)
    _put(broker, *range(20))
    got = []

    def take(message) -> None:
        got.append(message.payload)
        threading.Thread(target=message.ack).start()

    with broker.connection() as connection, connection.channel() as channel:
        queue = next(q for q in broker.queues() if q.name == "messages")
        with connection.Consumer(queue, channel=channel, on_message=take, prefetch_count=1):
            while len(got) < 20:
                connection.drain_events(timeout=60)

    assert got == list(range(20))


def test_nothing_stays_of_a_connection_that_waited(broker, tmp_path):
    _put(broker, "one")
    with _queue(broker) as queue:
        queue.get(timeout=60).ack()
        assert list(tmp_path.rglob(f"{embedded_wake.FOLDER}/*"))

    assert list(tmp_path.rglob(f"{embedded_wake.FOLDER}/*")) == []


def test_without_pipes_everybody_looks_often(broker, monkeypatch):
    """As on a file system that knows none."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    monkeypatch.setattr(embedded_wake, "LOOK_EVERY_S", 3600)
    with _queue(broker) as queue:
        threading.Timer(0.1, _put, (broker, "one")).start()

        assert queue.get(timeout=60).payload == "one"
