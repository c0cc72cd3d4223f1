import json
from typing import Any

import pytest

from dingwire.simulator.webhook import judge, text_of

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
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "btns": [{}]}},
        {"msgtype": "feedCard", "feedCard": {"links": [{"title": "t"}]}},
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
    ],
)
def test_a_missing_member_is_40035(body):
    assert verdict(body) == 40035


@pytest.mark.parametrize("kind", ["image", "file", ["text"]])
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
    assert text_of({"msgtype": "feedCard", "feedCard": {"links": [{"title": "t"}]}}) == "t"
    assert text_of("rubbish") == ""
