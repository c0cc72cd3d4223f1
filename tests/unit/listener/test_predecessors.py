"""Each message names the one that was accepted before it in its lane."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.broker import Broker
from contract.turn import Order
from dingwire.protocol import BotPush, StreamProtocol
from listener.enqueue import Enqueuer
from listener.intake import Intake
from listener.predecessors import Predecessors
from listener.settings import ListenerSettings
from listener.spool import Spool
from listener.tally import Tally
from tests.listening import envelopes_on


class _Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> _Time:
    return _Time()


def test_the_last_of_the_same_lane_is_named(time):
    known = Predecessors(time)
    assert known.of("msg1", "lane a") is None
    known.accepted("msg1", "lane a")
    known.accepted("msg2", "lane b")

    assert known.of("msg3", "lane a") == "msg1"
    assert known.of("msg3", "lane b") == "msg2"


def test_no_message_names_itself(time):
    known = Predecessors(time)
    known.accepted("msg1", "lane")

    assert known.of("msg1", "lane") is None


def test_what_waits_for_nothing_has_no_predecessor(time):
    known = Predecessors(time)
    known.accepted("msg1", None)

    assert known.of("msg2", None) is None
    assert len(known) == 0


def test_after_half_an_hour_it_is_forgotten(time):
    known = Predecessors(time)
    known.accepted("msg1", "lane")

    time.now = 30 * 60 - 1
    assert known.of("msg2", "lane") == "msg1"
    time.now = 30 * 60
    assert known.of("msg2", "lane") is None


def test_memory_is_bounded_and_the_quietest_lanes_go_first(time):
    known = Predecessors(time, limit=3)
    for number in range(10):
        known.accepted(f"msg{number}", f"lane {number}")
        known.accepted(f"again{number}", "lane 0")

    remembered = [n for n in range(10) if known.of("new", f"lane {n}")]

    assert remembered == [0, 8, 9]


# Through the intake.


def _push(
    message_id: str, text: str = "hello", *, sender: str = "u1", conversation: str = "cid1"
) -> BotPush:
    payload = {
        "msgId": message_id,
        "msgtype": "text",
        "text": {"content": text},
        "conversationId": conversation,
        "conversationType": "2",
        "senderId": sender,
        "senderStaffId": sender,
        "robotCode": "ding1",
    }
    headers = {"topic": "/v1.0/im/bot/messages/get", "messageId": f"push of {message_id}"}
    frame = {"type": "CALLBACK", "headers": headers, "data": json.dumps(payload)}
    received = StreamProtocol().receive(json.dumps(frame))
    assert isinstance(received, BotPush)
    return received


def _now() -> datetime:
    return datetime.now(UTC)


async def _taken(
    folder: Path, pushes: list[BotPush], *, order: Order, time: _Time, chat_commands: bool = True
):
    """Take pushes one after the other; return what is on the broker for agents."""
    broker = Broker.from_url("embedded://", folder)
    enqueuer = Enqueuer(broker, Spool(folder / "spool", max_bytes=2**20), clock=_now)
    enqueuer.start()
    settings = ListenerSettings.load(
        client_id="ding1",
        client_secret="s3cret",
        allowed_users=("*",),
        order=order,
        chat_commands=chat_commands,
    )
    intake = Intake(settings, enqueuer, clock=_now, monotonic=time, tally=Tally())
    for push in pushes:
        assert await intake.take(push, timedelta(0)) is not None
    assert await enqueuer.stop(5) == 0
    return [(e.message_id, e.previous_message_id) for e in envelopes_on(broker)]


async def test_in_a_conversation_every_message_names_the_one_before(tmp_path, time):
    pushes = [_push("msg1"), _push("msg2", sender="u2"), _push("else", conversation="cid2")]

    taken = await _taken(tmp_path, [*pushes, _push("msg3")], order=Order.CONVERSATION, time=time)

    assert taken == [("msg1", None), ("msg2", "msg1"), ("else", None), ("msg3", "msg2")]


async def test_by_sender_the_others_do_not_count(tmp_path, time):
    pushes = [_push("msg1"), _push("msg2", sender="u2"), _push("msg3")]

    taken = await _taken(tmp_path, pushes, order=Order.SENDER, time=time)

    assert taken == [("msg1", None), ("msg2", None), ("msg3", "msg1")]


async def test_without_an_order_nobody_has_a_predecessor(tmp_path, time):
    taken = await _taken(tmp_path, [_push("msg1"), _push("msg2")], order=Order.NONE, time=time)

    assert taken == [("msg1", None), ("msg2", None)]


async def test_a_message_that_is_pushed_again_changes_nothing(tmp_path, time):
    """Neither for itself nor for the one after it."""
    pushes = [_push("msg1"), _push("msg2"), _push("msg1"), _push("msg2"), _push("msg3")]

    taken = await _taken(tmp_path, pushes, order=Order.CONVERSATION, time=time)

    assert taken == [("msg1", None), ("msg2", "msg1"), ("msg3", "msg2")]


async def test_a_command_that_overtakes_waits_for_nobody_and_nobody_for_it(tmp_path, time):
    pushes = [_push("msg1"), _push("msg2", "／STOP"), _push("msg3", "/new"), _push("msg4")]

    taken = await _taken(tmp_path, pushes, order=Order.CONVERSATION, time=time)

    assert taken == [("msg1", None), ("msg3", "msg1"), ("msg4", "msg3")]
    (command,) = (tmp_path / "broker" / "queues" / "commands").glob("*.msg")
    assert '"task": "command"' in command.read_text(encoding="utf-8")


async def test_without_chat_commands_they_are_messages_like_any_other(tmp_path, time):
    pushes = [_push("msg1"), _push("msg2", "/stop"), _push("msg3")]

    taken = await _taken(tmp_path, pushes, order=Order.CONVERSATION, time=time, chat_commands=False)

    assert taken == [("msg1", None), ("msg2", "msg1"), ("msg3", "msg2")]


async def test_what_nobody_took_is_nobodys_predecessor(tmp_path, time, monkeypatch):
    monkeypatch.setattr("listener.enqueue.WAITING_LIMIT", 0)
    enqueuer = Enqueuer(
        Broker.from_url("embedded://", tmp_path),
        Spool(tmp_path / "spool", max_bytes=2**20),
        clock=_now,
    )
    enqueuer.start()
    settings = ListenerSettings.load(
        client_id="ding1", client_secret="s3cret", allowed_users=("*",)
    )
    intake = Intake(settings, enqueuer, clock=_now, monotonic=time, tally=Tally())

    refused = await intake.take(_push("msg1"), timedelta(0))
    monkeypatch.setattr(enqueuer._waiting, "_limit", 10)
    await intake.take(_push("msg2"), timedelta(0))
    await enqueuer.stop(5)

    assert refused is not None
    assert json.loads(refused)["code"] == 500
    found = envelopes_on(Broker.from_url("embedded://", tmp_path))
    assert [(e.message_id, e.previous_message_id) for e in found] == [("msg2", None)]
