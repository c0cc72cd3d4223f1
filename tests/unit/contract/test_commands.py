"""Which messages are commands of the bot, however they were typed."""

from datetime import UTC, datetime

import pytest

from contract.commands import NAMES, OVERTAKING, BuiltIn, normal, overtaking
from contract.content import Attachment
from contract.envelope import Earlier, Envelope


def _envelope(text: str, **fields: object) -> Envelope:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    return Envelope(bot="b", message_id="m", text=text, received_at=now, **fields)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/stop", BuiltIn.STOP),
        ("／stop", BuiltIn.STOP),
        ("／ＳＴＯＰ", BuiltIn.STOP),
        (" \u3000/Stop\n", BuiltIn.STOP),
        ("\u200b/stop\ufeff", BuiltIn.STOP),
        ("/停止", BuiltIn.STOP),
        ("／帮助", BuiltIn.HELP),
        ("/？", BuiltIn.HELP),
        ("/状态", BuiltIn.STATUS),
        ("/我是谁", BuiltIn.WHOAMI),
    ],
    ids=ascii,
)
def test_a_name_is_known_as_people_type_it(written, meant):
    assert overtaking(_envelope(written)) is meant


@pytest.mark.parametrize("text", ["stop", "/stop it", "/ stop", "//stop", "/stopp", "", "停止"])
def test_words_that_are_no_command_alone_overtake_nothing(text):
    assert overtaking(_envelope(text)) is None


def test_a_new_conversation_takes_its_turn():
    assert BuiltIn.NEW not in OVERTAKING
    assert NAMES[normal("／新对话")] is BuiltIn.NEW
    assert overtaking(_envelope("/new")) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"attachments": (Attachment(kind="picture"),)},
        {"earlier": (Earlier(message_id="m0", text="hello"),)},
        {"error_code": 300003},
    ],
    ids=["with a picture", "merged", "without its content"],
)
def test_what_comes_with_more_is_for_the_agent(fields):
    assert overtaking(_envelope("/stop", **fields)) is None


def test_every_name_is_written_as_it_is_compared():
    assert all(name == normal(name) for name in NAMES)
