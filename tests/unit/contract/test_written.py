"""In which language a message was written, as far as it shows."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contract.content import Attachment, Quoted
from contract.envelope import Earlier, Envelope
from contract.written import written_in


def message(text: str = "", **more: Any) -> Envelope:
    facts: dict[str, Any] = {"bot": "b", "message_id": "m", "text": text, "sender_nick": "Alice"}
    return Envelope(received_at=datetime(2026, 1, 1, tzinfo=UTC), **facts | more)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你好", "zh"),
        ("帮我 review 这个 PR", "zh"),
        ("what is new?", "en"),
        ("¿qué tal?", "en"),
        ("こんにちは", "en"),
        ("/我是谁", "zh"),
        ("/remind 明天开会", "zh"),
        ("https://example.com/看看 https://example.com，帮我看看", "zh"),
        ("@小明 thanks", "en"),
        ("[微笑] thanks", "en"),
    ],
)
def test_han_characters_make_it_chinese_and_other_letters_anything_else(text, language):
    assert written_in(message(text)) == language


@pytest.mark.parametrize(
    "text", ["", "123 !", "😀", "[微笑]", "/whoami", "／ＨＥＬＰ", "https://example.com/a", "@小明"]
)
def test_what_holds_no_words_does_not_show_it(text):
    assert written_in(message(text)) is None
    assert written_in(message(text, sender_nick="小明")) == "zh"


def test_what_was_merged_or_quoted_shows_it_when_the_message_does_not():
    earlier = (Earlier(message_id="1", text="hello"), Earlier(message_id="2", text="你好"))
    assert written_in(message("?", earlier=earlier)) == "zh"
    assert written_in(message("?", quoted=Quoted(text="a quote"), sender_nick="小明")) == "en"


def test_names_show_chinese_and_nothing_else():
    assert written_in(message(attachments=(Attachment(name="报告.pdf"),))) == "zh"
    assert written_in(message(conversation_title="项目组")) == "zh"
    assert written_in(message(attachments=(Attachment(name="report.pdf"),))) is None
