from datetime import UTC, datetime, timedelta

import pytest

from dingwire.simulator.faults import Faults, ReplyFault
from dingwire.simulator.records import Message, Reply
from dingwire.simulator.world import World


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock=clock, faults=Faults())


def said(world: World, message_id: str, text: str = "hello", *, delivered: bool = True) -> Message:
    chat = world.private_chat("alice")
    message = Message(
        message_id=message_id,
        conversation_id=chat.conversation_id,
        conversation="alice",
        is_group=False,
        person="alice",
        nick="Alice",
        text=text,
        kind="text",
        created_at_ms=world.now_ms(),
        session_webhook="",
        pushes=["push"] if delivered else [],
        state="pushed" if delivered else "lost",
    )
    world.add_message(message)
    return message


def accepted(world: World, text: str) -> Reply:
    chat = world.private_chat("alice")
    reply = Reply(chat.conversation_id, "alice", world.now_ms(), {}, {}, text, accepted=True)
    world.add_reply(reply)
    return reply


def test_a_session_lives_ninety_minutes_from_the_push(world, clock):
    session = world.open_session(world.private_chat("alice"))

    assert session.expires_at_ms == world.now_ms() + 5_400_000
    clock.pass_by(5399.9)
    assert world.is_alive(session)
    clock.pass_by(0.1)
    assert not world.is_alive(session)


def test_a_new_message_moves_the_end_of_the_same_session(world, clock):
    chat = world.private_chat("alice")
    first = world.open_session(chat)
    clock.pass_by(3600)
    second = world.open_session(chat)

    assert second is first
    assert first.expires_at_ms == world.now_ms() + 5_400_000


def test_an_ended_session_is_replaced(world, clock):
    chat = world.private_chat("alice")
    first = world.open_session(chat)
    clock.pass_by(5400)

    assert world.open_session(chat).value != first.value


def test_a_session_is_thirty_two_hex_digits(world):
    value = world.open_session(world.private_chat("alice")).value

    assert len(value) == 32
    assert int(value, 16) >= 0


def test_each_message_has_its_own_session_when_switched(world):
    world.faults = Faults(session_per_message=True)
    chat = world.private_chat("alice")

    first, second = world.open_session(chat), world.open_session(chat)
    assert first.value != second.value
    assert world.is_alive(first)


def test_conversations_keep_their_ids_over_restarts(world, clock):
    again = World(clock=clock, faults=Faults())

    assert world.group("Ops room").conversation_id == again.group("Ops room").conversation_id
    assert world.group("alice").conversation_id != world.private_chat("alice").conversation_id


def test_the_clock_is_skewed_for_everything(world, clock):
    world.faults = Faults(clock_skew_s=-120)

    assert world.now() == clock() - timedelta(seconds=120)


def test_an_answer_goes_to_the_oldest_message_without_one(world):
    said(world, "lost", delivered=False)
    first, second = said(world, "first"), said(world, "second")
    accepted(world, "one")

    assert (first.answers, second.answers) == (["one"], [])
    accepted(world, "two")
    assert second.state == "answered"


@pytest.mark.parametrize(
    "command", ["/status", "／ＳＴＡＴＵＳ", " /状态 "], ids=["en", "wide", "zh"]
)
def test_a_command_that_bots_answer_at_once_is_answered_before_what_waits(world, command):
    question, status = said(world, "question"), said(world, "status", command)
    accepted(world, "you are first in line")

    assert (question.state, status.answers) == ("pushed", ["you are first in line"])
    accepted(world, "the answer")
    assert question.answers == ["the answer"]


def test_what_was_written_before_an_answered_stop_waits_for_nothing(world):
    running, waiting = said(world, "running"), said(world, "waiting")
    stop, later = said(world, "stop", "/stop"), said(world, "later")
    accepted(world, "stopped")

    assert (running.state, waiting.state, stop.state) == ("stopped", "stopped", "answered")
    world.mark(waiting, "acked")
    assert waiting.state == "stopped"
    accepted(world, "the next answer")
    assert later.answers == ["the next answer"]


def test_a_reply_knows_which_messages_were_waiting(world):
    said(world, "first")
    said(world, "second")

    assert accepted(world, "one").after_message_ids == ["first", "second"]
    assert accepted(world, "two").after_message_ids == ["second"]


def test_an_answered_message_stays_answered_when_its_ack_comes_later(world):
    message = said(world, "first")
    accepted(world, "one")
    world.mark(message, "acked")

    assert message.state == "answered"


def test_scripted_faults_are_met_in_order(world):
    world.reply_faults = [ReplyFault(errcode=-1), ReplyFault(errcode=130101)]

    met = [world.take_reply_fault("cid") for _ in range(3)]
    assert [each and each.errcode for each in met] == [-1, 130101, None]
