"""Flower's API and its page, by a real browser: every message is found, with how it ended and why.

One deployment on Redis plays every end that a message can have, under each late policy in turn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from contract.routing import task_id
from dingwire.simulator import SimulatorThread
from dingwire.simulator.records import Message
from tests.acceptance.conftest import redis_database
from tests.acceptance.deployment import CLIENT_ID, LOGIN, Deployment
from tests.browser import chromium
from tests.servers import PATIENCE_S

AGENT_S = 5


@dataclass(frozen=True)
class Ended:
    """A message, and what Flower must show of it."""

    message: Message
    state: str
    reason: str
    retries: int = 0


def _in_the_past() -> int:
    return int(datetime.now(UTC).timestamp() * 1000) - 60_000


def _under_policy(deployment: Deployment, policy: str) -> None:
    if "worker-one" in deployment.processes:
        deployment.processes["worker-one"].terminate()
    deployment.environment["LATE_POLICY"] = policy
    deployment.start()


def _play(deployment: Deployment) -> dict[str, Ended]:
    _under_policy(deployment, "flag")
    deployment.simulator.fail_replies(1, "unlucky", status=503)
    played = {
        "answered": Ended(deployment.say(f"sleep:{AGENT_S} hello"), "SUCCESS", "on_time"),
        "failed": Ended(deployment.say("raise: an error"), "FAILURE", "agent_failed"),
        "flagged": Ended(
            deployment.say("too late", sessionWebhookExpiredTime=_in_the_past()),
            "FLAGGED",
            "expired_in_queue",
        ),
        "retried": Ended(deployment.say("hello", "unlucky"), "SUCCESS", "on_time", retries=1),
    }
    _until_shown(deployment, played)
    _under_policy(deployment, "drop")
    late = deployment.say("too late", sessionWebhookExpiredTime=_in_the_past())
    played["dropped"] = Ended(late, "DROPPED", "expired_in_queue")
    _until_shown(deployment, played)
    _under_policy(deployment, "rescue")
    slow = deployment.say_outliving_its_webhook()
    played["rescued"] = Ended(slow, "RESCUED", "expired_running")
    _until_shown(deployment, played)
    return played


def _until_shown(deployment: Deployment, played: dict[str, Ended]) -> None:
    for ended in played.values():
        deployment.until_state(ended.message, ended.state)


@pytest.fixture(scope="module")
def flower(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    url = redis_database(redis_url, 14)
    with SimulatorThread() as simulator:
        folder = tmp_path_factory.mktemp("flower")
        deployment = Deployment(
            simulator, folder, broker_url=url, store_url=url, workers=["one"], REDIS_URL=url
        )
        try:
            deployment.release()
            yield deployment
        finally:
            deployment.stop()


@pytest.fixture(scope="module")
def played(flower: Deployment) -> dict[str, Ended]:
    return _play(flower)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), size="1600,900") as driver:
        yield driver


class TaskPage:
    """Flower's page of tasks, as a person sees it."""

    def __init__(self, browser: webdriver.Chrome, port: int, query: str = "") -> None:
        self._browser = browser
        user, password = LOGIN
        browser.get(f"http://{user}:{password}@127.0.0.1:{port}/")  # the login is kept
        browser.execute_script("localStorage.clear()")  # and so would be the last search
        browser.get(f"http://127.0.0.1:{port}/tasks{query}")

    def search(self, words: str) -> None:
        box = self._browser.find_element(By.CSS_SELECTOR, "input[type=search]")
        box.clear()
        box.send_keys(words)

    def until_rows(self, *ids: str) -> list[dict[str, str]]:
        """Wait until the tasks of these messages and no others are shown; return their rows."""
        wait = WebDriverWait(self._browser, PATIENCE_S, 0.05, ignored_exceptions=[Exception])
        wait.until(lambda _: sorted(row["uuid"] for row in self._rows()) == sorted(ids))
        return self._rows()

    def _rows(self) -> list[dict[str, str]]:
        # In one go: the page may replace a row while it is read.
        rows: list[dict[str, str]] = self._browser.execute_script(
            "const names = [...document.querySelectorAll('#tasks-table thead th')]"
            ".map(cell => cell.dataset.column);"
            "return [...document.querySelectorAll('#tasks-table tbody tr[id]')].map(row =>"
            " Object.fromEntries([...row.cells].map((cell, n) => [names[n], cell.innerText])));"
        )
        return rows


