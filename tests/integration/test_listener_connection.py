"""The listener keeps its connection, whatever DingTalk does to it."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest

from contract.broker import Broker
from dingwire.errors import GatewayUnavailableError
from dingwire.simulator import Simulator
from listener.connection import Stream
from listener.gate import Gate
from listener.link import Push
from tests.integration.stream_place import ack_at_once, running_stream
from tests.listening import envelopes_on, running_listener
from tests.servers import wait_for


@pytest.fixture
async def simulator():
    async with Simulator(ping_first_s=0.02) as simulator:
        yield simulator


@pytest.fixture
def said(caplog):
    """Return the log lines of an action about the connection to DingTalk."""
    caplog.set_level(logging.INFO)
    return lambda action: [
        r
        for r in caplog.records
        if getattr(r, "action", "") == action and getattr(r, "peer", "dingtalk") == "dingtalk"
    ]


def _pings_answered(simulator: Simulator) -> int:
    return sum(ack.kind == "ping" and ack.data_matches is True for ack in simulator.acks)


async def _acked(simulator: Simulator, count: int) -> None:
    await simulator.until(lambda s: len(s.message_acks) >= count, what=f"{count} acks")


async def test_a_message_is_acknowledged_and_on_the_broker(simulator, tmp_path, said):
    async with running_listener(simulator, tmp_path):
        private = await simulator.say("hello")
        group = await simulator.say("hello all", group=True)
        await _acked(simulator, 2)

    assert [ack.code for ack in simulator.message_acks] == [200, 200]
    envelopes = envelopes_on(Broker.from_url("embedded://", tmp_path))
    assert [(e.message_id, e.conversation, e.text) for e in envelopes] == [
        (private.message_id, "private", "hello"),
        (group.message_id, "group", "hello all"),
    ]
    assert envelopes[0].session_webhook == private.session_webhook
    first = said("message_enqueued")[0]
    assert first.message_id == private.message_id
    assert first.conversation_id == private.conversation_id
    assert first.queue == "messages"
    assert first.ack_ms >= 0


async def test_every_reconnect_asks_for_a_fresh_ticket(simulator, tmp_path):
    """A ticket opens one connection only, so a used one is never offered again."""
    async with running_listener(simulator, tmp_path):
        for count in (2, 3, 4):
            await simulator.drop()
            await simulator.until(lambda s, n=count: len(s.connections) >= n)

    assert len(simulator.tickets_seen) >= 4
    assert len(set(simulator.tickets_seen)) == len(simulator.tickets_seen)


async def test_told_to_disconnect_it_has_the_new_connection_before_the_old_is_gone(
    simulator, tmp_path
):
    async with running_listener(simulator, tmp_path, delays=[30]):
        await simulator.until(_pings_answered)
        await simulator.disconnect()
        await simulator.until_connected(2)

        states = sorted(c.state for c in simulator.live_connections)
        await simulator.say("after the move")
        await _acked(simulator, 1)

    assert states == ["draining", "open"]
    assert simulator.lost == []


async def test_an_ack_that_waits_goes_out_on_the_old_connection(simulator, tmp_path):
    """It was pushed there, and DingTalk keeps that socket for ten seconds more."""
    async with running_listener(simulator, tmp_path):
        await simulator.until(_pings_answered)
        message = await simulator.say("hello")
        await simulator.disconnect()
        await _acked(simulator, 1)

    assert simulator.message_acks[0].message_id == message.message_id


async def test_a_gateway_that_sends_everybody_away_at_once_is_not_stormed(tmp_path):
    async with (
        Simulator(ping_first_s=0.01, disconnect_after_s=0.05) as simulator,
        running_listener(simulator, tmp_path, delays=[0.3]),
    ):
        started = time.monotonic()
        await simulator.until(lambda s: len(s.registrations) >= 4)

    assert time.monotonic() - started > 0.5, "only the first move is at once"


async def test_refused_credentials_are_said_plainly_and_asked_again(tmp_path, said):
    async with (
        Simulator(client_id="ding1", client_secret="right") as simulator,
        running_listener(simulator, tmp_path, connected=False),
    ):
        await simulator.until(lambda s: len(s.registrations) >= 3)

    assert {r.status for r in simulator.registrations} == {401}
    line = said("reconnecting")[0]
    assert line.levelno == logging.ERROR
    assert "DINGTALK_CLIENT_SECRET" in line.getMessage()
    assert "s3cret" not in str([vars(r) for r in said("reconnecting")])


async def test_refused_credentials_are_asked_for_slowly(tmp_path, said):
    async with (
        Simulator(client_id="ding1", client_secret="right") as simulator,
        running_listener(simulator, tmp_path, refused_delay_s=60, connected=False),
    ):
        await asyncio.to_thread(wait_for, lambda: said("reconnecting"), what="a refused attempt")

    assert said("reconnecting")[0].delay_s == 60
    assert len(simulator.registrations) == 1


@pytest.mark.parametrize(
    "mode", ["bad_request", "bad_request_html", "unavailable", "no_endpoint", "no_ticket"]
)
async def test_it_connects_after_any_failed_registration(tmp_path, mode):
    async with Simulator() as simulator:
        await simulator.fail_registrations(mode, mode)
        async with running_listener(simulator, tmp_path):
            await simulator.say("hello")
            await _acked(simulator, 1)

    assert len(simulator.registrations) >= 3


async def test_a_gateway_that_says_when_to_come_back_is_obeyed(said):
    def register():
        raise GatewayUnavailableError("HTTP 429", retry_after_s=42)

    stream = Stream(Gate(register), _take_nothing, delays=[0])
    running = asyncio.create_task(stream.run())
    await asyncio.to_thread(wait_for, lambda: said("reconnecting"), what="a failed attempt")
    running.cancel()

    assert said("reconnecting")[0].delay_s == 42


async def _take_nothing(push: Push, clock_offset: timedelta) -> None:
    raise AssertionError("nothing is pushed here")


async def test_a_ticket_that_is_refused_is_replaced(tmp_path, said):
    async with (
        Simulator(ticket_ttl_s=0.0001, ticket_reject_status=403) as simulator,
        running_listener(simulator, tmp_path, connected=False),
    ):
        await simulator.until(lambda s: len(s.tickets_seen) >= 2)
        await simulator.switch(ticket_ttl_s=90)
        await simulator.until_connected()

    assert len(set(simulator.tickets_seen)) == len(simulator.tickets_seen)
    assert "HTTP 403" in said("reconnecting")[0].reason
    assert simulator.tickets_seen[0] not in str([vars(r) for r in said("reconnecting")])


async def test_pings_are_answered_while_messages_are_in_hand(simulator):
    release = asyncio.Event()

    async def take(push, clock_offset):
        await release.wait()

    await simulator.switch(ping_every_s=0.1)
    async with running_stream(simulator, take):
        for number in range(50):
            await simulator.say(f"hello {number}")
        await simulator.until(lambda s: _pings_answered(s) >= 3)
        release.set()


async def test_a_message_pushed_twice_is_acknowledged_twice_and_enqueued_once(
    simulator, tmp_path, said
):
    async with running_listener(simulator, tmp_path):
        await simulator.say("hello", msgId="msg1")
        await _acked(simulator, 1)
        await simulator.say("hello", msgId="msg1")
        await _acked(simulator, 2)

    assert [ack.code for ack in simulator.message_acks] == [200, 200]
    assert len(envelopes_on(Broker.from_url("embedded://", tmp_path))) == 1
    assert said("duplicate_dropped")[0].message_id == "msg1"


async def test_one_message_to_two_bots_is_two_messages(simulator, tmp_path):
    async with running_listener(simulator, tmp_path):
        await simulator.say("hello both", msgId="msg1", robotCode="one")
        await simulator.say("hello both", msgId="msg1", robotCode="two")
        await _acked(simulator, 2)

    envelopes = envelopes_on(Broker.from_url("embedded://", tmp_path))
    assert [e.bot for e in envelopes] == ["one", "two"]


async def test_the_denied_are_acknowledged_and_logged_and_not_enqueued(simulator, tmp_path, said):
    async with running_listener(simulator, tmp_path, allowed_users=("bob",)):
        denied = await simulator.say("let me in", person="alice")
        await simulator.say("no staff id", person="bob", omit=["senderStaffId"])
        await simulator.say("hello", person="bob")
        await _acked(simulator, 3)

    assert {ack.code for ack in simulator.message_acks} == {200}
    envelopes = envelopes_on(Broker.from_url("embedded://", tmp_path))
    assert [e.text for e in envelopes] == ["hello"]
    line = said("message_denied")[0]
    assert (line.message_id, line.sender_staff_id) == (denied.message_id, "alice")
    assert "let me in" not in str(vars(line))


async def test_without_a_list_everybody_is_denied(simulator, tmp_path):
    async with running_listener(simulator, tmp_path, allowed_users=()):
        await simulator.say("hello")
        await _acked(simulator, 1)

    assert envelopes_on(Broker.from_url("embedded://", tmp_path)) == []


async def test_dingtalks_clock_goes_with_the_message(tmp_path):
    async with (
        Simulator(clock_skew_s=300) as simulator,
        running_listener(simulator, tmp_path),
    ):
        await simulator.say("hello")
        await _acked(simulator, 1)

    envelope = envelopes_on(Broker.from_url("embedded://", tmp_path))[0]
    assert envelope.clock_offset_s == pytest.approx(300, abs=3)
    assert envelope.created_at is not None
    on_dingtalks_clock = envelope.received_at.timestamp() + envelope.clock_offset_s
    assert on_dingtalks_clock == pytest.approx(envelope.created_at.timestamp(), abs=5)


async def test_no_more_is_read_than_may_be_in_hand(simulator, monkeypatch):
    """The rest waits in the socket, and is read as answers go out."""
    monkeypatch.setattr("listener.link.MAX_IN_HAND", 5)
    taken: list[asyncio.Future[str]] = []

    async def take(push: Push, clock_offset: timedelta) -> str:
        taken.append(asyncio.get_running_loop().create_future())
        await taken[-1]
        return await ack_at_once(push, clock_offset)

    async with running_stream(simulator, take):
        for number in range(12):
            await simulator.say(f"hello {number}")
        for held in (5, 6, 7):
            await asyncio.to_thread(wait_for, lambda: len(taken) >= held, what="it to be read")  # noqa: B023
            assert len(taken) == held
            taken[held - 5].set_result("")
        await simulator.until(lambda s: len(s.message_acks) == 3)
        for number in range(3, 12):
            await asyncio.to_thread(wait_for, lambda: len(taken) > number, what="the next")  # noqa: B023
            taken[number].set_result("")
        await simulator.until(lambda s: len(s.message_acks) == 12)
