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

CODE = ("chat.js", "bubbles.js", "composer.js", "markdown.js")


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


class BrowserCaller:
    """A bot's calls, made from the page because that is at hand here."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self._browser = browser
        self._token = ""
        credentials = {"appKey": "bot", "appSecret": "secret"}
        self._token = self.call("POST", "/v1.0/oauth2/accessToken", credentials)["accessToken"]

    def call(self, method: str, path: str, body: Any) -> Any:
        answer = self._browser.execute_async_script(
            "const [method, path, body, token, done] = arguments;"
            "fetch(path, {method, body, headers: {'x-acs-dingtalk-access-token': token}})"
            ".then((answer) => answer.json()).then(done)",
            method,
            path,
            json.dumps(body),
            self._token,
        )
        assert "code" not in answer, answer
        return answer

    def upload(self, kind: str, name: str) -> str:
        answer = self._browser.execute_async_script(
            "const [path, name, done] = arguments, form = new FormData();"
            "form.append('media', new Blob(['x']), name);"
            "fetch(path, {method: 'POST', body: form}).then((it) => it.json()).then(done)",
            f"/media/upload?type={kind}&access_token={self._token}",
            name,
        )
        return str(answer["media_id"])


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


def test_a_person_sends_a_picture_and_quotes_an_answer(page, simulator, browser, tmp_path):
    page.click("#attach summary", "+")
    page.click("#attach button", "A picture")
    page.until(
        lambda: browser.execute_script(
            "return document.querySelector('.mine img.picture')?.naturalWidth > 0"
        )
    )
    document = tmp_path / "plan.pdf"
    document.write_bytes(b"%PDF-1.4 plan")
    page.write("what it has no room for", Keys.NULL)
    browser.find_element(By.ID, "file").send_keys(str(document))
    page.until(lambda: "plan.pdf" in page.text(".mine a.file"))
    box = browser.find_element(By.ID, "text")
    assert box.get_property("value") == "what it has no room for"
    box.clear()
    browser.execute_script("document.querySelector('.mine .quote').click()")
    page.write("and this?")
    page.until(lambda: page.text(".mine .quoted") == "[picture]")

    picture, file, text = simulator.messages
    assert [each.kind for each in simulator.messages] == ["picture", "file", "text"]
    assert file.files == ["plan.pdf"]
    assert text.payload["text"]["repliedMsg"]["msgId"] == picture.message_id


def test_a_card_grows_before_the_eyes_and_its_button_is_pressed(page, simulator, browser):
    caller = BrowserCaller(browser)
    buttons = '[{"text":"Approve","id":"approve","params":{"number":7}}]'
    message = simulator.say("may I?")
    caller.call(
        "POST",
        "/v1.0/card/instances/createAndDeliver",
        {
            "cardTemplateId": "a.schema",
            "outTrackId": "card1",
            "callbackType": "STREAM",
            "cardData": {"cardParamMap": {"flowStatus": "2", "buttons": buttons, "step": "one"}},
            "openSpaceId": "dtv1.card//IM_ROBOT.alice",
            "imRobotOpenSpaceModel": {"supportForward": True},
            "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT"},
        },
    )
    piece = {"outTrackId": "card1", "key": "content", "isFull": True}
    caller.call("PUT", "/v1.0/card/streaming", {**piece, "guid": "1", "content": "**It** gr"})
    page.until(lambda: page.text(".card strong") == "It" and "gr" in page.text(".card"))
    assert "step: one" in page.text(".card")
    caller.call(
        "POST",
        "/v1.0/robot/emotion/reply",
        {
            "robotCode": "bot",
            "openMsgId": message.message_id,
            "openConversationId": message.conversation_id,
            "emotionType": 2,
            "emotionName": "thinking",
            "textEmotion": {"text": "thinking"},
        },
    )
    assert page.until(lambda: page.text(".reaction") == "thinking")
    final = {**piece, "guid": "2", "content": "It grew", "isFinalize": True}
    caller.call("PUT", "/v1.0/card/streaming", final)
    page.until(lambda: "It grew" in page.text(".card"))
    page.click(".card button", "Approve")
    simulator.until(lambda it: it.clicks, 60)

    (click,) = simulator.clicks
    assert (click.person, click.action_id, click.params) == ("alice", "approve", {"number": 7})
    page.until(
        lambda: (
            browser.find_element(By.CSS_SELECTOR, ".meta .action").send_keys("wave", Keys.ENTER)
            or True
        )
    )
    simulator.until(lambda it: len(it.clicks) == 2, 60)
    assert (simulator.clicks[1].action_id, simulator.clicks[1].params) == ("wave", {})


@pytest.mark.parametrize(
    ("msgtype", "member", "text", "shown"),
    [
        ("text", "content", "well, @alice, yes", "well, @Alice, yes"),
        ("text", "content", "yes", "yes @Alice"),
        ("markdown", "text", "## @alice\n\nyes", "@Alice\nyes"),
    ],
)
def test_a_mention_shows_the_name_where_the_words_have_it(
    page, simulator, browser, msgtype, member, text, shown
):
    message = simulator.say("hi", group=True)
    page.until(lambda: page.click("#conversations button", "Ops room") or True)
    body = {
        "msgtype": msgtype,
        msgtype: {"title": "t", member: text},
        "at": {"atUserIds": ["alice"]},
    }
    browser.execute_async_script(
        "fetch(arguments[0], {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: arguments[1]}).then(arguments[2])",
        message.session_webhook,
        json.dumps(body),
    )

    assert page.until(lambda: page.text(".bot .bubble") == shown)
    assert page.until(lambda: page.text(".bot .mention") == "@Alice")


def test_what_a_bot_uploads_is_shown(page, simulator, browser):
    caller = BrowserCaller(browser)
    media_id = caller.upload("image", "cat.png")
    for key, param in (
        ("sampleImageMsg", {"photoURL": media_id}),
        ("sampleMarkdown", {"title": "t", "text": f"![a cat]({media_id})"}),
        ("sampleFile", {"mediaId": media_id, "fileName": "plan.pdf", "fileType": "pdf"}),
    ):
        body = {"robotCode": "bot", "userIds": ["alice"], "msgKey": key}
        body["msgParam"] = json.dumps(param)
        caller.call("POST", "/v1.0/robot/oToMessages/batchSend", body)
    page.until(lambda: "plan.pdf" in page.text(".bot a.file"))

    pictures = browser.find_elements(By.CSS_SELECTOR, ".bot img.picture")
    assert len(pictures) == 2
    assert all("media=%40lA" in str(each.get_attribute("src")) for each in pictures)


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
    sources = [folder / name for name in ("chat.html", "chat.css", *CODE)]
    addresses = [
        part
        for source in sources
        for part in source.read_text().split("http")[1:]
        if part.startswith(("://", "s://")) and "w3.org" not in part[:20]
    ]
    assert addresses == []
