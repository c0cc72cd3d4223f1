"""The WebSocket face: pushes, acks, pings, disconnects, redelivery and its faults."""

import asyncio
import json

import aiohttp
import pytest
import websockets

from dingwire.simulator import Simulator, WaitedTooLongError
from tests.integration.simulator_bot import BOT_TOPIC, RawBot


async def test_a_message_is_pushed_acked_and_answered():
    async with Simulator() as simulator, RawBot(simulator.endpoint) as bot:
        message = await simulator.say("hello", "bob")
        assert await simulator.until_answered(message) == "echo: hello"

        (push,) = bot.of_topic(BOT_TOPIC)
        (ack,) = simulator.message_acks
        assert push["type"] == "CALLBACK"
        assert push["headers"]["connectionId"] == bot.ticket
        assert bot.messages[0]["msgId"] == message.message_id
        assert bot.messages[0]["senderStaffId"] == "bob"
        assert bot.messages[0]["robotCode"] == "bot"
        assert ack.push_id == push["headers"]["messageId"]
        assert ack.code == 200
        assert ack.latency_s is not None
        assert ack.latency_s < 3
        assert message.state == "answered"


async def test_a_refused_push_is_seen_as_such():
    async with Simulator() as simulator, RawBot(simulator.endpoint, code=500, reply=None):
        message = await simulator.say("hello")
        await simulator.until(lambda it: it.message_acks)

        assert message.state == "refused"


async def test_a_message_is_lost_when_nobody_subscribed():
    async with Simulator() as simulator:
        alone = await simulator.say("anybody?")
        async with RawBot(simulator.endpoint, subscriptions=[{"type": "EVENT", "topic": "*"}]):
            await simulator.until_connected()
            unheard = await simulator.say("hello?")

            assert simulator.lost == [alone, unheard]


async def test_a_message_waits_for_a_connection_when_switched():
    async with Simulator(queue_until_connected=True) as simulator:
        message = await simulator.say("later")
        assert message.state == "queued"
        async with RawBot(simulator.endpoint):
            assert await simulator.until_answered(message) == "echo: later"


async def test_a_push_goes_to_one_connection_only():
    async with (
        Simulator(distribution="round_robin") as simulator,
        RawBot(simulator.endpoint) as one,
        RawBot(simulator.endpoint) as other,
    ):
        await simulator.until_connected(2)
        for number in range(10):
            await simulator.say(str(number))
        await simulator.until(lambda it: len(it.accepted) == 10)

        assert (len(one.messages), len(other.messages)) == (5, 5)


async def test_messages_can_be_meant_for_one_bot():
    async with (
        Simulator() as simulator,
        RawBot(simulator.endpoint, client_id="one") as one,
        RawBot(simulator.endpoint, client_id="other") as other,
    ):
        await simulator.until_connected(2)
        for client_id in ("one", "other"):
            await simulator.say("same", group="Ops room", to=client_id, msgId="msgSame==")
        await simulator.until(lambda it: len(it.message_acks) == 2)

        (to_one,), (to_other,) = one.messages, other.messages
        assert to_one["msgId"] == to_other["msgId"] == "msgSame=="
        assert (to_one["robotCode"], to_other["robotCode"]) == ("one", "other")


async def test_pings_come_and_their_opaque_must_come_back():
    async with (
        Simulator(ping_first_s=0.01, ping_every_s=0.05) as simulator,
        RawBot(simulator.endpoint, acks=False) as bot,
    ):
        await simulator.until(lambda _: len(bot.of_topic("ping")) >= 2)
        right, wrong = bot.of_topic("ping")[:2]
        assert "opaque" in json.loads(right["data"])
        await bot.ack(right)
        await bot.ack(wrong, data='{"opaque":"another"}')
        await simulator.until(lambda it: len(it.acks) == 2)

        assert [each.data_matches for each in simulator.acks] == [True, False]


async def test_a_client_that_ignores_pings_is_cut_when_switched():
    async with (
        Simulator(ping_first_s=0.01, ping_every_s=0.02, ping_misses_before_drop=2) as simulator,
        RawBot(simulator.endpoint, acks=False) as bot,
    ):
        await simulator.until(lambda it: it.connections and it.connections[0].state == "closed")

        assert len(bot.of_topic("ping")) == 2


async def test_a_disconnect_stops_pushes_at_once_and_cuts_later_without_a_close_frame():
    async with (
        Simulator(disconnect_close_s=0.1) as simulator,
        RawBot(simulator.endpoint) as bot,
    ):
        await simulator.until_connected()
        await simulator.disconnect()
        late = await simulator.say("too late")
        assert late.state == "lost"
        assert len(simulator.live_connections) == 1, "the cut comes later"
        await simulator.until(lambda it: not it.live_connections)
        await bot.reading

        (frame,) = bot.of_topic("disconnect")
        assert json.loads(frame["data"]) == {"reason": "persistent connection is timeout"}
        assert "connectionId" not in frame["headers"]
        assert bot.socket.close_code in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)


async def test_connections_are_recycled_on_schedule_with_a_close_frame_when_switched():
    async with (
        Simulator(
            disconnect_after_s=0.02,
            disconnect_close_s=0.02,
            disconnect_close_code=1001,
            disconnect_frame=False,
        ) as simulator,
        RawBot(simulator.endpoint) as bot,
    ):
        await simulator.until(lambda it: it.connections and not it.live_connections)
        await bot.reading

        assert bot.socket.close_code == 1001
        assert bot.of_topic("disconnect") == []


