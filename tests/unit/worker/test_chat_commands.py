"""What the bot itself answers, and what it leaves to the agent."""

import pytest

from contract.content import Attachment
from contract.envelope import Conversation, Earlier
from tests.unit.worker.answering_parts import Desk, envelope
from worker.agents import Commands
from worker.outcome import FinalState
from worker.store import Reason


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def commands():
    """Two commands of one's own; the second is async, and takes a context."""
    commands = Commands()

    @commands("/ticket", "/工单", help={"zh": "开一张工单", "en": "open a ticket"})
    def ticket(message):
        return f"ticket for {message.text!r} of {message.sender_nick}"

    @commands("/late")
    async def late(message, context):
        """Say how long there is.

        Not shown.
        """
        return f"{context.remaining_s() > 0}"

    return commands


# The built-in ones.


@pytest.mark.parametrize("text", ["/whoami", " /WhoAmI\n", "／我是谁"], ids=ascii)
def test_whoami_is_answered_without_the_agent(desk, text):
    outcome = desk.answer(desk.worker(), envelope(text=text))

    assert (outcome.state, outcome.facts["outcome"]) == (FinalState.SUCCESS, "command")
    assert desk.agent_calls == []
    (posted,) = desk.webhook.posted
    for fact in ("Alice in secret", "staff1", "cid1", "private"):
        assert fact in posted


def test_in_a_group_it_says_so_and_somebody_without_a_staff_id_learns_that(desk):
    message = envelope(text="/whoami", conversation=Conversation.GROUP, sender_staff_id=None)
    desk.answer(desk.worker(), message)

    (posted,) = desk.webhook.posted
    assert "group" in posted
    assert "not known" in posted


@pytest.mark.parametrize(
    "fields",
    [
        *({"text": text} for text in ("who am i", "/whoami please", "/other", "whoami", "/", "")),
        {"text": "/whoami", "earlier": (Earlier(message_id="m0", text="hello"),)},
        {"text": "/whoami", "attachments": (Attachment(kind="picture"),)},
    ],
    ids=["words", "more words", "unknown", "no slash", "a slash", "nothing", "merged", "a picture"],
)
def test_everything_else_is_for_the_agent(desk, fields):
    desk.answer(desk.worker(), envelope(**fields))
    assert len(desk.agent_calls) == 1


def test_chat_commands_can_be_turned_off(desk):
    worker = desk.worker(chat_commands=False)
    outcome = desk.answer(worker, envelope(text="/whoami"))

    assert outcome.facts["outcome"] != "command"
    assert len(desk.agent_calls) == 1


@pytest.mark.parametrize(
    ("language", "said", "unsaid"),
    [
        ("zh", ["/帮助: ", "/我是谁: ", "/ticket, /工单: 开一张工单"], "open a ticket"),
        ("en", ["/help:", "/whoami:", "/ticket, /工单: open a ticket"], "工单\n"),
        ("both", ["/help /帮助: ", "/ticket, /工单: 开一张工单 · open a ticket"], "Not shown"),
    ],
    ids=["zh", "en", "both"],
)
def test_help_lists_what_there_is_in_the_language_of_the_person(
    desk, commands, language, said, unsaid
):
    desk.answer(desk.worker(commands=commands, language=language), envelope(text="/help"))

    (posted,) = desk.webhook.posted
    for line in (*said, "/late: Say how long there is."):
        assert line in posted
    assert unsaid not in posted


# Those of one's own.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/ticket 42", "42"),
        ("／Ticket\u3000 two words\nand a line ", "two words\nand a line"),
        ("/工单", ""),
    ],
    ids=["an argument", "as phones write it", "none"],
)
def test_a_command_of_ones_own_is_given_what_stands_behind_its_name(desk, commands, text, words):
    outcome = desk.answer(desk.worker(commands=commands), envelope(text=text))

    assert (outcome.state, outcome.facts["command"]) == (FinalState.SUCCESS, "/ticket")
    assert desk.webhook.posted == [f"ticket for {words!r} of Alice in secret"]
    assert desk.agent_calls == []


def test_it_may_be_async_and_take_a_context(desk, commands):
    desk.answer(desk.worker(commands=commands), envelope(text="/late"))
    assert desk.webhook.posted == ["True"]


@pytest.mark.parametrize("text", ["/tickets 42", "/ ticket", "a /ticket"])
def test_a_name_that_is_not_quite_one_is_for_the_agent(desk, commands, text):
    desk.answer(desk.worker(commands=commands), envelope(text=text))
    assert len(desk.agent_calls) == 1


def test_one_that_raises_fails_like_an_agent(desk):
    def broken(message):
        raise KeyError(message.text)

    outcome = desk.answer(desk.worker(commands={"/broken": broken}), envelope(text="/broken 7"))

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.AGENT_FAILED)
    assert outcome.detail == "KeyError"


def test_it_may_come_with_a_picture(desk):
    count = {"/count": lambda message: f"{len(message.attachments)}"}
    message = envelope(text="/count", attachments=(Attachment(kind="picture"),))
    desk.answer(desk.worker(commands=count), message)
    assert desk.webhook.posted == ["1"]


def test_ones_own_are_there_without_the_built_in_ones(desk, commands):
    worker = desk.worker(commands=commands, chat_commands=False)
    desk.answer(worker, envelope(text="/ticket 1"))
    desk.answer(worker, envelope(text="/help", message_id="m2"))

    assert len(desk.webhook.posted) == 2
    assert len(desk.agent_calls) == 1


def test_one_that_says_so_stands_in_the_place_of_a_built_in_one(desk):
    commands = Commands()
    commands("/help", help="call us", replaces=True)(lambda message: "call 110")

    worker = desk.worker(commands=commands)
    desk.answer(worker, envelope(text="/help"))
    desk.answer(worker, envelope(text="/帮助", message_id="m2"))

    first, second = desk.webhook.posted
    assert first == "call 110"
    assert "/help: call us" in second
    assert "/help /帮助" not in second
