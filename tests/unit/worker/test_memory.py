"""What an agent is reminded of, and what of a message is remembered, however it ends."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from contract.content import Quoted
from contract.envelope import Conversation, Envelope
from contract.sealing import IN_CLEAR, Sealer
from contract.turn import Order
from dingwire.errors import WebhookExpiredError, WebhookRefusedError, WebhookUnreachableError
from dingwire.replies import Text
from tests.unit.worker.answering_parts import SECRET_WORDS, START, Desk, envelope
from worker.agents.runner import AgentRunner
from worker.bots import BotParts, Bots
from worker.memory import Memory
from worker.outcome import FinalState
from worker.settings import WorkerSettings
from worker.store import StoreError, StoreUnavailableError
from worker.turns import Burst, Turns

SEALER = Sealer.from_setting(Fernet.generate_key().decode())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


class Listener:
    """An agent that notes of what it was reminded."""

    history_turns = 0
    history_tokens: Any = None

    def __init__(self, reply: Callable[[str], Any] = lambda text: f"answer to {text}") -> None:
        self.reminded: list[list[str]] = []
        self._reply = reply

    def __call__(self, message, context):
        self.reminded.append([f"{said.role}: {said.text}" for said in context.history])
        reply = self._reply(message.text)
        if isinstance(reply, Exception):
            raise reply
        return reply


def message(number: int, text: str = "", **more: Any) -> Envelope:
    facts: dict[str, Any] = {"received_at": START + timedelta(seconds=number)}
    return envelope(message_id=f"msg{number}", text=text or f"q{number}", **facts | more)


ON = {"history_turns": 20}


def told(desk: Desk, agent: Listener, *messages: Envelope, **options: Any) -> list[list[str]]:
    """What the agent was reminded of at each of the messages."""
    worker = desk.worker(agent, **{"history": ON} | options)
    for each in messages:
        desk.answer(worker, each)
    return agent.reminded


def test_an_agent_is_reminded_of_what_was_said_before(desk):
    assert told(desk, Listener(), message(1), message(2), message(3)) == [
        [],
        ["user: q1", "assistant: answer to q1"],
        ["user: q1", "assistant: answer to q1", "user: q2", "assistant: answer to q2"],
    ]


def test_it_is_told_who_said_it_and_when(desk):
    heard: list[Any] = []

    def agent(message, context):
        heard.extend(context.history)
        desk.clock.advance(5)
        return "yes"

    worker = desk.worker(agent, history=ON)
    desk.answer(worker, message(1, sender_id="$:id1", sender_nick="Alice"))
    desk.answer(worker, message(2))

    question, answer = heard
    assert (question.sender_nick, question.sender_id) == ("Alice", "$:id1")
    assert (question.at, answer.at) == (START + timedelta(seconds=1), START + timedelta(seconds=5))
    assert (answer.sender_nick, answer.sender_id) == ("", "")
    assert SECRET_WORDS not in repr(heard)


@pytest.mark.parametrize(
    ("setting", "asked_for", "remembers"),
    [(None, 0, False), (None, 20, True), (0, 20, False), (1, 0, True)],
)
def test_it_is_on_by_the_setting_or_else_by_the_agent(desk, setting, asked_for, remembers):
    agent = Listener()
    agent.history_turns = asked_for

    told(desk, agent, message(1), message(2), history={"history_turns": setting})

    assert bool(agent.reminded[1]) is remembers


@pytest.mark.parametrize("wrong", ["many", -3, None, 2.5])
def test_an_agent_that_asks_for_nonsense_gets_nothing(wrong):
    agent = Listener()
    agent.history_turns = wrong
    assert AgentRunner(agent).history_turns == 0


def in_the_store(desk: Desk) -> str:
    desk.store.close()  # so that all of it is in the one file
    return desk.file.read_bytes().decode("latin-1")


@pytest.mark.parametrize("turns", [None, 0])
def test_nothing_is_stored_while_it_is_off(desk, turns):
    told(desk, Listener(), message(1, "MARKED"), history={"history_turns": turns})

    assert rows(desk) == 0


def rows(desk: Desk) -> int:
    with sqlite3.connect(desk.file) as connection:
        (count,) = connection.execute("SELECT count(*) FROM dingtalk_exchanges").fetchone()
    connection.close()
    return int(count)


# What becomes part of it.


def test_what_an_agent_fails_at_is_not_given_to_it_again(desk):
    """Else what made the model refuse once would make it refuse until it is forgotten."""
    agent = Listener(lambda text: RuntimeError("boom") if text == "q1" else "fine")

    assert told(desk, agent, message(1), message(2)) == [[], []]


def test_a_question_that_was_met_with_silence_was_asked_all_the_same(desk):
    agent = Listener(lambda text: None)

    assert told(desk, agent, message(1), message(2)) == [[], ["user: q1"]]


def test_an_answer_that_nobody_has_read_is_not_remembered(desk):
    desk.webhook.answers = [WebhookRefusedError(400, "no")]

    assert told(desk, Listener(), message(1), message(2)) == [[], []]


def test_it_is_remembered_once_it_is_handed_over(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]
    agent = Listener()

    told(desk, agent, message(1), message(2), hands_over=True)

    assert desk.webhook.posted[-1] == "answer to q2"
    assert agent.reminded[1] == ["user: q1", "assistant: answer to q1"]


def test_it_is_remembered_once_it_is_rescued(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]
    agent = Listener()

    told(desk, agent, message(1), message(2), policy="rescue")

    assert agent.reminded[1] == ["user: q1", "assistant: answer to q1"]


def test_one_whose_delivery_was_tried_again_is_remembered_once(desk):
    desk.webhook.answers = [WebhookUnreachableError("away", ambiguous=False)]
    agent = Listener()
    worker = desk.worker(agent, history=ON)

    desk.deliver_when_due(worker, desk.answer(worker, message(1)))
    desk.answer(worker, message(2))

    assert agent.reminded == [[], ["user: q1", "assistant: answer to q1"]]


def test_a_dead_workers_answer_is_remembered_by_the_one_that_delivers_it(desk):
    agent = Listener()
    desk.webhook.at_post = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        desk.answer(desk.worker(agent, history=ON), message(1))
    desk.webhook.at_post = lambda: None
    desk.clock.advance(60)

    desk.answer(desk.worker(agent, owner="worker2", history=ON), message(1))
    desk.answer(desk.worker(agent, history=ON), message(2))

    assert agent.reminded == [[], ["user: q1", "assistant: answer to q1"]]


def test_the_bots_own_commands_are_no_part_of_it(desk):
    agent = Listener()

    told(desk, agent, message(1, "/whoami"), message(2))

    assert agent.reminded == [[]]


def test_merged_messages_are_one_question(desk):
    agent = Listener()
    merging = Turns(burst=Burst.MERGE)
    first = desk.worker(agent, turns=merging, history=ON)

    def write_more(text):
        if text == "q1":
            for number in (2, 3):
                desk.answer(first, message(number))
        return f"answer to {text}"

    agent._reply = write_more
    desk.answer(first, message(1))
    for due in [*desk.published]:
        desk.work_on(first, due.task_id, due.envelope)
    for due in desk.published[1:]:
        desk.work_on(first, due.task_id, due.envelope)
    desk.answer(first, message(4))

    assert agent.reminded[-1][2:] == ["user: q2\nq3", "assistant: answer to q2\nq3"]


def test_a_second_run_is_reminded_of_what_was_said_before_its_question(desk):
    """An operator has it run anew; meanwhile the conversation went on."""
    fails = [True]
    agent = Listener(lambda text: RuntimeError("boom") if text == "q2" and fails else "fine")
    worker = desk.worker(agent, history=ON)
    for number in (1, 2, 3):
        desk.answer(worker, message(number))
    fails.clear()
    missed = desk.missed()
    assert missed is not None
    due = desk.store.rerun(missed.task_id, hold_s=15)
    assert due is not None

    assert desk.work_on(worker, due.task_id, due.envelope).state is FinalState.SUCCESS
    assert agent.reminded[-1] == ["user: q1", "assistant: fine"]
    desk.answer(worker, message(4))
    questions = [line for line in agent.reminded[-1] if line.startswith("user")]
    assert questions == ["user: q1", "user: q2", "user: q3"]


# Whose it is.


def in_group(number: int, who: str, **more: Any) -> Envelope:
    facts: dict[str, Any] = {"conversation": Conversation.GROUP, "sender_staff_id": who}
    return message(number, **facts | more)


def test_a_group_has_one_memory(desk):
    reminded = told(desk, Listener(), in_group(1, "alice"), in_group(2, "bob"))

    assert reminded[1] == ["user: q1", "assistant: answer to q1"]


def test_in_a_group_each_may_have_their_own(desk):
    by_person = {**ON, "history_by": "person"}
    outsiders = [in_group(n, "", sender_staff_id=None, sender_id=f"$:{n}") for n in (4, 5)]
    messages = [in_group(1, "alice"), in_group(2, "bob"), in_group(3, "alice"), *outsiders]

    reminded = told(desk, Listener(), *messages, history=by_person)

    assert reminded == [[], [], ["user: q1", "assistant: answer to q1"], [], []]


def test_alone_with_the_bot_there_is_one_memory_in_any_case(desk):
    by_person = {**ON, "history_by": "person"}
    messages = [message(1, sender_staff_id="alice"), message(2, sender_staff_id=None)]

    assert told(desk, Listener(), *messages, history=by_person)[1]


def test_two_bots_in_one_group_do_not_know_of_each_other(desk):
    agent = Listener()
    worker = desk.worker(agent, history=ON)

    desk.answer(worker, in_group(1, "alice", bot="robot1"))
    desk.answer(worker, in_group(1, "alice", bot="robot2"))

    assert agent.reminded == [[], []]


def test_a_message_without_a_conversation_has_none(desk):
    messages = [message(n, conversation_id="") for n in (1, 2)]

    assert told(desk, Listener(), *messages) == [[], []]
    assert rows(desk) == 0


def test_messages_that_wait_for_nothing_see_what_was_asked_and_answered_before(desk):
    agent = Listener()
    worker = desk.worker(agent, turns=Turns(Order.NONE), history=ON)

    desk.answer(worker, message(3))
    desk.answer(worker, message(1))
    desk.answer(worker, message(2))
    desk.answer(worker, message(9))

    assert agent.reminded[:3] == [[], [], ["user: q1", "assistant: answer to q1"]]
    assert [line[-2:] for line in agent.reminded[3][::2]] == ["q1", "q2", "q3"]


# How much of it.


def test_no_more_turns_than_the_setting_says(desk):
    reminded = told(desk, Listener(), *map(message, (1, 2, 3, 4)), history={"history_turns": 2})

    assert reminded[3][::2] == ["user: q2", "user: q3"]
    assert rows(desk) == 2


def test_what_is_older_than_the_setting_says_is_forgotten(desk):
    agent = Listener()
    hours = {**ON, "history_hours": 1.0}
    worker = desk.worker(agent, history=hours)
    late = START + timedelta(hours=9)
    desk.answer(worker, message(1, deadline=late))
    desk.clock.advance(1800)
    desk.answer(worker, message(2, deadline=late))
    desk.clock.advance(1800)
    desk.answer(worker, message(3, deadline=late))

    assert agent.reminded[2] == ["user: q2", "assistant: answer to q2"]
    desk.store.prune()
    assert rows(desk) == 2


def test_whole_turns_go_to_keep_within_the_tokens(desk):
    long = "x" * 400  # about a hundred tokens
    agent = Listener(lambda text: "ok")
    messages = [message(1, long), message(2, "short"), message(3, long), message(4, "short")]

    told(desk, agent, *messages, message(5), history={**ON, "history_tokens": 130})

    assert agent.reminded[4] == [
        f"user: {long}",
        "assistant: ok",
        "user: short",
        "assistant: ok",
    ]
    assert told(desk, Listener(), message(9), history={**ON, "history_tokens": 5}) == [[]]


@pytest.mark.parametrize(
    ("setting", "asked_for", "left"), [(None, 20, 2), (1000, 20, 4), (20, 1000, 2), (None, "x", 4)]
)
def test_the_agent_asks_for_the_tokens_that_the_operator_does_not_set(
    desk, setting, asked_for, left
):
    agent = Listener(lambda text: "ok")
    agent.history_tokens = asked_for
    messages = [message(1, "x" * 400), message(2, "short"), message(3)]

    told(desk, agent, *messages, history={**ON, "history_tokens": setting})

    assert len(agent.reminded[2]) == left


# Sealed, and when it cannot be read.


def test_with_a_key_nothing_that_was_said_is_in_the_store_in_clear(desk):
    agent = Listener(lambda text: "the private answer")
    desk.webhook.answers = [WebhookExpiredError(300001)]
    worker = desk.worker(agent, sealer=SEALER, history=ON)

    for each in (message(1, SECRET_WORDS), message(2, SECRET_WORDS), message(3)):
        desk.work(worker, SEALER.seal(each.to_wire()), each)

    assert agent.reminded[-1] == [f"user: {SECRET_WORDS}", "assistant: the private answer"]
    assert desk.missed() is not None
    stored = in_the_store(desk)
    for private in (SECRET_WORDS, "the private answer", "Alice in secret"):
        assert private not in stored


@pytest.mark.parametrize(
    "mine", [IN_CLEAR, Sealer.from_setting(Fernet.generate_key().decode())], ids=["none", "other"]
)
def test_without_the_key_the_agent_runs_and_is_reminded_of_nothing(desk, caplog, mine):
    told(desk, Listener(), message(1, SECRET_WORDS), sealer=SEALER)
    agent = Listener()
    worker = desk.worker(agent, sealer=mine, history=ON)

    with caplog.at_level(logging.WARNING):
        outcome = desk.answer(worker, message(2))

    assert (outcome.state, agent.reminded) == (FinalState.SUCCESS, [[]])
    [record] = [r for r in caplog.records if getattr(r, "action", "") == "memory_unreadable"]
    assert record.message_id == "msg2"
    assert record.turns == 1
    assert "ENVELOPE_KEY" in record.getMessage()
    assert SECRET_WORDS not in caplog.text


def test_what_was_said_in_clear_before_there_was_a_key_is_read(desk):
    told(desk, Listener(), message(1))

    assert told(desk, Listener(), message(2), sealer=SEALER)[0]


SPOILT = {
    "of tomorrow": '{"version":2,"dialogue":[]}',
    "nothing we know": '"what was said"',
    "a list": "[1]",
    "half of one": '{"version":1,"asked":{"text":"SECRET"}}',
    "with a time that is none": '{"version":1,"asked":{"text":"a","nick":"b","id":"c","at":"x"}}',
}


@pytest.mark.parametrize("how", SPOILT)
def test_one_that_cannot_be_read_is_left_out_and_the_others_are_not(desk, caplog, how):
    agent = Listener()
    told(desk, agent, message(1), message(2))
    with sqlite3.connect(desk.file) as connection:
        change = "UPDATE dingtalk_exchanges SET said = ? WHERE place_ms = ?"
        when = round(message(1).received_at.timestamp() * 1000)
        connection.execute(change, (SPOILT[how], when))
    connection.close()

    with caplog.at_level(logging.WARNING):
        told(desk, agent, message(3))

    assert agent.reminded[-1] == ["user: q2", "assistant: answer to q2"]
    assert "memory_unreadable" in [getattr(r, "action", "") for r in caplog.records]
    assert "SECRET" not in caplog.text


class Broken:
    """A store that reads no memory."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def exchanges(self, *_: Any, **__: Any) -> Any:
        raise self.error

    def forget(self, **_: Any) -> int:
        return 0


