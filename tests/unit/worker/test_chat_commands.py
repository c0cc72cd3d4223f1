"""What the bot itself answers, and what it leaves to the agent."""

import pytest

from contract.envelope import Conversation, Earlier
from tests.unit.worker.answering_parts import Desk, envelope
from worker.chat_commands import ChatCommands
from worker.outcome import FinalState


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.mark.parametrize("text", ["/whoami", " /WhoAmI\n", "/我是谁"])
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


@pytest.mark.parametrize("text", ["who am i", "/whoami please", "/other", "whoami", ""])
def test_everything_else_is_for_the_agent(text):
    assert ChatCommands().find(envelope(text=text)) is None


def test_a_command_among_merged_messages_is_for_the_agent():
    merged = envelope(text="/whoami", earlier=(Earlier(message_id="m0", text="hello"),))
    assert ChatCommands().find(merged) is None


def test_chat_commands_can_be_turned_off(desk):
    worker = desk.worker(chat_commands=False)
    outcome = desk.answer(worker, envelope(text="/whoami"))

    assert outcome.facts["outcome"] != "command"
    assert len(desk.agent_calls) == 1
