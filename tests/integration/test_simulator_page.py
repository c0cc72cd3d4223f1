"""The chat page in a real browser, with a raw echo bot behind it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from dingwire.simulator import SimulatorThread
from tests.browser import chromium
from tests.integration.simulator_bot import RawBot
from tests.servers import PATIENCE_S


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread() as running:
        yield running


@pytest.fixture
def bot(simulator: SimulatorThread) -> Iterator[RawBot]:
    """An echo bot in a thread of its own."""
    connected = RawBot(simulator.endpoint)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(connected.__aenter__(), loop).result(60)
    yield connected
    asyncio.run_coroutine_threadsafe(connected.__aexit__(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class ChatPage:
    """What a person sees and does."""

    def __init__(self, browser: webdriver.Chrome, endpoint: str) -> None:
        self._browser = browser
        browser.get(endpoint + "/")

    def until(self, looked_at: Callable[[], Any]) -> Any:
        # A node may be replaced between two looks, which selenium calls stale.
        wait = WebDriverWait(self._browser, PATIENCE_S, 0.05, ignored_exceptions=[Exception])
        return wait.until(lambda _: looked_at())

    def texts(self, selector: str) -> list[str]:
        found = self._browser.find_elements(By.CSS_SELECTOR, selector)
        return [each.text for each in found]

    def text(self, selector: str) -> str:
        return " ".join(self.texts(selector))

    def write(self, text: str, *keys: str) -> None:
        box = self._browser.find_element(By.ID, "text")
        box.send_keys(text, *(keys or (Keys.ENTER,)))

    def click(self, selector: str, name: str) -> None:
        buttons = self._browser.find_elements(By.CSS_SELECTOR, selector)
        next(each for each in buttons if name in each.text).click()


@pytest.fixture
def page(browser: webdriver.Chrome, simulator: SimulatorThread) -> ChatPage:
    opened = ChatPage(browser, simulator.endpoint)
    opened.until(lambda: opened.text("#conversations"))
    return opened


def test_without_a_bot_the_page_says_how_to_start_one(page, simulator):
    assert page.until(lambda: page.text("#bot") == "no bot connected")
    assert simulator.endpoint in page.text("#help")
    page.write("anybody?")

    assert page.until(lambda: page.text(".state") == "lost: no bot")


@pytest.mark.usefixtures("bot")
def test_a_message_is_answered_before_the_eyes_and_its_webhook_counts_down(page, simulator):
    assert page.until(lambda: page.text("#bot") == "bot connected")
    page.write("hello 你好")
    assert page.until(lambda: page.text(".bot .bubble") == "echo: hello 你好")

    assert page.text(".mine .bubble") == "hello 你好"
    assert page.until(lambda: page.text(".state") == "answered")
    first = page.text(".countdown")
    assert first.startswith("webhook ends in ")
    assert page.until(lambda: page.text(".countdown") != first), "it counts down"
    assert simulator.messages[0].person == "alice"


@pytest.mark.usefixtures("bot")
def test_another_person_speaks_in_the_group(page, simulator):
    page.click("#people button", "小明")
    page.click("#conversations button", "Ops room")
    page.write("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two", Keys.ENTER)
    page.until(lambda: page.text(".bot .bubble"))

    (message,) = simulator.messages
    assert (message.person, message.conversation) == ("xiaoming", "Ops room")
    assert message.text == "one\ntwo"


def test_a_bot_cannot_put_markup_into_the_page(page, simulator, browser):
    simulator.switch(queue_until_connected=True)
    message = simulator.say("hi")
    evil = "**bold** <img src=x onerror=alert(1)> [x](javascript:alert(1)) `<b>`\n\n- [ok](https://a.example)"
    body = {"msgtype": "markdown", "markdown": {"title": "t", "text": evil}}
    browser.execute_async_script(
        "fetch(arguments[0], {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: arguments[1]}).then(arguments[2])",
        message.session_webhook,
        json.dumps(body),
    )
    page.until(lambda: page.text(".bot .bubble"))

    shown = browser.find_element(By.CSS_SELECTOR, ".bot .bubble")
    assert shown.find_element(By.TAG_NAME, "strong").text == "bold"
    assert [each.get_attribute("href") for each in shown.find_elements(By.TAG_NAME, "a")] == [
        "https://a.example/"
    ]
    assert shown.find_elements(By.TAG_NAME, "img") == []
    assert "<img src=x" in shown.text


def test_an_expired_webhook_and_a_refused_reply_are_seen(page, simulator, browser):
    simulator.switch(session_ttl_s=0.2, queue_until_connected=True)
    message = simulator.say("quick")

    assert page.until(lambda: page.text(".state") == "expired")
    assert page.text(".countdown") == "webhook expired"
    browser.execute_async_script(
        "fetch(arguments[0], {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: '{}'}).then(arguments[1])",
        message.session_webhook,
    )
    assert page.until(lambda: "300001" in page.text(".note"))


def test_a_page_opened_later_shows_what_was_said(simulator, browser):
    simulator.say("long ago")
    page = ChatPage(browser, simulator.endpoint)

    assert page.until(lambda: page.text(".mine .bubble") == "long ago")


def test_the_page_fetches_nothing_from_elsewhere():
    folder = Path(__file__).parents[2] / "dingwire" / "simulator"
    sources = [folder / name for name in ("chat.html", "chat.css", "chat.js", "markdown.js")]
    addresses = [
        part
        for source in sources
        for part in source.read_text().split("http")[1:]
        if part.startswith(("://", "s://")) and "w3.org" not in part[:20]
    ]
    assert addresses == []