async def test_an_unacked_message_comes_again_under_a_new_push_id():
    async with (
        Simulator(redeliver_after_s=0.05, redeliver_times=2) as simulator,
        RawBot(simulator.endpoint, acks=False, reply=None) as bot,
    ):
        await simulator.until_connected()
        message = await simulator.say("hello")
        await simulator.until(lambda _: len(bot.messages) == 3)

        assert {each["msgId"] for each in bot.messages} == {message.message_id}
        assert len({each["headers"]["messageId"] for each in bot.of_topic(BOT_TOPIC)}) == 3


async def test_an_acked_message_does_not_come_again():
    async with (
        Simulator(redeliver_after_s=0.05) as simulator,
        RawBot(simulator.endpoint, reply=None) as bot,
    ):
        await simulator.until_connected()
        await simulator.say("hello")
        with pytest.raises(WaitedTooLongError):
            await simulator.until(lambda _: len(bot.messages) > 1, timeout_s=0.3)


async def test_an_acked_message_can_come_again_all_the_same():
    async with (
        Simulator(redeliver_after_s=0.05, redeliver_acked=True) as simulator,
        RawBot(simulator.endpoint, reply=None) as bot,
    ):
        await simulator.until_connected()
        message = await simulator.say("hello")
        await simulator.until(lambda it: len(it.message_acks) == 2)

        assert [each["msgId"] for each in bot.messages] == [message.message_id] * 2


@pytest.mark.parametrize("how", ["switched", "half_open"])
async def test_a_connection_can_stop_answering_websocket_pings(how):
    async with Simulator(ticket_reuse=True) as simulator, RawBot(simulator.endpoint) as bot:
        await bot.socket.close()
        await simulator.until(lambda it: not it.live_connections)
        uri = f"ws://{simulator.webhook_host}/connect?ticket={bot.ticket}"
        async with websockets.connect(uri, ping_interval=None) as socket:
            await (await socket.ping())
            if how == "switched":
                await simulator.switch(answer_ws_pings=False)
            else:
                await simulator.set_connection("half_open")
            pong = await socket.ping()
            message = await simulator.say("hello")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pong, 0.3)

            assert simulator.live_connections, "the socket stays open"
            assert message.state == ("pushed" if how == "switched" else "lost")


async def test_a_mute_connection_pings_and_delivers_nothing():
    async with (
        Simulator(ping_first_s=0.05, ping_every_s=0.05) as simulator,
        RawBot(simulator.endpoint) as bot,
    ):
        await simulator.until_connected()
        await simulator.set_connection("mute")
        await simulator.say("hello")
        await simulator.until(lambda _: bot.of_topic("ping"))

        assert bot.messages == []


async def test_a_drop_ends_the_connection_without_a_word():
    async with Simulator() as simulator, RawBot(simulator.endpoint) as bot:
        await simulator.until_connected()
        await simulator.drop(bot.ticket)
        await simulator.until(lambda it: not it.live_connections)

        assert simulator.connections[0].state == "closed"


async def test_any_frame_can_be_sent_as_it_is():
    async with Simulator() as simulator, RawBot(simulator.endpoint) as bot:
        await simulator.until_connected()
        assert await simulator.raw("{not json") == 1
        await simulator.raw(b"\x00\xff")
        await simulator.raw("x" * 1_000_000)
        await simulator.until(lambda _: len(bot.raw) >= 3)

        assert [each.type for each in bot.raw[:2]] == [
            aiohttp.WSMsgType.TEXT,
            aiohttp.WSMsgType.BINARY,
        ]
        assert bot.raw[0].data == "{not json"
        assert len(bot.raw[2].data) == 1_000_000


async def test_payload_members_can_be_replaced_removed_or_all_be_rubbish():
    async with Simulator() as simulator, RawBot(simulator.endpoint, reply=None) as bot:
        await simulator.until_connected()
        await simulator.say("a", sessionWebhookExpiredTime=None, omit=["robotCode", "senderId"])
        await simulator.say("b", raw_data="{broken")
        await simulator.until(lambda _: len(bot.of_topic(BOT_TOPIC)) == 2)

        first, second = bot.of_topic(BOT_TOPIC)
        payload = json.loads(first["data"])
        assert payload["sessionWebhookExpiredTime"] is None
        assert not {"robotCode", "senderId"} & set(payload)
        assert second["data"] == "{broken"


async def test_frames_of_other_topics_can_be_pushed():
    async with Simulator() as simulator, RawBot(simulator.endpoint, reply=None) as bot:
        await simulator.until_connected()
        await simulator.push("/v1.0/card/instances/callback", '{"outTrackId":"1"}')
        await simulator.until(lambda it: it.acks)

        assert bot.of_topic("/v1.0/card/instances/callback")[0]["type"] == "CALLBACK"
        assert simulator.acks[0].kind == "other"


async def test_rubbish_from_a_client_is_recorded_and_harmless():
    async with Simulator() as simulator, RawBot(simulator.endpoint) as bot:
        await bot.socket.send_str("rubbish")
        await bot.socket.send_json({"code": 200, "headers": {"messageId": "never sent"}})
        message = await simulator.say("still there?")
        await simulator.until_answered(message)

        assert [each.kind for each in simulator.acks[:2]] == ["malformed", "unknown"]


async def test_a_burst_in_many_conversations_is_answered_message_by_message():
    async with Simulator() as simulator, RawBot(simulator.endpoint):
        await simulator.until_connected()
        messages = [
            await simulator.say(f"m{number}", f"p{number % 20}", f"g{number % 7}")
            for number in range(500)
        ]
        await simulator.until(lambda it: len(it.accepted) == 500)

        assert [each.answers for each in messages] == [[f"echo: m{n}"] for n in range(500)]
        assert {each.code for each in simulator.message_acks} == {200}
