"""Takes the pictures of the chat page in docs/images anew, in headless Chromium.

``python -m scripts.screenshots [--into FOLDER]``: plays a scene against a simulator of its own.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from selenium import webdriver

from dingwire.simulator import Simulator
from dingwire.simulator.records import Message
from tests.browser import chromium

__all__ = ["Scene", "View", "main"]

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
TOPICS = ("/v1.0/im/bot/messages/get", "/v1.0/card/instances/callback")
GROUP = "Ops room"
LIMIT_S = 60.0
REPORT = """## Two things, both fixed

| service | what | since |
|:--|:--|--:|
| **api** | out of memory | 02:14 |
| *flower* | lost its broker | 02:15 |

Both came back by themselves, see the [report](https://example.com/4711).
"""
STATUS = """**api** answers again.

```
GET /healthz  200  12 ms
```
"""


class Bot:
    """A Stream client that acknowledges everything and answers when the scene says so."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self._simulator = simulator
        self._http = http
        self._token = ""

    async def connect(self) -> None:
        """Register, connect and acknowledge from now on."""
        subscriptions = [{"type": "CALLBACK", "topic": topic} for topic in TOPICS]
        credentials = {"clientId": "ops-bot", "clientSecret": "a-secret-of-the-scene"}
        body = {**credentials, "subscriptions": subscriptions, "ua": "screenshots/1.0"}
        opened = await self._call("POST", "/v1.0/gateway/connections/open", body)
        socket = await self._http.ws_connect(f"{opened['endpoint']}?ticket={opened['ticket']}")
        self._reading = asyncio.create_task(self._read(socket))
        app = {"appKey": "ops-bot", "appSecret": "a-secret-of-the-scene"}
        self._token = (await self._call("POST", "/v1.0/oauth2/accessToken", app))["accessToken"]

    async def reply(self, message: Message, body: dict[str, Any]) -> None:
        """Answer through the session webhook."""
        await self._call("POST", message.session_webhook, body)

    async def say(self, message: Message, markdown: str) -> None:
        """Answer with Markdown."""
        shown = {"title": "reply", "text": markdown}
        await self.reply(message, {"msgtype": "markdown", "markdown": shown})

    async def card(self, message: Message, card_id: str, **params: str) -> None:
        """Show a card in the message's group."""
        await self._call(
            "POST",
            "/v1.0/card/instances/createAndDeliver",
            {
                "cardTemplateId": "ops.schema",
                "outTrackId": card_id,
                "callbackType": "STREAM",
                "cardData": {"cardParamMap": params},
                "openSpaceId": f"dtv1.card//IM_GROUP.{message.conversation_id}",
                "imGroupOpenSpaceModel": {"supportForward": True},
                "imGroupOpenDeliverModel": {"robotCode": "ops-bot"},
            },
        )

    async def stream(self, card_id: str, content: str) -> None:
        """Write on a card, and leave it unfinished."""
        body = {"outTrackId": card_id, "guid": content[-8:], "key": "content", "isFull": True}
        await self._call("PUT", "/v1.0/card/streaming", {**body, "content": content})

    async def _call(self, method: str, address: str, body: dict[str, Any]) -> Any:
        url = address if "://" in address else self._simulator.endpoint + address
        headers = {"x-acs-dingtalk-access-token": self._token}
        async with self._http.request(method, url, json=body, headers=headers) as response:
            return await response.json()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for received in socket:
            frame = json.loads(received.data)
            headers = {**frame["headers"], "contentType": "application/json"}
            data = frame["data"]
            if headers["topic"] == TOPICS[1]:
                changed = {"cardParamMap": {"decision": "approved by Bob"}}
                options = {"updateCardDataByKey": True}
                answer = {"cardData": changed, "cardUpdateOptions": options}
                data = json.dumps({"response": answer})
            ack = {"code": 200, "headers": headers, "message": "OK", "data": data}
            await socket.send_json(ack)


class Scene:
    """What is said before a picture is taken."""

    def __init__(self, simulator: Simulator, bot: Bot) -> None:
        self._simulator = simulator
        self._bot = bot

    async def play(self) -> None:
        """A night in the operators' group."""
        simulator, bot = self._simulator, self._bot
        asked = await simulator.say("What broke last night?", group=GROUP, kind="richText")
        await bot.say(asked, REPORT)
        asked = await simulator.say("请重启 api", "xiaoming", GROUP)
        buttons = [{"text": "批准", "id": "approve"}, {"text": "拒绝", "id": "refuse"}]
        question = "**重启 api 吗？** 需要值班人员批准。"
        params = {"content": question, "buttons": json.dumps(buttons, ensure_ascii=False)}
        await bot.card(asked, "card-restart", **params)
        click = await simulator.click("card-restart", "approve", "bob")
        await simulator.until(lambda _: click.state == "applied", LIMIT_S)
        asked = await simulator.say("how far is it?", "bob", GROUP)
        await bot.card(asked, "card-progress", flowStatus="2")
        await bot.stream("card-progress", "Restarting **api**: drained, image pulled,")
        await simulator.until(lambda it: it.messages[-1].state == "acked", LIMIT_S)

    async def trouble(self) -> None:
        """A private chat with a few faults switched on."""
        simulator, bot = self._simulator, self._bot
        asked = await simulator.say("is api well?")
        await bot.say(asked, STATUS)
        await simulator.switch(session_ttl_s=75, redeliver_after_s=16)
        await simulator.fail_replies(None, errcode=130101, errmsg="send too fast")
        asked = await simulator.say("and now?")
        await bot.say(asked, STATUS)
        again = await simulator.say("hello?")
        await simulator.redeliver(again)
        await simulator.until(lambda it: it.messages[-1].state == "acked", LIMIT_S)


class View:
    """The page in the browser."""

    def __init__(self, browser: webdriver.Chrome, endpoint: str) -> None:
        self._browser = browser
        self._endpoint = endpoint

    def open(self, *, dark: bool = False, language: str = "en", size: str = "1280x860") -> None:
        """Open the page anew."""
        width, height = map(int, size.split("x"))
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._tell("Emulation.setEmulatedMedia", {"features": scheme})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": False}
        self._tell("Emulation.setDeviceMetricsOverride", metrics)
        self._browser.get(self._endpoint)
        self.run("localStorage.setItem('dingtalk-simulator.language', arguments[0])", language)
        self._browser.get(self._endpoint)
        self.until("return document.querySelectorAll('#people button').length > 2")

    def run(self, script: str, *values: object) -> Any:
        """Run a script in the page."""
        return self._browser.execute_script(script, *values)

    def press(self, selector: str) -> None:
        """Click the first element that fits."""
        self.until("return document.querySelector(arguments[0])", selector)
        self.run("document.querySelector(arguments[0]).click()", selector)

    def until(self, script: str, *values: object) -> None:
        """Wait until the script returns something.

        Raises:
            TimeoutError: If it does not in time.
        """
        end = time.monotonic() + LIMIT_S
        while not self.run(script, *values):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)

    def save(self, path: Path) -> None:
        """Take the picture."""
        self.run("document.activeElement.blur()")
        time.sleep(0.6)  # what moves has come to rest
        self._browser.save_screenshot(str(path))

    def _tell(self, command: str, values: Mapping[str, Any]) -> None:
        self._browser.execute_cdp_cmd(command, dict(values))


