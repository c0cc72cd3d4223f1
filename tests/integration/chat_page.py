"""The chat page as a person uses it, in a real browser, and the bots behind it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from dingwire.simulator import SimulatorThread
from dingwire.simulator.page import assets
from tests.browser import chromium
from tests.integration.simulator_bot import BOT_TOPIC, RawBot
from tests.servers import PATIENCE_S

CARD_TOPIC = "/v1.0/card/instances/callback"
FOLDER = Path(__file__).parents[2] / "dingwire" / "simulator"
SOURCES = [FOLDER / name for name in sorted(set(assets().values()))]
# A microphone that beeps, and nobody is asked whether it may be used.
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chat_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser for all tests of a module."""
    with chromium(profile, *MICROPHONE) as driver:
        yield driver


class CardBot(RawBot):
    """Echoes, and writes on a card who pressed which of its buttons."""

    async def ack(self, frame: dict[str, Any], **changes: Any) -> None:
        if frame["headers"]["topic"] == CARD_TOPIC:
            pressed = json.loads(json.loads(frame["data"])["content"])["cardPrivateData"]
            changed = {"cardParamMap": {"decision": pressed["actionIds"][0]}}
            options = {"updateCardDataByKey": True}
            answer = {"cardData": changed, "cardUpdateOptions": options}
            changes["data"] = json.dumps({"response": answer})
        await super().ack(frame, **changes)


@contextmanager
def running_bot(simulator: SimulatorThread) -> Iterator[RawBot]:
    """A bot in a thread of its own."""
    subscriptions = [{"type": "CALLBACK", "topic": each} for each in (BOT_TOPIC, CARD_TOPIC)]
    connected = CardBot(simulator.endpoint, subscriptions=subscriptions)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(connected.__aenter__(), loop).result(60)
    try:
        yield connected
    finally:
        asyncio.run_coroutine_threadsafe(connected.__aexit__(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class ChatPage:
    """What a person sees and does."""

    def __init__(self, browser: webdriver.Chrome, endpoint: str) -> None:
        self._browser = browser
        self.endpoint = endpoint
        self.open()

    def open(self) -> None:
        self._browser.get(self.endpoint + "/")
        self.until(lambda: self.text("#conversations"))

    def until(self, looked_at: Callable[[], Any]) -> Any:
        # A node may be replaced between two looks, which selenium calls stale.
        wait = WebDriverWait(self._browser, PATIENCE_S, 0.05, ignored_exceptions=[Exception])
        return wait.until(lambda _: looked_at())

    def find(self, selector: str) -> WebElement:
        return self._browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self._browser.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [each.text for each in self.all(selector)]

    def text(self, selector: str) -> str:
        return " ".join(self.texts(selector))

    def run(self, script: str, *values: object) -> Any:
        return self._browser.execute_script(script, *values)

    def write(self, text: str, *keys: str) -> None:
        self.find("#text").send_keys(text, *(keys or (Keys.ENTER,)))

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus."""
        for key in keys:
            self._browser.switch_to.active_element.send_keys(key)

    def focus(self) -> str:
        """What has the focus: its id, else what it is for, else its words; "" when nothing has."""
        script = (
            "const it = document.activeElement, {key, deed, line, kind} = it.dataset;"
            "if (it === document.body) return '';"
            "return it.id || key || deed || line || kind || it.name || it.textContent;"
        )
        return str(self.run(script))

    def click(self, selector: str, name: str = "") -> None:
        next(each for each in self.all(selector) if name in each.text).click()

    def choose(self, kind: str) -> None:
        """Something of the composer's menu."""
        self.click("#show-attach")
        self.until(lambda: self.find(f"#kinds [data-kind={kind}]").is_displayed())
        self.click(f"#kinds [data-kind={kind}]")

    def opens(self, part: str) -> None:
        """Show a part of the panel."""
        self.click(f"#show-{part}")
        self.until(lambda: self.find(f"#{part}").is_displayed())

    def switch(self, name: str, value: object) -> None:
        """Give a control of the faults this value, as a person would."""
        self.run(
            "const it = document.getElementById(`switch-${arguments[0]}`);"
            "if (it.type === 'checkbox') it.checked = arguments[1]; else it.value = arguments[1];"
            "it.dispatchEvent(new Event('change'))",
            name,
            value,
        )

    def posts(self, address: str, body: Any) -> None:
        """A post that a bot would make."""
        self._browser.execute_async_script(
            "fetch(arguments[0], {method: 'POST', headers: {'Content-Type': 'application/json'},"
            " body: arguments[1]}).then(arguments[2], arguments[2])",
            address,
            json.dumps(body),
        )

    def tell(self, command: str, **values: Any) -> None:
        self._browser.execute_cdp_cmd(command, values)


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

    def card(self, card_id: str, **params: str) -> None:
        """A card in Alice's private chat."""
        self.call(
            "POST",
            "/v1.0/card/instances/createAndDeliver",
            {
                "cardTemplateId": "a.schema",
                "outTrackId": card_id,
                "callbackType": "STREAM",
                "cardData": {"cardParamMap": params},
                "openSpaceId": "dtv1.card//IM_ROBOT.alice",
                "imRobotOpenSpaceModel": {"supportForward": True},
                "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT"},
            },
        )

    def upload(self, kind: str, name: str) -> str:
        answer = self._browser.execute_async_script(
            "const [path, name, done] = arguments, form = new FormData();"
            "form.append('media', new Blob(['x']), name);"
            "fetch(path, {method: 'POST', body: form}).then((it) => it.json()).then(done)",
            f"/media/upload?type={kind}&access_token={self._token}",
            name,
        )
        return str(answer["media_id"])
