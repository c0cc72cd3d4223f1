"""What the bot itself answers, and what it leaves to the agent."""

from datetime import timedelta

import pytest

from contract.content import Attachment
from contract.envelope import Conversation, Earlier
from contract.routing import task_id
from contract.turn import Order
from tests.unit.worker.answering_parts import START, Desk, envelope
from worker.agents import Commands
from worker.outcome import FinalState
from worker.store import Reason
from worker.turns import Turns


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


def _written(number, text="hello", **more):
    at = START + timedelta(seconds=number)
    return envelope(message_id=f"msg{number}", created_at=at, text=text, **more)


def _claim(desk, number, **more):
    data, turns = _written(number, **more).to_wire(), Turns()
    desk.store.claim(
        task_id("robot1", f"msg{number}"),
        owner="another worker",
        lease_s=60,
        envelope=data,
        turn=turns.of(data),
        written=turns.place_of(data),
    )


def _tell(desk, message):
    """What the lane does with a command: it waits for no turn."""
    desk.answer(desk.worker(language="en", turns=Turns(Order.NONE)), message)
    return desk.webhook.posted[-1]


@pytest.mark.parametrize("text", ["/stop", "／停止"], ids=ascii)
def test_stop_ends_what_the_conversation_waits_for_and_says_how_much(desk, text):
    _claim(desk, 1)
    _claim(desk, 2, sender_id="another")
    _claim(desk, 3, conversation_id="cid2")

    assert _tell(desk, _written(4, text)) == "Stopped: 1 being answered, 1 waiting"
    ended = [id_ for id_, outcome in desk.told if outcome.state is FinalState.CANCELLED]
    assert ended == [task_id("robot1", "msg1"), task_id("robot1", "msg2")]
    assert _tell(desk, _written(5, text)).startswith("Nothing is being answered just now")


def test_status_tells_of_ones_own_messages_and_only_counts_those_of_others(desk):
    for number, sender in enumerate(["a", "b", "a"], start=1):
        _claim(desk, number, sender_id=sender, text=f"secret {number}", sender_nick="Carol")
    desk.clock.advance(30)

    assert _tell(desk, _written(4, "/status", sender_id="a")).splitlines() == [
        "Answering a message of yours, for 30 s now",
        "A message of yours is number 2 in line",
        "Of others in this conversation: 1",
    ]
    assert _tell(desk, _written(5, "/状态", sender_id="c")).splitlines() == [
        "Nothing of yours is being answered or in line; what you sent just now may not show yet",
        "Of others in this conversation: 3",
    ]


def test_status_tells_of_a_few_messages_and_counts_the_rest(desk):
    for number in range(1, 8):
        _claim(desk, number, sender_id="a")

    lines = _tell(desk, _written(9, "/status", sender_id="a")).splitlines()
    assert lines[4:] == ["A message of yours is number 4 in line", "And 2 more of yours"]


def _remembering(reminded):
    """An agent that notes of what it is reminded."""

    def answer(message, context):
        reminded.append([said.text for said in context.history])
        return f"answer to {message.text}"

    return answer


MEMORY = {"history_turns": 9, "history_hours": 1, "history_by": "conversation"}


@pytest.mark.parametrize("text", ["/new", "／新对话"], ids=ascii)
def test_new_forgets_what_was_said_before(desk, text):
    reminded: list[list[str]] = []
    worker = desk.worker(_remembering(reminded), language="en", history=MEMORY)
    desk.answer(worker, _written(1, "one"))
    desk.answer(worker, _written(2, text))
    desk.answer(worker, _written(3, text))
    desk.answer(worker, _written(4, "two"))

    assert desk.webhook.posted[1] == "Done: what was said before is forgotten"
    assert desk.webhook.posted[2].startswith("I remember nothing")
    assert reminded == [[], []]


def test_a_merged_turn_begins_behind_the_last_new_in_it(desk):
    reminded: list[list[str]] = []
    worker = desk.worker(_remembering(reminded), language="en", history=MEMORY)
    desk.answer(worker, _written(1, "one"))
    parts = [Earlier(message_id=f"m{text}", text=text) for text in ("two", "/new", "three")]
    desk.answer(worker, _written(5, "four", earlier=tuple(parts)))
    desk.answer(worker, _written(6, "/new", earlier=(Earlier(message_id="m5", text="five"),)))

    assert desk.webhook.posted[1:] == [
        "answer to three\nfour",
        "Done: what was said before is forgotten",
    ]
    assert reminded == [[], []]


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
