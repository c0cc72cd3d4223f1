import json
from typing import Any

import pytest

from dingwire.simulator.webhook import judge, text_of

BUTTON = {"title": "t", "actionURL": "https://a"}
LINK = {"title": "t", "messageURL": "https://a", "picURL": "https://b"}
TEXT = {"msgtype": "text", "text": {"content": "hello"}}


def verdict(body: Any, content_type: str = "application/json", **lists: tuple[str, ...]) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    banned, unsafe = lists.get("banned", ()), lists.get("unsafe", ())
    return judge(raw, content_type, banned=banned, unsafe=unsafe).errcode


@pytest.mark.parametrize(
    "body",
    [
        TEXT,
        {"msgtype": "empty"},
        {"msgtype": "markdown", "markdown": {"title": "t", "text": "x"}},
        {"msgtype": "link", "link": {"title": "t", "text": "x", "messageUrl": "https://a"}},
        {
            "msgtype": "actionCard",
            "actionCard": {"title": "t", "text": "x", "singleTitle": "s", "singleURL": "u"},
        },
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "btns": [BUTTON]}},
        {"msgtype": "feedCard", "feedCard": {"links": [LINK, LINK]}},
        {**TEXT, "at": {"atUserIds": ["u"] * 50, "isAtAll": False}},
    ],
)
def test_every_documented_kind_is_welcome(body):
    assert verdict(body) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        [],
        {},
        {"msgtype": "text"},
        {"msgtype": "text", "text": {"content": ""}},
        {"msgtype": "text", "text": "hello"},
        {"msgtype": "markdown", "markdown": {"text": "x"}},
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x"}},
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "btns": []}},
        {"msgtype": "feedCard", "feedCard": {"links": "many"}},
        {"msgtype": "feedCard", "feedCard": {"links": [["t"]]}},
    ],
)
def test_a_missing_member_is_40035(body):
    assert verdict(body) == 40035


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("link", {"title": "t", "text": "x", "messageURL": "https://a"}),
        ("actionCard", {"title": "t", "text": "x", "singleTitle": "s", "singleUrl": "u"}),
        ("actionCard", {"title": "t", "text": "x", "btns": [{"title": "t", "actionUrl": "u"}]}),
        ("actionCard", {"title": "t", "text": "x", "btns": [BUTTON], "singleURL": "u"}),
        ("feedCard", {"links": [LINK, {**LINK, "messageURL": "", "messageUrl": "u"}]}),
        ("feedCard", {"links": [{"title": "t", "messageURL": "u", "picUrl": "u"}]}),
    ],
)
def test_a_member_that_is_spelt_as_in_another_kind_is_missing(kind, part):
    assert verdict({"msgtype": kind, kind: part}) == 40035


@pytest.mark.parametrize(
    "at",
    [
        {"atUserIds": ["u"] * 51},
        {"atUserIds": ["u"] * 25, "atMobiles": ["1"] * 26},
        {"atUserIds": [None]},
        {"atUserIds": "u"},
        "u",
    ],
)
def test_a_mention_that_cannot_be_read_is_40035(at):
    assert verdict({**TEXT, "at": at}) == 40035


@pytest.mark.parametrize("kind", ["image", "file", "audio", "video", ["text"]])
def test_a_kind_webhooks_do_not_take_is_400105(kind):
    assert verdict({"msgtype": kind, "image": {"a": 1}}) == 400105


def test_a_form_is_43004():
    assert verdict(TEXT, "application/x-www-form-urlencoded") == 43004


def test_the_limit_counts_bytes_not_letters():
    empty = len(json.dumps({"msgtype": "text", "text": {"content": ""}}))
    fits = {"msgtype": "text", "text": {"content": "x" * (20_000 - empty)}}
    chinese = json.dumps({"msgtype": "text", "text": {"content": "字" * 7000}}, ensure_ascii=False)

    assert verdict(fits) == 0
    assert verdict(json.dumps(fits).encode() + b" ") == 460101
    assert verdict(chinese.encode()) == 460101


def test_banned_words_and_unsafe_links_have_codes_of_their_own():
    assert verdict(TEXT, banned=("hell",)) == 430102
    assert verdict(TEXT, unsafe=("hello",)) == 430101


def test_the_text_of_a_reply_is_what_people_read():
    assert text_of(TEXT) == "hello"
    assert text_of({"msgtype": "markdown", "markdown": {"title": "t", "text": "x"}}) == "x"
    assert text_of({"msgtype": "feedCard", "feedCard": {"links": [LINK, LINK]}}) == "t\nt"
    assert text_of("rubbish") == ""
