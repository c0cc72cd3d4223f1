"""The chat page in a real browser, with a raw echo bot behind it."""

import io
import json
import wave
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dingwire.simulator import SimulatorThread
from dingwire.simulator.samples import sample
from tests.integration.chat_page import (
    SOURCES,
    BrowserCaller,
    ChatPage,
    chat_browser,
    running_bot,
)
from tests.integration.simulator_bot import RawBot


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
        yield connected


@pytest.fixture
def page(browser: webdriver.Chrome, simulator: SimulatorThread) -> ChatPage:
    return ChatPage(browser, simulator.endpoint)


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
    page.posts(message.session_webhook, body)
    page.until(lambda: page.text(".bot .bubble"))

    shown = browser.find_element(By.CSS_SELECTOR, ".bot .bubble")
    assert shown.find_element(By.TAG_NAME, "strong").text == "bold"
    assert [each.get_attribute("href") for each in shown.find_elements(By.TAG_NAME, "a")] == [
        "https://a.example/"
    ]
    assert shown.find_elements(By.TAG_NAME, "img") == []
    assert "<img src=x" in shown.text


def test_a_person_sends_a_picture_and_quotes_an_answer(page, simulator, browser, tmp_path):
    page.choose("picture")
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
    caller.card("card1", flowStatus="2", buttons=buttons, step="one")
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
            browser.find_element(By.CSS_SELECTOR, ".deeds .action").send_keys("wave", Keys.ENTER)
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
    page.posts(message.session_webhook, body)

    assert page.until(lambda: page.text(".bot .bubble") == shown)
    assert page.until(lambda: page.text(".bot .mention") == "@Alice")


@pytest.mark.usefixtures("bot")
def test_a_button_calls_the_bot_back_and_the_page_says_what_came_of_it(page, simulator, browser):
    simulator.until_connected()
    buttons = '[{"text":"Approve","id":"approve"}]'
    BrowserCaller(browser).card("card2", content="may I?", buttons=buttons)
    page.until(lambda: page.click(".card button", "Approve") or True)

    page.until(lambda: "the bot changed the card" in page.text(".card .click.applied"))
    assert page.text(".card .click") == "Alice pressed approve: the bot changed the card"
    assert "decision: approve" in page.text(".card")


def test_every_kind_of_message_can_be_sent_from_the_menu(page, simulator):
    page.write("Bob: yes", Keys.NULL)
    for kind in ("chatRecord", "markdown"):
        page.choose(kind)
        page.until(lambda kind=kind: simulator.messages[-1].kind == kind)
    for kind in ("picture", "video", "file", "interactiveCard", "unknownMsgType"):
        page.find("#text").clear()
        page.choose(kind)
        page.until(lambda kind=kind: simulator.messages[-1].kind == kind)

    record, markdown, *_ = simulator.messages
    assert record.text == "Bob: yes"
    assert "**Bold**" in markdown.text
    assert page.until(lambda: len(page.all("li.mine")) == 7)
    assert page.texts(".mine .kind") == [
        *("forwarded chat", "Markdown", "shared card", "unknown kind"),
    ]


def test_a_picture_of_ones_own_is_sent(page, simulator, tmp_path):
    picture = tmp_path / "mine.png"
    picture.write_bytes(sample("picture").content)
    page.write("look", Keys.NULL)
    page.find("#picture").send_keys(str(picture))
    page.until(lambda: page.all(".mine img.picture[alt='mine.png']"))

    (message,) = simulator.messages
    assert (message.kind, message.text, message.files) == ("richText", "look", ["mine.png"])


