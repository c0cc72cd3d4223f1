"""A worker shows its metrics and says that it is there, in both pools, as long as it lives."""

import re
from contextlib import closing
from typing import Any

import psutil
import pytest
import requests

from tests.integration.worker_place import WorkerPlace, place
from tests.processes import Process
from tests.servers import Restartable, free_port, wait_for
from worker.store import Note, open_store

KEY = "fxvZjVPAkyNEPXtCIwaFYNBb2ZL1cYl9wqtEvtfQs0k="
# Fails, waits or answers, as it is told.
AGENT = """
import os, pathlib, time
from prometheus_client import Counter

gate, calls = pathlib.Path(os.environ["GATE"]), Counter("my_agent_calls", "Of the agent itself.")

def agent(message):
    calls.inc()
    if message.text == "fail":
        raise RuntimeError
    while message.text == "wait" and not gate.exists():
        time.sleep(0.02)
    return f"answer to {message.text}"
"""


@pytest.fixture
def here(tmp_path, redis_url):
    (tmp_path / "metered.py").write_text(AGENT)
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


class Scraped:
    """What a worker shows, by name and label values."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def __call__(self) -> dict[str, float]:
        answer = requests.get(self._url, timeout=5)
        answer.raise_for_status()
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        return {_short(name): float(value) for name, value in (x.rsplit(" ", 1) for x in lines)}

    def until(self, name: str, value: float) -> dict[str, float]:
        """Wait until it shows ``value``; return all it shows then."""
        seen: dict[str, float] = {}

        def shows() -> bool:
            seen.update(self())
            return seen.get(name) == value

        try:
            wait_for(shows, what=f"{name} to be {value:g}")
        except TimeoutError as error:
            raise AssertionError(f"{error}; it is {seen.get(name)}") from None
        return seen


def _short(name: str) -> str:
    """``dingtalk_worker_x{a="1",b="2"}`` as ``worker_x 1 2``."""
    values = re.findall(r'="([^"]*)"', name)
    return " ".join([name.partition("{")[0].removeprefix("dingtalk_"), *values])


def metered(here: WorkerPlace, options: str = "", **more: str) -> tuple[Process, Scraped]:
    port = free_port()
    worker = here.worker(options, AGENT="metered:agent", METRICS_PORT=str(port), **more)
    return worker, Scraped(port)


def workers_known(here: WorkerPlace) -> list[Note]:
    with closing(open_store(here.store_url)) as store:
        return store.remembered("worker")


def logged(worker: Process, action: str) -> list[str]:
    return [line for line in worker.log.splitlines() if f'"action": "{action}"' in line]


@pytest.mark.parametrize("options", ["-c 4", "-P prefork -c 2"])
def test_what_happens_to_messages_is_seen_in_the_metrics(here, options):
    worker, scraped = metered(here, options)
    here.listener()
    here.simulator.fail_replies(1, "bob", errcode=-1, errmsg="system busy")

    for text, person in (("hello", "alice"), ("hello", "bob"), ("fail", "carol")):
        here.simulator.say(text, person)
    seen = scraped.until("worker_messages_total on_time SUCCESS", 2)
    seen |= scraped.until("worker_messages_total agent_failed FAILURE", 1)

    assert seen["worker_missed_total agent_failed"] == 1
    assert seen["worker_missed_total throttled"] == 0
    assert seen["worker_retries_total busy"] == 1
    assert seen["worker_sends_total webhook"] == 2
    assert seen["worker_sends_total proactive"] == 0
    assert seen["worker_reply_seconds_count"] == 2
    assert seen["worker_spare_seconds_count"] >= 2
    assert seen["worker_queue_age_seconds_count"] == 3
    assert seen["worker_agent_seconds_count"] == 3
    assert seen["worker_post_seconds_count"] >= 2
    assert seen["my_agent_calls_total"] == 3, "an agent's own metrics come along"
    assert seen["fleet_missed_open agent_failed"] == 1
    assert seen["fleet_workers"] == 1
    assert seen["worker_slots"] == seen["fleet_slots"] == (4 if "4" in options else 2)

    here.simulator.say("wait", "dora")
    assert scraped.until("worker_in_flight", 1)["fleet_unfinished running"] == 1
    here.gate.touch()
    scraped.until("worker_in_flight", 0)

    code, _ = worker.terminate()
    assert code == 0
    assert not [folder for folder in here.folder.glob("data/metrics/*") if folder.is_dir()]


def test_a_pool_process_that_dies_takes_nothing_of_the_counts_with_it(here):
    worker, scraped = metered(here, "-P prefork -c 1")
    here.listener()
    here.simulator.say("hello", "alice")
    seen = scraped.until("worker_messages_total on_time SUCCESS", 1)

    main = next(p for p in worker.members() if not _is_child(p, worker))
    (child,) = [p for p in worker.members() if _is_child(p, worker)]
    child.kill()
    wait_for(
        lambda: [p for p in worker.members() if _is_child(p, worker) and p.pid != child.pid],
        what="another pool process",
    )
    here.simulator.say("hello", "alice")
    seen = scraped.until("worker_messages_total on_time SUCCESS", 2)

    assert seen["worker_reply_seconds_count"] == 2
    (young,) = [p for p in worker.members() if _is_child(p, worker)]
    assert _ports(main), "the main process serves"
    assert not _ports(young), "a child that outlives its worker does not keep its port"


def _is_child(process: psutil.Process, worker: Process) -> bool:
    return process.pid != worker.group


def _ports(process: psutil.Process) -> list[int]:
    found: list[Any] = process.net_connections("tcp")
    return [each.laddr.port for each in found if each.status == psutil.CONN_LISTEN]


def test_what_a_killed_worker_left_is_removed_by_the_next_and_not_counted(here):
    worker, _ = metered(here, "-c 1")
    (left,) = [folder for folder in here.folder.glob("data/metrics/*") if folder.is_dir()]
    worker.kill()

    first, _ = metered(here, "-c 1 -n first@%h")
    metered(here, "-c 1 -n second@%h")

    folders = {folder for folder in here.folder.glob("data/metrics/*") if folder.is_dir()}
    assert left not in folders
    assert len(folders) == 2, "that of a living one stays"
    assert first.is_running


def test_a_port_that_is_taken_is_said_and_the_worker_works(here):
    port = free_port()
    here.worker("-c 1 -n first@%h", METRICS_PORT=str(port))
    second = here.worker("-c 1 -n second@%h", METRICS_PORT=str(port), LOG_FORMAT="json")
    here.gate.touch()

    (said,) = logged(second, "metrics_unavailable")
    assert f"METRICS_PORT {port}: Address already in use" in said
    here.listener()
    message = here.simulator.say("hello", "alice")
    assert here.simulator.until_answered(message) == "answer to hello"


def test_without_a_port_nothing_is_measured(here):
    worker = here.worker("-c 1")

    assert not (here.folder / "data" / "metrics").exists()
    assert not [p for member in worker.members() for p in _ports(member)]


def test_a_worker_says_that_it_is_there_until_it_stops(here):
    worker, _ = metered(here, "-P prefork -c 2 -n it@%h", ENVELOPE_KEY=KEY)
    wait_for(lambda: workers_known(here), what="the worker to say that it is there")

    (note,) = workers_known(here)
    assert note.key.startswith("it@")
    assert note.facts["pool"] == "prefork"
    assert note.facts["concurrency"] == 2
    assert note.facts["queues"] == ["commands", "events", "messages", "replies", "turns"]
    assert note.facts["agent"] == "metered:agent"
    assert note.facts["sealed"] is True
    assert note.facts["store"] == "redis"
    assert note.facts["in_flight"] == 0
    shown = str(note.facts)
    assert KEY not in shown
    assert "hush-51d0" not in shown

    worker.terminate()
    assert workers_known(here) == []


def test_while_the_store_is_away_a_scrape_is_quick_and_says_so(here, tmp_path):
    server = Restartable("redis", tmp_path / "away")
    url = server.start()
    try:
        _, scraped = metered(here, "-c 1", STORE_URL=url)
        scraped.until("fleet_scrape_error store", 0)
        server.stop()

        seen = scraped.until("fleet_scrape_error store", 1)
    finally:
        server.stop()

    assert seen["fleet_scrape_error broker"] == 0
    assert seen["worker_duplicates_total"] == 0
    assert "fleet_workers" not in scraped()