def memory_on(store: Any, **settings: Any) -> Memory:
    own = WorkerSettings.model_construct(client_id=None, **{**ON, **settings})
    bot = BotParts(own, AgentRunner(Listener()), openapi=None)
    bots = Bots([bot], default=bot)
    return Memory(store, bots=bots, sealer=IN_CLEAR, clock=lambda: START)


def test_a_store_that_cannot_read_it_fails_no_message(caplog):
    broken = memory_on(Broken(StoreError("store x failed: DataError")))

    assert broken.recalled(message(1)) == ()
    assert "failed: DataError" in caplog.text


def test_a_store_that_is_away_decides_nothing():
    """The process stops, and the message is for another worker."""
    with pytest.raises(StoreUnavailableError):
        memory_on(Broken(StoreUnavailableError("away"))).recalled(message(1))


# Forgetting.


def test_what_was_said_before_is_forgotten_and_what_is_said_after_is_not(desk):
    agent = Listener()
    told(desk, agent, message(1), message(2))

    assert memory_on(desk.store).forget(message(3)) == 2
    told(desk, agent, message(4), message(5))

    assert agent.reminded[2:] == [[], ["user: q4", "assistant: answer to q4"]]


def test_in_a_group_with_memories_of_its_people_only_the_own_one_is_forgotten(desk):
    agent = Listener()
    by_person = {**ON, "history_by": "person"}
    told(desk, agent, in_group(1, "alice"), in_group(2, "bob"), history=by_person)

    assert memory_on(desk.store, **by_person).forget(in_group(3, "alice")) == 1
    told(desk, agent, in_group(4, "alice"), in_group(5, "bob"), history=by_person)

    assert agent.reminded[2:] == [[], ["user: q2", "assistant: answer to q2"]]


def test_an_answer_that_is_sent_later_does_not_bring_back_what_was_forgotten(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]
    agent = Listener()
    told(desk, agent, message(1))
    assert memory_on(desk.store).forget(message(2)) == 0

    told(desk, agent, message(3), message(4), hands_over=True)

    assert agent.reminded[1:] == [[], ["user: q3", "assistant: answer to q3"]]


def test_nothing_is_shown_of_an_exchange():
    quoted = Quoted(text=SECRET_WORDS)
    exchange = memory_on(Broken(StoreError())).exchange(
        message(1, SECRET_WORDS, quoted=quoted), [Text(content=SECRET_WORDS)]
    )

    assert SECRET_WORDS not in repr(exchange)
    assert "Alice" not in repr(exchange)
