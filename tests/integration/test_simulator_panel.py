"""The chat page's panel, its keyboard, its languages and its width on a phone."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from dingwire.simulator import Faults, SimulatorThread
from tests.integration.chat_page import (
    FOLDER,
    BrowserCaller,
    ChatPage,
    chat_browser,
    running_bot,
)
from tests.integration.simulator_bot import BOT_TOPIC, RawBot

TEXTS = FOLDER / "texts.json"
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
# A control's value for each switch that is not its first one.
OTHER = {
    "flag": True,
    "seconds": 7,
    "number": 7,
    "text": "http://127.0.0.1:1/x",
    "list": "one, two",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chat_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread() as running:
        yield running


@pytest.fixture
def bot(simulator: SimulatorThread) -> Iterator[RawBot]:
    with running_bot(simulator) as connected:
        simulator.until_connected()
        yield connected


@pytest.fixture
def page(browser: webdriver.Chrome, simulator: SimulatorThread) -> Iterator[ChatPage]:
    yield ChatPage(browser, simulator.endpoint)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# The wire


@pytest.mark.usefixtures("bot")
def test_the_wire_shows_frames_and_calls_both_ways(page, simulator):
    page.opens("wire")
    page.write("hello")
    titles = page.until(
        lambda: (
            "POST /robot/sendBySession" in page.text(".exchange .title")
            and page.text(".exchange .title")
        )
    )

    for part in ("POST /gateway/connections/open", "connection open", "CALLBACK", "ACK"):
        assert part in titles
    page.click(".exchange", "CALLBACK")
    shown = page.until(lambda: page.text(".detail .json"))
    assert '"content": "hello"' in shown, "JSON that is sent as text is opened"
    (session,) = simulator.simulator.world.sessions
    assert session not in page.run("return document.documentElement.outerHTML")
    page.click(".detail .copy")
    page.until(lambda: page.text(".detail .copy") == "Copied")
    page.click(".exchange", "CALLBACK")
    assert page.all(".detail") == []


@pytest.mark.usefixtures("bot")
def test_the_wire_is_filtered_and_paused(page, simulator):
    page.opens("wire")
    first = simulator.say("first")
    simulator.until_answered(first)
    page.until(lambda: page.text(".exchange .title").count("sendBySession") == 1)
    page.find("#wire-filter").send_keys("echo: first")
    page.until(lambda: len(page.all(".exchange")) == 1)
    page.press(Keys.ESCAPE)
    page.until(lambda: len(page.all(".exchange")) > 3)
    page.click("#wire-kinds .chip", "Webhook")
    page.until(lambda: "sendBySession" not in page.text(".exchange .title"))
    page.click("#wire-kinds .chip", "Webhook")
    page.click("#wire-pause")
    count = len(page.all(".exchange"))
    simulator.until_answered(simulator.say("second"))
    page.until(lambda: "Go on (3 new)" in page.text("#wire-pause"))
    assert len(page.all(".exchange")) == count
    page.click("#wire-pause")

    assert page.until(lambda: len(page.all(".exchange")) == count + 3)
    page.run("document.querySelector('.mine .to-wire').click()")
    assert page.find("#wire-filter").get_property("value") == first.message_id
    assert page.until(lambda: len(page.all(".exchange")) == 2), "its push and its ack"


def test_a_refusal_in_an_answer_with_200_is_seen_on_the_wire(page, simulator):
    message = simulator.say("hi")
    page.opens("wire")
    page.posts(message.session_webhook, {"msgtype": "nonsense"})

    assert page.until(lambda: page.text(".exchange .status.bad") == "200 · 400105")


def test_what_a_bot_sends_is_no_markup_on_the_wire(page, simulator):
    message = simulator.say("hi")
    page.opens("wire")
    evil = '<img src=x onerror="document.title=1">'
    page.posts(message.session_webhook, {"msgtype": "text", "text": {"content": evil}})
    page.until(lambda: page.click(".exchange", "sendBySession") or True)

    assert "<img src=x" in page.until(lambda: page.text(".detail .json"))
    assert page.all("#exchanges img") == []


# The faults


def test_what_can_be_done_at_once_is_done(page, simulator, bot, browser):
    caller = BrowserCaller(browser)
    page.opens("faults")
    page.write("hello")
    page.until(lambda: page.text(".bot .bubble") == "echo: hello")
    page.click("[data-deed=redeliver]")
    simulator.until(lambda it: len([each for each in it.pushes if each.kind == "message"]) == 2)
    page.until(lambda: page.text(".again") == "pushed 2 times")
    simulator.until(lambda it: len(it.replies) == 2)
    page.click("[data-deed=expire]")
    page.until(lambda: page.text(".countdown") == "webhook expired")
    page.posts(simulator.messages[0].session_webhook, {"msgtype": "text", "text": {"content": "x"}})
    assert simulator.replies[-1].errcode == 300001
    page.click("[data-deed=tokens]")
    page.until(lambda: _is_refused(caller))
    page.click("[data-deed=disconnect]")
    simulator.until(lambda it: it.connections[0].state == "draining")
    page.until(lambda: bot.of_topic("disconnect"))
    page.click("[data-deed=drop]")
    simulator.until(lambda it: not it.live_connections)
    page.until(lambda: page.text("#bot") == "no bot connected")


def _is_refused(caller: BrowserCaller) -> bool:
    try:
        caller.call("POST", "/v1.0/robot/oToMessages/batchSend", {})
    except AssertionError as refused:
        return "InvalidAuthentication" in str(refused)
    return False


def test_download_codes_end_at_once(page, simulator):
    code = simulator.say("", kind="picture").codes[0]
    page.opens("faults")
    page.click("[data-deed=codes]")

    assert page.until(lambda: simulator.simulator.world.files.find(code) is None)


def test_a_connection_is_muted_and_opened_again(page, simulator, bot):
    page.opens("faults")
    page.until(lambda: page.find("[data-line=half_open]").is_enabled())
    page.click("[data-line=half_open]")
    simulator.until(lambda it: it.live_connections[0].state == "half_open")
    page.until(lambda: page.text("#faults-state") == "1 fault on")
    page.write("anybody?")
    page.until(lambda: page.text(".state.lost"))
    page.click("#heal")
    simulator.until(lambda it: it.live_connections[0].state == "open")
    page.write("hello")

    assert page.until(lambda: page.text(".bot .bubble") == "echo: hello")
    assert len(bot.of_topic(BOT_TOPIC)) == 1


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("expired", {"errcode": 300001, "accepted": False}),
        ("throttled", {"errcode": 130101, "accepted": False}),
        ("busy", {"errcode": -1, "accepted": False}),
        ("banned", {"errcode": 430102, "accepted": False}),
        ("http_500", {"status": 500, "accepted": False}),
        ("reset", {"errcode": 0, "accepted": True}),
    ],
)
def test_a_fault_of_the_webhook_meets_the_next_reply(page, simulator, fault, seen):
    message = simulator.say("hi")
    page.opens("faults")
    page.switch("replies", fault)
    page.until(lambda: page.text("#troubles") == "1 fault on")
    page.run(
        "const it = document.querySelector('.times');"
        "it.value = 'once'; it.dispatchEvent(new Event('change'))"
    )
    page.until(lambda: [each["times"] for each in simulator.simulator.reply_faults()] == [1])
    body = {"msgtype": "text", "text": {"content": "x"}}
    page.posts(message.session_webhook, body)
    page.until(lambda: page.text("#faults-state") == "Everything is normal")
    page.posts(message.session_webhook, body)

    # What is cut off the browser sends once more by itself.
    first, *_, second = simulator.replies
    assert {name: getattr(first, name) for name in seen} == seen
    assert (second.errcode, second.accepted) == (0, True)
    assert page.find("#switch-replies").get_property("value") == "ok"


def test_a_fault_of_the_api_meets_every_call_until_it_is_set_back(page, simulator, browser):
    caller = BrowserCaller(browser)
    page.opens("faults")
    page.switch("api", "busy")
    page.until(lambda: simulator.simulator.api_faults())
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"system\.busy"):
            caller.call("POST", "/v1.0/robot/oToMessages/batchSend", {})
    page.switch("api", "ok")

    assert page.until(lambda: simulator.simulator.api_faults() == [])


def test_every_switch_moves_and_one_click_brings_all_back(page, simulator):
    described = Faults.described()
    page.opens("faults")
    for name, switch in described.items():
        value: Any = OTHER.get(switch["kind"])
        normal = getattr(Faults(), name)
        if switch["kind"] == "choice":
            value = next(each for each in switch["choices"] if each != normal)
        page.switch(name, not normal if isinstance(normal, bool) else value)
    page.until(lambda: page.text("#faults-state") == f"{len(described)} faults on")

    moved = simulator.faults
    assert [each for each in described if getattr(moved, each) == getattr(Faults(), each)] == []
    assert moved.banned_words == ("one", "two")
    page.click("#heal")
    page.until(lambda: page.text("#faults-state") == "Everything is normal")
    assert simulator.faults == Faults()
    assert not page.find("#troubles").is_displayed()


def test_a_switch_shows_its_state_whoever_moved_it(page, simulator):
    page.opens("faults")
    simulator.switch(reply_delay_s=3, session_single_use=True)
    page.until(lambda: page.text("#faults-state") == "2 faults on")

    assert page.find("#switch-reply_delay_s").get_property("value") == "3"
    assert page.find("#switch-session_single_use").is_selected()
    page.click("#switch-session_single_use")
    page.until(lambda: not simulator.faults.session_single_use)
    page.until(lambda: page.text("#faults-state") == "1 fault on")
    page.click(".switch.moved .back")
    page.until(lambda: simulator.faults == Faults())
    page.switch("reply_delay_s", "-1")
    assert "cannot be -1" in page.until(lambda: page.text("#toast"))
    assert page.until(lambda: page.find("#switch-reply_delay_s").get_property("value") == "0")


# The keyboard


@pytest.mark.usefixtures("bot")
def test_all_of_it_can_be_done_from_the_keyboard(page, simulator):
    assert page.until(lambda: page.focus() == "text")
    page.press("hello", Keys.ENTER)
    page.until(lambda: page.text(".bot .bubble") == "echo: hello")
    page.press(Keys.ESCAPE)  # to the newest message
    assert page.find("#messages > li:last-child") == page.find("#messages > li:focus")
    page.press(Keys.UP, "r")
    assert page.text("#quoting span") == "hello"
    page.press("again", Keys.ENTER)
    page.until(lambda: len(simulator.messages) == 2)
    assert simulator.messages[1].quoted == "hello"
    page.until(lambda: len(page.all("li.row")) == 4)
    page.press(Keys.ESCAPE, "g", Keys.DOWN)
    assert page.focus() == "group Ops room"
    page.press(Keys.ENTER)
    page.until(lambda: page.text("#title span") == "Ops room")
    assert page.focus() == "group Ops room", "the lists keep the focus while they are drawn anew"
    page.press("w")
    assert page.focus() == "tab-wire"
    page.press(Keys.RIGHT)
    assert page.focus() == "tab-faults"
    page.press(Keys.ESCAPE)
    assert not page.find("#panel").is_displayed()
    assert page.focus() == "group Ops room"
    page.press("?")
    assert page.find("#keys").is_displayed()
    page.press(Keys.ESCAPE)
    page.press("/")
    assert page.focus() == "text"


def test_the_menu_of_the_composer_is_a_menu(page, simulator):
    page.click("#show-attach")
    assert page.run("return document.activeElement.dataset.kind") == "own_picture"
    page.press(Keys.END)
    assert page.run("return document.activeElement.dataset.kind") == "unknownMsgType"
    page.press(Keys.ESCAPE)
    assert page.focus() == "show-attach"
    page.press(Keys.ENTER, Keys.END, Keys.ENTER)
    assert page.until(lambda: simulator.messages[0].kind == "unknownMsgType")


def test_tab_leads_through_the_page_and_is_caught_nowhere(page, simulator):
    simulator.say("one")
    simulator.say("two")
    page.until(lambda: len(page.all("li.row")) == 2)
    page.opens("faults")
    seen = [page.focus()]
    for _ in range(140):
        page.press(Keys.TAB)
        seen.append(page.focus())
        if seen[-1] == "" or seen.count(seen[-1]) > 1:
            break

    assert {"tab-faults", "hide-panel", "switch-session_ttl_s"} <= set(seen)
    page.run("document.getElementById('show-keys').focus()")
    order = []
    while "composer" not in page.run("return document.activeElement.closest('form')?.id ?? ''"):
        page.press(Keys.TAB)
        order.append(page.focus())
    assert order[0] == "person alice"
    assert order[2] == "private "
    assert len([each for each in order if each.startswith("msg")]) == 1, "one stop for the list"


def test_everything_that_can_be_used_has_a_name(page, simulator, browser):
    BrowserCaller(browser).card("card3", content="x", buttons='[{"text":"Yes"}]')
    simulator.say("one", kind="audio")
    page.until(lambda: len(page.all("li.row")) == 2)
    for part in ("wire", "faults"):
        page.opens(part)
        page.run("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
        used = page.run(
            "return [...document.querySelectorAll('button, input, select, textarea, a')]"
            ".filter((it) => it.checkVisibility({visibilityProperty: true}))"
        )
        nameless = [each.get_attribute("outerHTML") for each in used if not each.accessible_name]
        assert len(used) > 20
        assert nameless == []


# A phone


def test_on_a_phone_nothing_is_wider_than_the_screen(page, simulator):
    page.tell("Emulation.setDeviceMetricsOverride", **PHONE)
    message = simulator.say("a-long-word-" * 20)
    table = "|" + "wide column|" * 9
    text = f"{table}\n{'|-' * 9}|\n{table}\n\n```\n{'code ' * 60}\n```"
    page.posts(
        message.session_webhook, {"msgtype": "markdown", "markdown": {"title": "t", "text": text}}
    )
    page.until(lambda: page.all(".bot table"))
    width = "return document.documentElement.scrollWidth"

    assert page.run(width) == 360
    assert page.run("return document.getElementById('messages').scrollWidth") <= 360
    assert not page.find("#people").is_displayed()
    page.click("#show-nav")
    page.until(lambda: page.find("#people").is_displayed())
    assert page.run(width) == 360
    assert page.run("return document.querySelector('main').inert")
    page.until(lambda: page.focus() == "person alice")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.find("#people").is_displayed())
    assert page.focus() == "show-nav"
    page.click("#show-nav")
    page.until(lambda: page.click("#conversations button", "Ops room") or True)
    page.until(lambda: page.text("#title span") == "Ops room")
    for part in ("wire", "faults"):
        page.click(f"#show-{part}")
        page.until(lambda part=part: page.find(f"#{part}").is_displayed())
        assert page.run(width) == 360
        assert page.run("return document.getElementById('panel').scrollWidth") <= 360
        page.press(Keys.ESCAPE)
        page.until(lambda: not page.find("#panel").is_displayed())


# Languages


def test_the_page_speaks_the_language_of_the_browser_and_the_one_chosen(page, simulator, browser):
    agent = page.run("return navigator.userAgent")
    page.tell("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage="zh-CN")
    page.open()
    assert page.text("#composer .main") == "发送"
    assert page.run("return document.documentElement.lang") == "zh-CN"
    page.opens("faults")
    page.click("#language")
    page.until(lambda: page.text("#composer .main") == "Send")
    assert page.run("return document.documentElement.lang") == "en"
    assert page.text("#heal") == "Back to normal"
    page.open()
    assert page.text("#composer .main") == "Send", "what was chosen is remembered"
    page.click("#language")
    simulator.say("hi")
    page.until(lambda: page.text(".state") == "丢失：没有机器人")
    page.opens("faults")
    page.opens("wire")
    shown = page.run("return document.body.innerText")
    assert not [key for key in json.loads(TEXTS.read_text())["zh"] if key in shown.split()]
    page.run("localStorage.clear()")
    page.tell("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage="en-US")
