"""A reply's title, its mentions, its note, and the JSON it is kept as."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingwire.replies import (
    ActionCard,
    Button,
    FeedCard,
    FeedLink,
    File,
    Image,
    InvalidReplyError,
    Link,
    Markdown,
    Reply,
    Text,
    from_agent_text,
    proactive_message,
    replies_from_json,
    replies_to_json,
    webhook_body,
    with_note,
)

WRITTEN = "what the agent answered"
ADDRESS = "https://example.com/a"


@pytest.mark.parametrize(
    "words",
    [
        "hello", "two\nlines", "3 * 4 * 5 = 60", "a - b", "#hashtag", "1.5 litres", "x_y_z",
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
        ("```\n```", "…"),
        ("# " + "x" * 100, "x" * 60),
    ],
)
def test_markup_makes_markdown_with_a_title_free_of_it(words, title):
    assert from_agent_text(words) == Markdown(title=title, text=words)


@given(st.text(st.characters()).filter(str.strip))
def test_any_words_make_a_reply_that_can_be_kept_and_sent(words):
    reply = from_agent_text(words)

    assert replies_from_json(replies_to_json([reply])) == [reply]
    json.dumps(webhook_body(reply), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "piece", ["\n", " \n", "[", "[a](x", "# x [", "**a", "`a\n", "| ", "-\n", "1.\n", "#\n\n"]
)
def test_looking_for_markup_takes_no_longer_than_reading(piece):
    """Blank lines, or brackets, once held up every thread of a worker for seconds."""
    started = time.thread_time()

    from_agent_text("x\n" + piece * 40_000)

    assert time.thread_time() - started < 1


def test_kept_replies_come_back_as_they_were():
    replies: list[Reply] = [
        Text(content="a\nb", at_user_ids=["u1"], addressee="Alice"),
        Image(media_id="@lAD"),
        Markdown(title="t", text="# a"),
    ]

    assert replies_from_json(replies_to_json(replies)) == replies


def test_one_reply_is_kept_as_earlier_releases_read_it():
    """While a deploy rolls, an older worker may be the one to send it."""
    kept = json.loads(replies_to_json([Markdown(title="t", text="# a")]))

    assert kept == {"kind": "markdown", "title": "t", "text": "# a"}


def test_an_answer_of_an_earlier_release_is_read():
    assert replies_from_json('{"kind":"text","content":"hi"}') == [Text(content="hi")]


def test_fields_that_a_later_release_added_are_left_out():
    kept = '[{"kind":"link","title":"t","text":"x","url":"https://a.example/","later":1}]'

    (reply,) = replies_from_json(kept)

    assert reply == Link(title="t", text="x", url="https://a.example/")


@pytest.mark.parametrize(
    "raw",
    [
        "", "{}", "null", "[]", f'{{"kind":"later","content":"{WRITTEN}"}}', f'"{WRITTEN}"',
        f'[{{"kind":"text","content":"{WRITTEN}"}},{{"kind":"text"}}]',
    ],
)  # fmt: skip
def test_what_is_no_kept_answer_is_refused_without_showing_it(raw):
    with pytest.raises(ValueError, match="not a kept answer") as caught:
        replies_from_json(raw)

    assert WRITTEN not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("reply", [Image(data=b"x"), File(path="a.pdf")])
def test_content_that_was_not_uploaded_is_not_kept(reply):
    with pytest.raises(ValueError, match="upload it first"):
        replies_to_json([Text(content="a"), reply])


def test_repr_does_not_show_what_was_answered():
    button = Button(title=WRITTEN, url=f"{ADDRESS}/{WRITTEN.replace(' ', '-')}")
    shown = repr(
        [
            Text(content=WRITTEN, addressee=WRITTEN),
            Markdown(title=WRITTEN, text=WRITTEN),
            ActionCard(title=WRITTEN, text=WRITTEN, buttons=[button]),
            Image(data=WRITTEN.encode()),
            File(path=f"/tmp/{WRITTEN}.pdf"),
        ]
    )

    assert "agent" not in shown


def test_a_text_body_has_no_more_than_it_needs():
    assert webhook_body(Text(content="hi")) == {"msgtype": "text", "text": {"content": "hi"}}


def test_a_mention_that_the_words_have_is_not_written_again():
    reply = Markdown(title="t", text="hello @u1", at_user_ids=["u1", "u2", "u"])

    body = webhook_body(reply)

    assert body["markdown"] == {"title": "t", "text": "@u2 @u\n\nhello @u1"}
    assert body["at"] == {"atUserIds": ["u1", "u2", "u"], "isAtAll": False}


def test_a_name_stands_where_nobody_can_be_mentioned():
    outsider = Text(content="hi", addressee="Alice")
    colleague = Text(content="hi", addressee="Alice", at_user_ids=["u1"])

    assert webhook_body(outsider) == {"msgtype": "text", "text": {"content": "@Alice hi"}}
    assert webhook_body(colleague)["text"] == {"content": "@u1 hi"}
    assert json.loads(proactive_message(colleague)[1]) == {"content": "@Alice hi"}


def test_more_people_than_dingtalk_tells_are_refused():
    with pytest.raises(InvalidReplyError, match="at_user_ids: tuple should have at most 50 items"):
        Text(content="hi", at_user_ids=[f"u{n}" for n in range(51)])


def test_markdown_without_a_title_takes_its_first_line():
    assert Markdown(text="# Report\n\nall good").title == "Report"


def test_a_proactive_message_has_its_parameters_as_json_text():
    key, param = proactive_message(Text(content="你好"))

    assert (key, json.loads(param)) == ("sampleText", {"content": "你好"})


CARD = ActionCard(title="t", text="# a", buttons=[Button(title="go", url=ADDRESS)])
FEED = FeedCard(links=[FeedLink(title="t", url=ADDRESS, picture=ADDRESS)])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Text(content="a"), [Text(content="late\na")]),
        (Markdown(title="t", text="# a"), [Markdown(title="t", text="late\n\n# a")]),
        (CARD, [CARD.model_copy(update={"text": "late\n\n# a"})]),
        (FEED, [Text(content="late"), FEED]),
        (Image(media_id="@lAD"), [Text(content="late"), Image(media_id="@lAD")]),
    ],
)
def test_a_note_stands_before_the_reply(reply: Reply, expected: list[Reply]):
    assert with_note(reply, "late") == expected


def test_a_note_for_which_there_is_no_room_is_a_message_before_it():
    link = Link(title="t", text="x" * 14_500, url=ADDRESS)

    assert with_note(link, "late " * 200) == [Text(content="late " * 200), link]
