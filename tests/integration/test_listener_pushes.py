"""A card's button is answered whatever happens, an event once the broker has it."""

import asyncio
import contextlib
import json
import logging
from typing import Any

import pytest

from contract.broker import Broker
from contract.pushes import CardAction, OrgEvent
from contract.routing import EVENTS, HANDLE_CARD_ACTION, HANDLE_EVENT, task_id
from contract.sealing import Sealer
from dingwire.simulator import Simulator
from tests.integration.listener_place import MovableBroker
from tests.listening import running_listener, until_away
from tests.servers import wait_for

CARDS = "/v1.0/card/instances/callback"
SECRET = "salary 4711"
KEY = "T3BlbiBzZXNhbWUsIG9wZW4gc2VzYW1lLCBvcGVuISE="


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
def lines(caplog):
    """Return the log lines with an action."""
    caplog.set_level(logging.INFO)

    def of(action: str) -> list[dict[str, Any]]:
        return [vars(r) for r in list(caplog.records) if vars(r).get("action") == action]

    return of


def card(**more: Any) -> str:
    """What DingTalk pushes when somebody presses a button."""
    private = {"actionIds": ["btn_ok"], "params": {"reason": SECRET, "count": 2}}
    data = {
        "type": "actionCallback",
        "outTrackId": "track1",
        "corpId": "dingcorp1",
        "userId": "alice",
        "userIdType": 1,
        "spaceId": "cidGroup1",
        "spaceType": "IM_GROUP",
        "extension": "{}",
        "content": json.dumps({"cardPrivateData": private}),
    }
    return json.dumps(data | more)


def event(event_id: str, push_id: str) -> str:
    """A whole frame, as DingTalk has it."""
    headers = {
        "topic": "*",
        "messageId": push_id,
        "contentType": "application/json",
        "time": "1767225600123",
        "eventType": "user_add_org",
        "eventId": event_id,
        "eventCorpId": "dingcorp1",
        "eventBornTime": "1767225600000",
    }
    data = json.dumps({"timeStamp": "1767225600000", "userId": ["u100"], "note": SECRET})
    return json.dumps({"specVersion": "1.0", "type": "EVENT", "headers": headers, "data": data})


def tasks_on(broker: Broker) -> list[Any]:
    """Take every task but reports off the queue of events, oldest first."""
    found = []
    with broker.connection() as connection:
        queue = next(q for q in broker.queues() if q.name == EVENTS)(connection.default_channel)
        while (message := queue.get(no_ack=True)) is not None:
            if message.headers["task"] != "report":
                found.append(message)
    return found


async def _until_logged(lines, action: str, count: int = 1) -> None:
    await asyncio.to_thread(
        wait_for, lambda: len(lines(action)) >= count, limit_s=60, what=f"{count} x {action}"
    )


async def _answer(simulator: Simulator, push_id: str) -> tuple[int | None, Any]:
    await simulator.until(lambda s: any(a.push_id == push_id for a in s.acks), 60)
    return next((a.code, a.data) for a in simulator.acks if a.push_id == push_id)


async def test_a_button_reaches_the_broker_with_who_pressed_it(simulator, each_broker, tmp_path):
    async with running_listener(simulator, tmp_path, broker_url=each_broker.url):
        push = await simulator.push(CARDS, card())
        assert await _answer(simulator, push.push_id) == (200, {"response": {}})

    (task,) = tasks_on(each_broker)
    action = CardAction.from_wire(task.payload[1]["action"])
    assert task.headers["task"] == HANDLE_CARD_ACTION
    assert task.headers["id"] == task_id("ding1", push.push_id)
    assert task.headers["kwargsrepr"] == repr({"message_id": push.push_id})
    assert (action.out_track_id, action.action_ids) == ("track1", ("btn_ok",))
    assert (action.user_id, action.space_id, action.space_type) == (
        "alice", "cidGroup1", "IM_GROUP",
    )  # fmt: skip
    assert action.params == {"reason": SECRET, "count": 2}


async def test_an_event_is_a_success_once_the_broker_has_it(simulator, each_broker, tmp_path):
    async with running_listener(simulator, tmp_path, broker_url=each_broker.url):
        await simulator.raw(event("event1", "push1"))
        code, answer = await _answer(simulator, "push1")

    assert (code, answer["status"]) == (200, "SUCCESS")
    (task,) = tasks_on(each_broker)
    found = OrgEvent.from_wire(task.payload[1]["event"])
    assert (task.headers["task"], task.headers["id"]) == (HANDLE_EVENT, task_id("ding1", "event1"))
    assert (found.event_id, found.event_type, found.corp_id) == (
        "event1", "user_add_org", "dingcorp1",
    )  # fmt: skip
    assert found.born_at is not None
    assert found.born_at.timestamp() == 1767225600
    assert found.data["userId"] == ["u100"]


