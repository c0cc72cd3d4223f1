"""What an agent may return, and what it becomes."""

import pytest

from contract.envelope import Conversation
from dingwire.replies import ActionCard, Button, Image, Link, Markdown, Text, webhook_body
from tests.unit.worker.answering_parts import envelope
from worker.agents.results import addressed, replies_of
from worker.agents.runner import AgentFailedError

LINK = Link(title="t", text="x", url="https://example.com/")
GROUP = envelope(conversation=Conversation.GROUP, conversation_id="cid1")


@pytest.mark.parametrize(
    ("result", "replies"),
    [
        (None, []),
        ("", []),
        (" \n", []),
        ([], []),
        ([None, "", ()], None),
        ([None, " "], []),
        ("hello", [Text(content="hello")]),
        ("# hello", [Markdown(title="hello", text="# hello")]),
        (LINK, [LINK]),
        (("one", None, LINK), [Text(content="one"), LINK]),
        ([LINK, "# two"], [LINK, Markdown(title="two", text="# two")]),
    ],
)
def test_text_replies_and_lists_of_them_are_answers(result, replies):
    if replies is None:
        with pytest.raises(AgentFailedError, match="returned a list whose item 3 is tuple"):
            replies_of(result)
    else:
        assert replies_of(result) == replies


@pytest.mark.parametrize("result", [7, b"bytes", {"text": "x"}, {"x"}, object()])
def test_anything_else_is_none(result):
    problem = f"returned {type(result).__name__}, which is neither text nor a reply"
    with pytest.raises(AgentFailedError, match=problem):
        replies_of(result)


def test_the_item_that_is_wrong_is_named():
    with pytest.raises(AgentFailedError, match="returned a list whose item 2 is int, which is nei"):
        replies_of(["fine", 7])


def test_in_a_group_the_first_reply_that_can_mentions_the_sender():
    link, first, second = addressed([LINK, Text(content="one"), Text(content="two")], GROUP)

    assert link == LINK
    assert webhook_body(first) == {
        "msgtype": "text",
        "text": {"content": "@staff1 one"},
        "at": {"atUserIds": ["staff1"], "isAtAll": False},
    }
    assert second == Text(content="two")


def test_a_card_with_buttons_mentions_the_sender_in_its_text():
    button = Button(title="go", url="https://example.com/")

    (card,) = addressed([ActionCard(title="t", text="# hi", buttons=[button])], GROUP)

    assert webhook_body(card)["actionCard"]["text"] == "@staff1\n\n# hi"
    assert webhook_body(card)["at"]["atUserIds"] == ["staff1"]


def test_in_private_nobody_is_mentioned():
    assert addressed([Text(content="one")], envelope()) == [Text(content="one")]


@pytest.mark.parametrize("staff_id", [None, "", "not an id"])
def test_only_a_real_staff_id_is_mentioned(staff_id):
    message = GROUP.model_copy(update={"sender_staff_id": staff_id})

    (reply,) = addressed([Text(content="one")], message)

    body = webhook_body(reply)
    assert "at" not in body
    named = "one" if staff_id else "@Alice in secret one"
    assert body["text"]["content"] == named


def test_a_reply_that_mentions_as_many_as_possible_stays_as_it_is():
    full = Text(content="one", at_user_ids=[f"u{n}" for n in range(50)])

    assert addressed([full], GROUP) == [full]


def test_a_picture_mentions_nobody():
    assert addressed([Image(media_id="@a")], GROUP) == [Image(media_id="@a")]