def _id(ended: Ended) -> str:
    return task_id(CLIENT_ID, ended.message.message_id)


def _task(flower: Deployment, ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = flower.flower(f"/api/task/info/{_id(ended)}").json()
    return found


def test_the_api_finds_every_task_by_its_message_id(flower, played):
    for ended in played.values():
        words = ended.message.message_id
        for search in (words, f"kwargs:message_id={words}"):
            found = flower.flower("/api/tasks", search=search).json()
            assert list(found) == [_id(ended)], search


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "FLAGGED", "DROPPED", "RESCUED"])
def test_the_api_filters_by_every_state(flower, played, state):
    expected = {_id(ended) for ended in played.values() if ended.state == state}

    assert set(flower.flower("/api/tasks", state=state).json()) == expected
    assert set(flower.flower("/api/tasks", search=f"state:{state}").json()) == expected


def test_the_reason_is_in_the_result_and_can_be_searched_for(flower, played):
    for ended in played.values():
        assert ended.reason in _task(flower, ended)["result"]
    found = flower.flower("/api/tasks", search="result:agent_failed").json()
    assert list(found) == [_id(played["failed"])]
    found = flower.flower("/api/tasks", search="state:FLAGGED OR state:DROPPED").json()
    assert set(found) == {_id(played["flagged"]), _id(played["dropped"])}


def test_runtime_and_retries_are_right(flower, played):
    tasks = {name: _task(flower, ended) for name, ended in played.items()}

    assert {name: task["retries"] for name, task in tasks.items()} == {
        name: ended.retries for name, ended in played.items()
    }
    for name, task in tasks.items():
        ran_for = task["timestamp"] - task["started"]
        assert task["runtime"] == pytest.approx(ran_for, abs=0.5), name
    assert tasks["answered"]["runtime"] >= AGENT_S
    assert tasks["flagged"]["runtime"] < AGENT_S, "no agent was asked"
    assert "503" in tasks["retried"]["exception"], "its last failure stays to be seen"
    assert tasks["retried"]["retried"] < tasks["retried"]["succeeded"]


def test_the_page_shows_each_with_its_state_reason_and_retries(flower, played, browser):
    page = TaskPage(browser, flower.port)
    rows = {row["uuid"]: row for row in page.until_rows(*map(_id, played.values()))}

    for name, ended in played.items():
        row = rows[_id(ended)]
        assert row["state"] == ended.state, name
        assert ended.reason in row["result"], name
        assert ended.message.message_id in row["kwargs"], name
        assert row["retries"] == str(ended.retries), name
        assert row["runtime"].split()[1] in ("ms", "s"), name


def test_the_page_finds_a_task_by_its_message_id(flower, played, browser):
    page = TaskPage(browser, flower.port)
    for ended in played.values():
        page.search(ended.message.message_id)
        page.until_rows(_id(ended))


def test_the_page_filters_by_every_state_by_its_search_and_by_a_link(flower, played, browser):
    page = TaskPage(browser, flower.port)
    for state in ("FAILURE", "FLAGGED", "DROPPED", "RESCUED", "SUCCESS"):
        expected = [_id(ended) for ended in played.values() if ended.state == state]
        page.search(f"state:{state}")
        page.until_rows(*expected)
    TaskPage(browser, flower.port, "?state=FLAGGED").until_rows(_id(played["flagged"]))


def test_flower_counts_the_states_in_its_metrics(flower, played):
    metrics = flower.flower("/metrics").text

    for kind in ("task-flagged", "task-dropped", "task-rescued", "task-failed", "task-retried"):
        assert f'type="{kind}"' in metrics
    del played


def test_the_page_of_a_task_tells_why_and_nothing_that_was_written(flower, played, browser):
    browser.get(
        f"http://{LOGIN[0]}:{LOGIN[1]}@127.0.0.1:{flower.port}/task/{_id(played['failed'])}"
    )
    shown = browser.find_element(By.ID, "task-page").text

    assert "agent_failed" in shown
    assert "ValueError" in shown
    assert played["failed"].message.text not in browser.page_source
