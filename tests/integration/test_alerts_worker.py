"""Workers tell a group robot of missed replies, one of them and once."""

from contextlib import closing

import pytest

from tests.integration.worker_place import WorkerPlace, place
from tests.processes import Process
from tests.servers import wait_for
from worker.store import open_store

AGENT = """
def agent(message):
    raise RuntimeError(message.text)
"""
TOKEN, SECRET, WORDS = "marked0robot0token", "SEC0marked0secret", "marked words 51d0"


@pytest.fixture
def here(tmp_path, redis_url):
    (tmp_path / "failing.py").write_text(AGENT)
    with place(tmp_path, redis_url) as somewhere:
        somewhere.simulator.simulator.robots.secret = SECRET
        yield somewhere


def alerting(here: WorkerPlace, name: str, secret: str = SECRET) -> Process:
    return here.worker(
        f"-c 2 -n {name}@%h",
        AGENT="failing:agent",
        ALERT_WEBHOOK=f"{here.simulator.endpoint}/robot/send?access_token={TOKEN}",
        ALERT_SECRET=secret,
        LOG_FORMAT="json",
    )


def let_two_fail(here: WorkerPlace) -> None:
    """After the workers have looked for the first time: what was before is no news."""

    def has_looked() -> bool:
        with closing(open_store(here.store_url)) as store:
            return bool(store.remembered("alert"))

    wait_for(has_looked, what="a first look for missed replies")
    here.listener()
    for person in ("alice", "bob"):
        here.simulator.say(WORDS, person)
    wait_for(lambda: len(here.missed()) == 2, what="two missed replies")


def test_of_all_workers_one_tells_the_group(here):
    workers = [alerting(here, "one"), alerting(here, "two")]

    let_two_fail(here)
    robots = here.simulator.simulator.robots
    wait_for(lambda: robots.messages, what="an alert")

    (message,) = robots.messages
    assert message.accepted, message.errmsg
    assert message.access_token == TOKEN
    assert "Missed replies: " in message.text
    assert "agent_failed: " in message.text
    logs = "".join(worker.log for worker in workers)
    assert WORDS not in message.text + logs
    wait_for(
        lambda: any('"alert_sent"' in worker.log for worker in workers),
        what="alert_sent in a log",
    )
    for private in (TOKEN, SECRET, "sign="):
        assert private not in logs


def test_a_robot_that_does_not_trust_us_is_logged_with_its_code_and_no_address(here):
    worker = alerting(here, "one", secret="SEC0another0secret")

    let_two_fail(here)
    worker.until_logged('"alert_failed"')

    (line,) = [line for line in worker.log.splitlines() if '"alert_failed"' in line]
    assert '"errcode": 310000' in line
    assert "sign not match" in line
    assert "security settings" in line
    for private in (TOKEN, "SEC0", "sign=", "access_token"):
        assert private not in worker.log