def chat(view: View) -> None:
    """The group, in the light."""
    view.open(size="1200x1040")
    view.press('#conversations [data-key="group Ops room"]')
    view.until("return document.querySelectorAll('#messages .card').length > 1")


def wire(view: View) -> None:
    """The wire beside the chat, with one frame opened."""
    view.open()
    view.press('#conversations [data-key="group Ops room"]')
    view.press("#show-wire")
    view.until("return document.querySelectorAll('.exchange').length > 8")
    script = "const all = [...document.querySelectorAll('.exchange')];"
    view.run(script + "all.filter((it) => it.textContent.includes('sendBySession'))[0].click()")


def faults(view: View) -> None:
    """The faults beside a chat that suffers from them, in the dark."""
    view.open(dark=True)
    view.until("return document.querySelectorAll('#messages .note').length > 0")
    view.press("#show-faults")
    view.press("#switches details[data-key=pushes] summary")


PICTURES: dict[str, Callable[[View], None]] = {"chat": chat, "wire": wire, "faults": faults}


async def _run(folder: Path) -> None:
    async with Simulator() as simulator, aiohttp.ClientSession() as http:
        bot = Bot(simulator, http)
        await bot.connect()
        scene = Scene(simulator, bot)
        await scene.play()
        with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
            view = View(browser, simulator.endpoint)
            for name, picture in PICTURES.items():
                if name == "faults":
                    await scene.trouble()
                await asyncio.to_thread(picture, view)
                await asyncio.to_thread(view.save, folder / f"{name}.png")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description=__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES, help="folder (%(default)s)")
    asyncio.run(_run(parser.parse_args().into))


if __name__ == "__main__":
    main()
