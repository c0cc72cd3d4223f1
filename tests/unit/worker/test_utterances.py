"""The words that are remembered of a message and of its answer."""

from datetime import UTC, datetime
from typing import Any

from contract.content import Attachment, Quoted
from contract.envelope import Earlier
from dingwire.replies import ActionCard, Button, Card, File, Image, Markdown, Text
from tests.unit.worker.answering_parts import envelope
from worker.utterances import LIMIT_CHARS, QUOTE_CHARS, exchange_of, said_in

NOW = datetime(2026, 3, 1, 9, 1, tzinfo=UTC)


def question(**more: Any) -> str:
    said = said_in(exchange_of(envelope(**more), [], answered_at=NOW))
    assert [each.role for each in said] == ["user"]
    return said[0].text


def answer(*replies: Any) -> str:
    said = said_in(exchange_of(envelope(), replies, answered_at=NOW))
    assert [each.role for each in said] == ["user", "assistant"]
    return said[1].text


def test_a_question_is_its_words():
    assert question(text="what is this?") == "what is this?"


def test_a_quote_stands_before_the_words():
    quoted = Quoted(text="first line\nsecond", sender_nick="Bob", kind="text")
    assert question(text="is it?", quoted=quoted) == "> Bob: first line\n> second\nis it?"


def test_a_quote_of_the_bot_names_nobody_and_one_without_words_its_kind():
    own = Quoted(text="an answer", sender_nick="the bot", is_from_bot=True)
    assert question(text="why?", quoted=own) == "> an answer\nwhy?"
    card = Quoted(kind="interactiveCard", is_from_bot=True)
    assert question(text="why?", quoted=card) == "> [interactiveCard]\nwhy?"


def test_files_are_named_and_not_kept():
    files = (Attachment(kind="picture", download_code="CODE"), Attachment(name="March.pdf"))
    assert question(text="read it", attachments=files) == "read it\n[picture]\n[file March.pdf]"
    quoted = Quoted(kind="picture", attachments=files[:1])
    assert question(text="and this?", quoted=quoted) == "> [picture]\nand this?"
    assert question(text="", attachments=files[:1]) == "[picture]"


def test_a_turn_of_several_messages_is_one_question_with_the_latest_quote():
    earlier = Earlier(message_id="0", text="one", quoted=Quoted(text="old"))
    turn = {"earlier": (earlier,), "text": "two", "quoted": Quoted(text="new")}
    assert question(**turn) == "> new\none\ntwo"


def test_several_replies_are_one_answer():
    assert answer(Text(content="one"), Markdown(text="**two**")) == "one\n\n**two**"


def test_of_what_is_no_text_the_words_and_names_are_kept():
    button = Button(title="All", url="https://reports.example.com/")
    card = ActionCard(title="Next", text="What next?", buttons=[button])
    assert answer(card) == "What next?\n\n[All](https://reports.example.com/)"
    assert answer(Card(template_id="t.schema", values={}, text="shown")) == "shown"
    assert answer(Image(media_id="@lAL123"), File(media_id="@lAL1", name="a.pdf")) == (
        "[image picture.png]\n\n[file a.pdf]"
    )


def test_what_is_long_is_cut():
    assert question(text="x" * LIMIT_CHARS) == "x" * LIMIT_CHARS
    assert question(text="x" * (LIMIT_CHARS + 1)) == "x" * (LIMIT_CHARS - 1) + "…"
    assert answer(Text(content="文" * 9000)) == "文" * (LIMIT_CHARS - 1) + "…"
    quoted = Quoted(text="y" * 9000)
    assert question(text="z", quoted=quoted) == f"> {'y' * (QUOTE_CHARS - 1)}…\nz"


def test_without_a_time_of_its_own_a_question_is_as_old_as_its_arrival():
    said = said_in(exchange_of(envelope(created_at=NOW), [], answered_at=NOW))
    assert said[0].at == NOW
    said = said_in(exchange_of(envelope(), [], answered_at=NOW))
    assert said[0].at == envelope().received_at