async def test_an_event_that_is_pushed_again_is_enqueued_once(simulator, tmp_path, lines):
    async with running_listener(simulator, tmp_path):
        await simulator.raw(event("event1", "push1"))
        await _answer(simulator, "push1")
        await simulator.raw(event("event1", "push2"))
        code, answer = await _answer(simulator, "push2")

    assert (code, answer["status"]) == (200, "SUCCESS")
    assert len(tasks_on(Broker.from_url("embedded://", tmp_path))) == 1
    assert len(lines("duplicate_dropped")) == 1


@pytest.mark.parametrize("kind", ["embedded", "redis", "rabbitmq"])
async def test_with_the_broker_away_an_event_is_put_off_and_a_button_is_kept(
    simulator, kind, tmp_path, lines, caplog
):
    with contextlib.closing(MovableBroker(kind, tmp_path)) as movable:
        async with running_listener(simulator, tmp_path, broker_url=movable.url):
            await simulator.raw(event("event0", "push0"))
            await _answer(simulator, "push0")
            await asyncio.to_thread(movable.stop)
            push = await simulator.push(CARDS, card())
            assert await _answer(simulator, push.push_id) == (200, {"response": {}})
            await until_away(caplog)
            await simulator.raw(event("event1", "push1"))
            code, answer = await _answer(simulator, "push1")
            assert (code, answer["status"]) == (500, "LATER")

            await asyncio.to_thread(movable.start)
            await _until_logged(lines, "card_action_enqueued")
            # Not from the disk, but because DingTalk pushes it again.
            again = 2
            while len(lines("event_enqueued")) < 2:
                await simulator.raw(event("event1", f"push{again}"))
                await _answer(simulator, f"push{again}")
                again += 1

        tasks = [t.headers["task"] for t in tasks_on(movable.broker)]
    assert tasks == [HANDLE_EVENT, HANDLE_CARD_ACTION, HANDLE_EVENT]
    assert len(lines("card_action_spooled")) == 1
    assert lines("event_deferred")


async def test_a_broker_that_hangs_holds_up_neither_button_nor_pings(
    simulator, tmp_path, lines, monkeypatch
):
    """DingTalk waits 2 s for a button, and 3 s for an event."""
    stuck = asyncio.Event()

    def hang(self, tasks, confirmed):
        loop.call_soon_threadsafe(stuck.set)
        wait_for(lambda: released, limit_s=100, what="the end of the test")

    loop, released = asyncio.get_running_loop(), list[bool]()
    monkeypatch.setattr("listener.kombu_publisher.EmbeddedPublisher.publish", hang)
    async with running_listener(simulator, tmp_path):
        push = await simulator.push(CARDS, card())
        await stuck.wait()
        await simulator.raw(event("event1", "push1"))
        button = await _answer(simulator, push.push_id)
        code, answer = await _answer(simulator, "push1")
        await _until_logged(lines, "card_action_spooled")
        released.append(True)

    assert button == (200, {"response": {}})
    assert (code, answer["status"]) == (500, "LATER")


async def test_what_was_entered_is_sealed_and_never_logged(simulator, tmp_path, lines, caplog):
    async with running_listener(simulator, tmp_path, envelope_key=KEY):
        push = await simulator.push(CARDS, card())
        await _answer(simulator, push.push_id)
        await simulator.raw(event("event1", "push1"))
        await _answer(simulator, "push1")

    tasks = tasks_on(Broker.from_url("embedded://", tmp_path))
    bodies = [t.payload[1]["action" if "action" in t.payload[1] else "event"] for t in tasks]
    assert len(bodies) == 2
    assert SECRET not in json.dumps(bodies)
    sealer = Sealer.from_setting(KEY)
    assert CardAction.from_wire(sealer.unseal(bodies[0])).params["reason"] == SECRET
    assert OrgEvent.from_wire(sealer.unseal(bodies[1])).data["note"] == SECRET
    assert not any(SECRET in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"userId": "mallory"}, "sender"),
        ({"userIdType": 2}, "sender"),
        ({"spaceId": "cidElsewhere"}, "group"),
    ],
)
async def test_a_button_that_somebody_else_pressed_is_answered_and_forgotten(
    simulator, tmp_path, lines, more, reason
):
    async with running_listener(
        simulator, tmp_path, allowed_users=("alice",), allowed_groups=("cidGroup1",)
    ):
        push = await simulator.push(CARDS, card(**more))
        assert await _answer(simulator, push.push_id) == (200, {"response": {}})

    assert tasks_on(Broker.from_url("embedded://", tmp_path)) == []
    assert [line["reason"] for line in lines("card_action_denied")] == [reason]


async def test_a_group_that_is_not_allowed_is_told_apart_in_the_log(simulator, tmp_path, lines):
    async with running_listener(simulator, tmp_path, allowed_groups=("cidElsewhere",)):
        await simulator.say("hello", group=True)
        await simulator.say("hello")
        await simulator.until(lambda s: len(s.message_acks) == 2, 60)

    assert [line["reason"] for line in lines("message_denied")] == ["group"]
    assert len(lines("message_enqueued")) == 1