def test_a_voice_message_is_recorded_with_the_words_dingtalk_would_hear(page, simulator):
    page.choose("audio")
    page.click("#voice .record")
    page.until(lambda: page.all("#voice .record[data-state=recording]"))
    page.click("#voice .record")
    page.until(lambda: "voice.wav" in page.text("#voice .taken"))
    page.find("#voice-words").send_keys("restart it")
    page.click("#voice .main")
    page.until(lambda: page.text(".mine .heard") == "restart it")

    (message,) = simulator.messages
    assert (message.kind, message.files) == ("audio", ["voice.wav"])
    assert message.payload["content"]["recognition"] == "restart it"
    (sent,) = simulator.simulator.world.files.sent[message.message_id]
    with wave.open(io.BytesIO(sent.content)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (1, 16000)
        assert abs(sound.getnframes() / 16 - message.payload["content"]["duration"]) <= 1
    assert page.find(".mine .voice").accessible_name == "Play"


def test_a_voice_message_can_be_a_file_a_sample_or_nothing(page, simulator, tmp_path):
    sound = tmp_path / "mine.amr"
    sound.write_bytes(sample("audio").content)
    page.choose("audio")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.find("#voice").is_displayed())
    page.choose("audio")
    page.find("#voice-file").send_keys(str(sound))
    page.until(lambda: "mine.amr" in page.text("#voice .taken"))
    page.click("#voice .main")
    page.until(lambda: page.text(".mine a.file b") == "mine.amr")
    page.choose("audio")
    page.click("#voice .main")
    page.until(lambda: len(page.all(".mine a.file")) == 2)

    assert [each.files for each in simulator.messages] == [["mine.amr"], ["voice.amr"]]


def test_markdown_is_shown_as_dingtalk_shows_it(page, simulator):
    message = simulator.say("hi")
    text = (
        "# Title\n\none\ntwo  \nthree &nbsp;*x*\n\n|a|b|\n|-|-:|\n|1|`2`|\n\n"
        "no\n|c|d|\n|-|-|\n\n```sh\n**$ ls**\n```\n> said\n\n1. first\n2. second\n\n"
        '![p](https://a.example/p.png) <font color="red">red</font>'
    )
    page.posts(
        message.session_webhook, {"msgtype": "markdown", "markdown": {"title": "t", "text": text}}
    )
    page.until(lambda: page.text(".bot .bubble"))
    bubble = page.find(".bot .bubble")

    assert bubble.find_element(By.TAG_NAME, "p").text == "one two\nthree  x"
    assert page.texts(".bot th") == ["a", "b"], "without an empty line above it is no table"
    assert page.texts(".bot td") == ["1", "2"]
    assert page.text(".bot pre") == "**$ ls**"
    assert page.text(".bot blockquote") == "said"
    assert page.texts(".bot ol li") == ["first", "second"]
    assert page.texts(".bot h4.big") == ["Title"]
    assert page.all(".bot .bubble img") == []
    assert "<font" in bubble.text, "colours are for cards"


def test_cards_with_links_are_shown_and_some_links_write(page, simulator):
    message = simulator.say("hi")
    says = "dtmd://dingtalkclient/sendMessage?content=ship%20it"
    buttons = [
        {"title": "Ship", "actionURL": says},
        {"title": "Logs", "actionURL": "https://a.example"},
        {"title": "Evil", "actionURL": "javascript:alert(1)"},
    ]
    card = {"title": "t", "text": "**Deploy?**", "btnOrientation": "1", "btns": buttons}
    links = [
        {"title": name, "messageURL": f"https://a.example/{name}", "picURL": "https://a.example/p"}
        for name in ("One", "Two")
    ]
    for body in (
        {"msgtype": "actionCard", "actionCard": card},
        {"msgtype": "feedCard", "feedCard": {"links": links}},
    ):
        page.posts(message.session_webhook, body)
    page.until(lambda: page.texts(".feed .item b") == ["One", "Two"])

    addresses = [each.get_attribute("href") for each in page.all(".bot .bubble a")]
    assert addresses == ["https://a.example/", "https://a.example/One", "https://a.example/Two"]
    assert page.text(".action-card .links.across span") == "Evil"
    page.click(".action-card button", "Ship")
    page.until(lambda: simulator.messages[-1].text == "ship it")


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
    page.posts(message.session_webhook, {})
    assert page.until(lambda: "300001" in page.text(".note"))


def test_a_page_opened_later_shows_what_was_said(simulator, browser):
    simulator.say("long ago")
    page = ChatPage(browser, simulator.endpoint)

    assert page.until(lambda: page.text(".mine .bubble") == "long ago")


def test_the_page_fetches_nothing_from_elsewhere():
    addresses = [
        part
        for source in SOURCES
        if source.suffix != ".json"
        for part in source.read_text().split("http")[1:]
        if part.startswith(("://", "s://")) and "w3.org" not in part[:20]
    ]
    assert addresses == []
