"""Events of the organisation, and messages to several bots."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from tests.integration.simulator_bot import BOT_TOPIC, RawBot
from tests.integration.simulator_caller import Caller

EVENTS = [{"type": "EVENT", "topic": "*"}]
DELEGATE = "/v1.0/im/bot/messages/delegate"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(event_retry_s=0.01, event_ack_s=60) as running:
        yield running


@pytest.fixture
async def bot(simulator: Simulator) -> AsyncIterator[RawBot]:
    """A bot that takes events and leaves the acks to the test."""
    async with RawBot(simulator.endpoint, subscriptions=EVENTS, acks=False) as connected:
        await simulator.until_connected()
        yield connected


async def test_an_event_says_what_happened_in_its_headers(simulator, bot):
    event = await simulator.push_event("user_add_org", {"userId": ["u100"]})
    await simulator.until(lambda _: bot.of_topic("*"))
    (frame,) = bot.of_topic("*")
    await bot.ack(frame, data='{"status":"SUCCESS","message":"ok"}')
    await simulator.until(lambda _: event.state == "done")

    headers = frame["headers"]
    assert (frame["type"], headers["eventType"]) == ("EVENT", "user_add_org")
    assert headers["eventId"] == event.event_id
    assert headers["eventBornTime"] == str(event.born_at_ms)
    assert headers["eventCorpId"]
    assert headers["eventUnifiedAppId"]
    assert json.loads(frame["data"]) == {"userId": ["u100"]}


@pytest.mark.parametrize(
    "ack", [{"data": '{"status":"LATER"}'}, {"code": 500, "data": '{"status":"LATER"}'}, None]
)
async def test_an_event_comes_again_until_it_is_taken(simulator, bot, ack):
    if ack is None:
        await simulator.switch(event_ack_s=0.05)
    event = await simulator.push_event("user_add_org")
    await simulator.until(lambda _: bot.of_topic("*"))
    if ack is not None:
        await bot.ack(bot.of_topic("*")[0], **ack)
    await simulator.until(lambda _: len(bot.of_topic("*")) >= 2)
    first, second = bot.of_topic("*")[:2]
    await bot.ack(second, data='{"status":"SUCCESS"}')
    await simulator.until(lambda _: event.state == "done")

    assert first["headers"]["eventId"] == second["headers"]["eventId"]
    assert first["headers"]["messageId"] != second["headers"]["messageId"]


async def test_an_event_nobody_takes_is_given_up(simulator):
    event = await simulator.push_event("user_add_org", "not even json")
    await simulator.until(lambda _: event.state == "given_up")

    assert event.attempts == 3
    assert event.pushes == []


async def test_a_bot_that_stands_in_for_somebody_has_a_topic_of_its_own(simulator):
    subscriptions = [{"type": "CALLBACK", "topic": DELEGATE}]
    async with RawBot(simulator.endpoint, subscriptions=subscriptions, reply=None) as bot:
        await simulator.until_connected()
        message = await simulator.say("are you there?", delegate="bob")
        await simulator.until(lambda _: message.state == "acked")

        assert bot.messages[0]["hostingContext"] == {"userId": "bob", "nick": "Bob"}


async def test_two_bots_that_are_mentioned_get_one_message_each(simulator):
    async with (
        RawBot(simulator.endpoint, client_id="one", reply=lambda text: f"one: {text}") as one,
        RawBot(simulator.endpoint, client_id="two", reply=lambda text: f"two: {text}") as two,
    ):
        await simulator.until_connected(2)
        message = await simulator.say("@one @two hi", group=True, to=["one", "two"])
        await simulator.until(lambda _: len(message.answers) == 2)
        (first,), (second,) = one.messages, two.messages

    assert first["msgId"] == second["msgId"] == message.message_id
    assert (first["robotCode"], second["robotCode"]) == ("one", "two")
    assert first["sessionWebhook"] != second["sessionWebhook"]
    mentioned = [each["dingtalkId"] for each in first["atUsers"]]
    assert mentioned == [first["chatbotUserId"], second["chatbotUserId"]]
    assert set(message.answers) == {"one: hi", "two: hi"}
    assert {each.robot for each in simulator.accepted} == {"one", "two"}


async def test_each_bot_has_its_private_chats_and_its_token(simulator):
    async with RawBot(simulator.endpoint, client_id="two", reply=None) as bot:
        await simulator.until_connected()
        with_two = await simulator.say("hi", to="two")
        await simulator.until(lambda _: bot.messages)
        assert (await simulator.say("hi", to="one")).state == "lost"
    async with aiohttp.ClientSession(simulator.endpoint) as http:
        one, two = Caller(http, "one"), Caller(http, "two")
        await one.log_in()
        await two.log_in()
        body: dict[str, Any] = {
            "robotCode": "two",
            "userIds": ["alice"],
            "msgKey": "sampleText",
            "msgParam": '{"content":"unasked"}',
        }
        path = "/v1.0/robot/oToMessages/batchSend"
        assert (await one.call(path, **body))[1]["code"] == "invalidParameter.robotCode.auth"
        assert (await two.call(path, **body))[0] == 200

    assert one.token != two.token
    assert with_two.answers == ["unasked"]
    with pytest.raises(ValueError, match="group"):
        await simulator.say("hi", to=["one", "two"])


async def test_a_message_comes_again_only_to_the_bot_that_did_not_take_it(simulator):
    await simulator.switch(redeliver_after_s=1)
    async with (
        RawBot(simulator.endpoint, client_id="one", reply=None) as one,
        RawBot(simulator.endpoint, client_id="two", reply=None, acks=False) as two,
    ):
        await simulator.until_connected(2)
        await simulator.say("hi", group=True, to=["one", "two"])
        await simulator.until(lambda _: len(two.of_topic(BOT_TOPIC)) == 2)

        assert len(one.of_topic(BOT_TOPIC)) == 1
