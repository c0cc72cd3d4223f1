"""A reply's kinds, titles and forms on the wire."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingwire.replies import (
    Markdown,
    Reply,
    Text,
    from_agent_text,
    prefixed,
    proactive_message,
    reply_from_json,
    reply_to_json,
    webhook_body,
)

WRITTEN = "what the agent answered"


@pytest.mark.parametrize(
    "words",
    [
        "hello", "", "two\nlines", "3 * 4 * 5 = 60", "a - b", "#hashtag", "1.5 litres", "x_y_z",
        "see https://example.com", "[微笑]", "2 > 1", "a | b", "**", "f(x)[0]", "it's 5 o'clock",
    ],
)  # fmt: skip
def test_plain_words_stay_plain(words):
    assert from_agent_text(words) == Text(content=words)


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("# Report\n\nall good", "Report"),
        ("all good\n\n## Details", "all good"),
        ("- **one**\n- two", "one"),
        ("* one\n* two", "one"),
        ("1. first\n2. second", "first"),
        ("see [the docs](https://example.com)", "see the docs"),
        ("![chart](https://example.com/a.png)\n\nand words", "chart"),
        ("**bold** move", "bold move"),
        ("run `make`", "run make"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("> quoted", "quoted"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a  b"),
        ("\n\n---\n- 你好", "你好"),
        ("```\n```", "Reply"),
        ("# " + "x" * 100, "x" * 60),
    ],
)
def test_markup_makes_markdown_with_a_title_free_of_it(words, title):
    assert from_agent_text(words) == Markdown(title=title, text=words)


@given(st.text(st.characters()))
def test_any_words_make_a_reply_that_can_be_kept_and_sent(words):
    reply = from_agent_text(words)

    assert reply_from_json(reply_to_json(reply)) == reply
    json.dumps(webhook_body(reply), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "piece", ["\n", " \n", "[", "[a](x", "# x [", "**a", "`a\n", "| ", "-\n", "1.\n", "#\n\n"]
)
def test_looking_for_markup_takes_no_longer_than_reading(piece):
    """Blank lines, or brackets, once held up every thread of a worker for seconds."""
    started = time.thread_time()

    from_agent_text(piece * 40_000)

    assert time.thread_time() - started < 1


@pytest.mark.parametrize("reply", [Text(content="a\nb"), Markdown(title="t", text="# a")])
def test_a_kept_reply_comes_back_as_it_was(reply):
    assert reply_from_json(reply_to_json(reply)) == reply


@pytest.mark.parametrize(
    "raw", ["", "{}", "null", f'{{"kind":"video","content":"{WRITTEN}"}}', f'"{WRITTEN}"']
)
def test_what_is_no_kept_reply_is_refused_without_showing_it(raw):
    with pytest.raises(ValueError, match="not a kept reply") as caught:
        reply_from_json(raw)

    assert WRITTEN not in str(caught.value)
    assert caught.value.__context__ is None


def test_repr_does_not_show_what_was_answered():
    shown = repr(Text(content=WRITTEN)) + repr(Markdown(title=WRITTEN, text=WRITTEN))

    assert WRITTEN not in shown


def test_a_text_body_has_no_more_than_it_needs():
    assert webhook_body(Text(content="hi")) == {"msgtype": "text", "text": {"content": "hi"}}


def test_nobody_is_mentioned_by_an_empty_id():
    assert "at" not in webhook_body(Text(content="hi"), at_user_ids=["", None])  # type: ignore[list-item]


def test_a_mention_in_markdown_is_written_out_once():
    reply = Markdown(title="t", text="hello @u1")

    body = webhook_body(reply, at_user_ids=["u1", "u2"])

    assert body["markdown"] == {"title": "t", "text": "hello @u1\n\n@u2"}
    assert body["at"] == {"atUserIds": ["u1", "u2"], "isAtAll": False}


def test_fifty_people_are_mentioned_at_most():
    body = webhook_body(Text(content="hi"), at_user_ids=[f"u{n}" for n in range(60)])

    assert len(body["at"]["atUserIds"]) == 50


def test_markdown_never_goes_without_a_title():
    reply = Markdown(title="", text="a")

    assert webhook_body(reply)["markdown"]["title"]
    assert json.loads(proactive_message(reply)[1])["title"]


def test_a_proactive_message_has_its_parameters_as_json_text():
    key, param = proactive_message(Text(content="你好"))

    assert (key, json.loads(param)) == ("sampleText", {"content": "你好"})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Text(content="a"), Text(content="late\na")),
        (Markdown(title="t", text="# a"), Markdown(title="t", text="late\n\n# a")),
    ],
)
def test_a_note_stands_before_the_reply(reply: Reply, expected: Reply):
    assert prefixed(reply, "late") == expected
