"""Emotions on messages, as bots set them while they think."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from dingwire.simulator.records import Message
from tests.integration.simulator_caller import Caller

REPLY = "/v1.0/robot/emotion/reply"
RECALL = "/v1.0/robot/emotion/recall"
NAME = "🤔思考中"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def caller(simulator: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(simulator.endpoint) as http:
        logged_in = Caller(http)
        await logged_in.log_in()
        yield logged_in


def emotion(message: Message, **changes: Any) -> dict[str, Any]:
    shown = {"emotionId": "2659900", "emotionName": NAME, "text": NAME, "backgroundId": "im_bg_1"}
    return {
        "robotCode": "bot",
        "openMsgId": message.message_id,
        "openConversationId": message.conversation_id,
        "emotionType": 2,
        "emotionName": NAME,
        "textEmotion": shown,
        **changes,
    }


@pytest.mark.parametrize("group", [None, "Ops room"])
async def test_an_emotion_stands_on_its_message_until_it_is_recalled(simulator, caller, group):
    message = await simulator.say("think!", group=group)
    assert await caller.call(REPLY, **emotion(message)) == (200, {"success": True})
    assert message.reactions == [NAME]
    assert await caller.call(RECALL, **emotion(message)) == (200, {"success": True})

    assert message.reactions == []
    assert [(each.action, each.accepted) for each in simulator.reactions] == [
        ("reply", True),
        ("recall", True),
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"robotCode": "other"}, "invalidParameter.robotCode.auth"),
        ({"openMsgId": "msgNone=="}, "invalidParameter.openMsgId.invalid"),
        ({"openConversationId": "cidOther"}, "invalidParameter.openMsgId.invalid"),
        ({"textEmotion": None}, "invalidParameter.param.invalid"),
        ({"emotionName": "(╯°□°)╯"}, "invalidParameter.param.invalid"),
    ],
)
async def test_what_does_not_fit_is_refused(simulator, caller, changes, code):
    await simulator.switch(emotion_names=[NAME])
    message = await simulator.say("think!")
    status, answer = await caller.call(REPLY, **emotion(message, **changes))

    assert (status, answer["code"]) == (400, code)
    assert (message.reactions, simulator.reactions[0].code) == ([], code)


async def test_a_message_may_not_be_ready_when_its_emotion_comes(simulator, caller):
    await simulator.switch(emotion_race=2)
    message = await simulator.say("think!")
    statuses = [(await caller.call(REPLY, **emotion(message)))[0] for _ in range(3)]
    recalled = [(await caller.call(RECALL, **emotion(message)))[0] for _ in range(3)]

    assert statuses == recalled == [500, 500, 200]
