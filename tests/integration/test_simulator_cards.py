"""Cards: made, delivered, streamed into and clicked, by a bot over raw HTTP and WebSocket."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from tests.integration.simulator_bot import BOT_TOPIC, RawBot
from tests.integration.simulator_caller import Caller

CARDS = "/v1.0/card/instances"
BOTH = CARDS + "/createAndDeliver"
STREAM = "/v1.0/card/streaming"
CARD_TOPIC = "/v1.0/card/instances/callback"
SUBSCRIPTIONS = [{"type": "CALLBACK", "topic": each} for each in (BOT_TOPIC, CARD_TOPIC)]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(card_ack_s=60) as running:
        yield running


@pytest.fixture
async def caller(simulator: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(simulator.endpoint) as http:
        logged_in = Caller(http)
        await logged_in.log_in()
        yield logged_in


@pytest.fixture
async def bot(simulator: Simulator) -> AsyncIterator[RawBot]:
    """A bot that takes clicks and leaves the acks to the test."""
    options: dict[str, Any] = {"subscriptions": SUBSCRIPTIONS, "reply": None, "acks": False}
    async with RawBot(simulator.endpoint, **options) as connected:
        await simulator.until_connected()
        yield connected


def card(**changes: Any) -> dict[str, Any]:
    return {
        "cardTemplateId": "a.schema",
        "outTrackId": "card1",
        "callbackType": "STREAM",
        "cardData": {"cardParamMap": {"content": "hello", "status": "open"}},
        "openSpaceId": "dtv1.card//IM_ROBOT.alice",
        "imRobotOpenSpaceModel": {"supportForward": True},
        "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT", "robotCode": "bot"},
        **changes,
    }


def in_group(simulator: Simulator, **changes: Any) -> dict[str, Any]:
    group = simulator.world.group("Ops room").conversation_id
    return card(
        openSpaceId=f"dtv1.card//IM_GROUP.{group}",
        imGroupOpenSpaceModel={"supportForward": True},
        imGroupOpenDeliverModel={"robotCode": "bot"},
        **changes,
    )


def piece(content: str, **changes: Any) -> dict[str, Any]:
    return {
        "outTrackId": "card1",
        "guid": f"guid of {content}",
        "key": "content",
        "content": content,
        "isFull": True,
        "isFinalize": False,
        "isError": False,
        **changes,
    }


async def test_a_card_is_made_and_delivered_in_one_call_or_in_two(simulator, caller):
    status, answer = await caller.call(BOTH, **card())
    (result,) = answer["result"]["deliverResults"]
    assert (status, answer["success"], answer["result"]["outTrackId"]) == (200, True, "card1")
    assert (result["success"], result["spaceType"], result["spaceId"]) == (
        True,
        "IM_ROBOT",
        "alice",
    )

    second = in_group(simulator, outTrackId="card2")
    space = {name: second.pop(name) for name in ("openSpaceId", "imGroupOpenDeliverModel")}
    status, answer = await caller.call(CARDS, **second)
    assert (status, answer) == (200, {"success": True, "result": "card2"})
    assert simulator.cards["card2"].state == "created"
    status, answer = await caller.call(CARDS + "/deliver", outTrackId="card2", **space)
    assert answer["result"][0]["success"]

    group = simulator.world.group("Ops room").conversation_id
    assert simulator.cards["card2"].places == {group: answer["result"][0]["carrierId"]}
    assert simulator.cards["card2"].state == "delivered"


async def test_a_space_that_refuses_is_told_with_http_200(simulator, caller):
    await simulator.switch(card_refusing_spaces=["bob"])
    spaces = ";".join(f"dtv1.card//IM_ROBOT.{each}" for each in ("alice", "bob", "nobody"))
    status, answer = await caller.call(BOTH, **card(openSpaceId=spaces))
    results = answer["result"]["deliverResults"]

    assert (status, answer["success"]) == (200, True)
    assert [each["success"] for each in results] == [True, False, False]
    assert all(each["errorMsg"] and not each["carrierId"] for each in results[1:])
    assert len(simulator.cards["card1"].places) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cardTemplateId": ""}, "param.cardTemplateIdEmpty"),
        ({"cardTemplateId": "b.schema"}, "param.templateNotExist"),
        ({"outTrackId": ""}, "param.outTrackIdEmpty"),
        ({"outTrackId": "x" * 101}, "param.invalid"),
        ({"cardData": {}}, "param.cardPublicDataEmpty"),
        ({"cardData": {"cardParamMap": {"number": 1}}}, "param.invalid"),
        ({"cardData": {"cardParamMap": {"x" * 101: ""}}}, "param.invalid"),
        ({"cardData": {"cardParamMap": {"content": "字" * 400}}}, "param.invalid"),
        ({"openSpaceId": ""}, "param.openSpaceIdEmpty"),
        ({"openSpaceId": "IM_ROBOT.alice"}, "param.openSpaceIdInvalid"),
        ({"openSpaceId": "dtv1.card//IM_MOON.alice"}, "param.openSpaceIdInvalid"),
        ({"imRobotOpenSpaceModel": None}, "param.openSpaceModelInvalid"),
        ({"imRobotOpenDeliverModel": None}, "param.openDeliverModelEmpty"),
        ({"imRobotOpenDeliverModel": {"robotCode": "bot"}}, "param.openDeliverModelError"),
        (
            {"imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT", "robotCode": "other"}},
            "param.openDeliverModelError",
        ),
    ],
)
async def test_a_card_that_cannot_be_is_refused_and_not_kept(simulator, caller, changes, code):
    await simulator.switch(card_templates=["a.schema"], card_value_max=1024)
    status, answer = await caller.call(BOTH, **card(**changes))

    assert (status, answer["code"]) == (400, code)
    assert simulator.cards == {}


async def test_a_name_is_taken_once_and_a_card_is_its_makers(simulator, caller):
    await caller.call(BOTH, **card())
    other = Caller(caller.http, "other")
    await other.log_in()
    data = {"cardParamMap": {"content": "mine"}}

    assert (await caller.call(BOTH, **card()))[1]["code"] == "param.cardAlreadyExist"
    status, answer = await other.call(CARDS, "PUT", outTrackId="card1", cardData=data)
    assert (status, answer["code"]) == (400, "param.cardNotExist")


async def test_an_update_replaces_everything_unless_told_by_key(simulator, caller):
    await caller.call(BOTH, **card())
    data = {"cardParamMap": {"content": "changed"}}
    options = {"updateCardDataByKey": True}
    answer = await caller.call(
        CARDS, "PUT", outTrackId="card1", cardData=data, cardUpdateOptions=options
    )
    assert answer == (200, {"success": True, "result": True})
    assert simulator.cards["card1"].params == {"content": "changed", "status": "open"}

    await caller.call(CARDS, "PUT", outTrackId="card1", cardData=data)
    assert simulator.cards["card1"].params == {"content": "changed"}
    private = {"bob": {"cardParamMap": {"seen": "true"}}}
    await caller.call(CARDS, "PUT", outTrackId="card1", privateData=private)
    assert simulator.cards["card1"].private == {"bob": {"seen": "true"}}
    _, answer = await caller.call(CARDS, "PUT", outTrackId="card1")
    assert answer["code"] == "param.cardDataAndPrivateDataBothEmpty"


async def test_a_text_grows_until_it_is_final(simulator, caller):
    message = await simulator.say("hi")
    message.pushes.append("pushed before")
    await caller.call(BOTH, **card(cardData={"cardParamMap": {"flowStatus": "1"}}))
    await caller.call(STREAM, "PUT", **piece("one"))
    await caller.call(STREAM, "PUT", **piece("one"))
    await caller.call(STREAM, "PUT", **piece(" two", isFull=False))
    known = simulator.cards["card1"]
    assert (known.text, known.state, known.streams) == ("one two", "streaming", 2)
    assert message.answers == []

    await caller.call(STREAM, "PUT", **piece("one two three", isFinalize=True))
    await caller.call(STREAM, "PUT", **piece("from yesterday"))
    assert (known.text, known.state) == ("one two three", "finished")
    assert known.streams_after_end == 1
    assert message.answers == ["one two three"]


async def test_a_text_can_end_in_failure_and_a_card_by_its_status(simulator, caller):
    await caller.call(BOTH, **card(cardData={"cardParamMap": {"flowStatus": "2"}}))
    await caller.call(STREAM, "PUT", **piece("", isError=True))
    assert simulator.cards["card1"].state == "failed"

    await caller.call(BOTH, **card(outTrackId="card2"))
    data = {"cardParamMap": {"flowStatus": "3", "content": "done"}}
    await caller.call(CARDS, "PUT", outTrackId="card2", cardData=data)
    assert simulator.cards["card2"].state == "finished"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": ""}, "keyEmpty"),
        ({"guid": ""}, "guidEmpty"),
        ({"content": ""}, "contentEmpty"),
        ({"content": "x" * 1001}, "content"),
        ({"outTrackId": "card9"}, "outTrackId"),
        ({"isFull": "yes"}, "isFull"),
        ({"isFull": False}, "isFull"),
    ],
)
async def test_a_piece_that_does_not_fit_is_refused(simulator, caller, changes, code):
    await simulator.switch(stream_content_max=1000, stream_full_only=True)
    await caller.call(BOTH, **card())
    status, answer = await caller.call(STREAM, "PUT", **{**piece("one"), **changes})

    assert (status, answer["code"]) == (400, f"param.stream.{code}")


async def test_what_may_not_be_said_may_not_stand_on_a_card(simulator, caller):
    await simulator.switch(banned_words=["rude"])
    refused = await caller.call(BOTH, **card(cardData={"cardParamMap": {"content": "how rude"}}))
    await caller.call(BOTH, **card())
    streamed = await caller.call(STREAM, "PUT", **piece("so rude"))

    assert refused[1]["code"] == streamed[1]["code"] == "param.contentUnsafe"


async def test_cards_have_a_limit_of_their_own(simulator, caller):
    await simulator.switch(card_qps=2)
    await caller.call(BOTH, **card())
    statuses = [(await caller.call(STREAM, "PUT", **piece(f"{n}")))[0] for n in range(3)]

    assert statuses == [200, 200, 403]


async def test_a_click_reaches_the_bot_and_its_ack_changes_the_card(simulator, caller, bot):
    await caller.call(BOTH, **in_group(simulator))
    click = await simulator.click("card1", "approve", "bob", {"number": 7})
    await simulator.until(lambda _: bot.of_topic(CARD_TOPIC))
    (frame,) = bot.of_topic(CARD_TOPIC)
    data = json.loads(frame["data"])

    assert frame["type"] == "CALLBACK"
    assert (data["type"], data["outTrackId"], data["userId"]) == ("actionCallback", "card1", "bob")
    assert (data["spaceType"], data["userIdType"]) == ("IM_GROUP", 1)
    assert json.loads(data["content"]) == {
        "cardPrivateData": {"actionIds": ["approve"], "params": {"number": 7}}
    }
    response = {
        "cardUpdateOptions": {"updateCardDataByKey": True},
        "cardData": {"cardParamMap": {"status": "approved"}},
        "userPrivateData": {"cardParamMap": {"clicked": "true"}},
    }
    await bot.ack(frame, data=json.dumps({"response": response}))
    await simulator.until(lambda _: click.state == "applied")

    assert simulator.cards["card1"].params == {"content": "hello", "status": "approved"}
    assert simulator.cards["card1"].private == {"bob": {"clicked": "true"}}


@pytest.mark.parametrize(
    ("ack", "state"),
    [
        ({"data": '{"response":{}}'}, "unchanged"),
        ({"data": '{"response":null}'}, "malformed"),
        ({"data": "{}", "code": 500}, "refused"),
    ],
)
async def test_an_ack_may_change_nothing(simulator, caller, bot, ack, state):
    await caller.call(BOTH, **card())
    click = await simulator.click("card1", "approve")
    await simulator.until(lambda _: bot.of_topic(CARD_TOPIC))
    await bot.ack(bot.of_topic(CARD_TOPIC)[0], **ack)
    await simulator.until(lambda _: click.state == state)

    assert simulator.cards["card1"].params == {"content": "hello", "status": "open"}


async def test_an_ack_after_its_time_is_late(simulator, caller, bot):
    await simulator.switch(card_ack_s=0.01)
    await caller.call(BOTH, **card())
    click = await simulator.click("card1", "approve")
    await simulator.until(lambda _: click.state == "unanswered" and bot.of_topic(CARD_TOPIC))
    response = {"cardData": {"cardParamMap": {"status": "approved"}}}
    await bot.ack(bot.of_topic(CARD_TOPIC)[0], data=json.dumps({"response": response}))
    await simulator.until(lambda _: click.state == "late")

    assert simulator.cards["card1"].params["status"] == "open"


async def test_a_click_may_come_again_and_may_be_lost(simulator, caller, bot):
    await simulator.switch(redeliver_after_s=0.01)
    await caller.call(BOTH, **card())
    click = await simulator.click("card1", "approve")
    await simulator.until(lambda _: len(bot.of_topic(CARD_TOPIC)) == 2)
    first, second = bot.of_topic(CARD_TOPIC)
    assert first["headers"]["messageId"] != second["headers"]["messageId"]
    assert first["data"] == second["data"]
    assert len(click.pushes) == 2

    await caller.call(BOTH, **card(outTrackId="card2", callbackType="HTTP"))
    assert (await simulator.click("card2")).state == "lost"
    with pytest.raises(ValueError, match="not known"):
        await simulator.click("card3")
