"""Session webhooks over real HTTP: success, expiry, and every failure on demand."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from tests.integration.simulator_bot import RawBot

HELLO = {"msgtype": "text", "text": {"content": "hello"}}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def bot(simulator: Simulator) -> AsyncIterator[RawBot]:
    async with RawBot(simulator.endpoint, reply=None) as connected:
        await simulator.until_connected()
        yield connected


async def webhook(simulator: Simulator, person: str = "alice") -> str:
    return (await simulator.say("hi", person)).session_webhook


async def test_success_is_errcode_zero_and_the_reply_is_recorded(simulator, bot):
    message = await simulator.say("hi")
    answer = await bot.post(message.session_webhook, {**HELLO, "at": {"isAtAll": False}})

    assert answer == {"errcode": 0, "errmsg": "ok"}
    (reply,) = simulator.replies
    assert reply.accepted
    assert reply.conversation == "alice"
    assert reply.body["at"] == {"isAtAll": False}
    assert reply.headers["content-type"] == "application/json"
    assert reply.after_message_ids == [message.message_id]


@pytest.mark.parametrize(
    ("body", "mentioned"),
    [
        ({**HELLO, "at": {"atUserIds": ["bob", "nobody"]}}, ["bob"]),
        ({**HELLO, "at": {"isAtAll": True}}, ["@all"]),
        (
            {
                "msgtype": "markdown",
                "markdown": {"title": "t", "text": "hello @bob"},
                "at": {"atUserIds": ["bob", "alice"]},
            },
            ["bob"],
        ),
        (HELLO, []),
    ],
)
async def test_a_group_sees_who_is_mentioned(simulator, bot, body, mentioned):
    message = await simulator.say("hi", group="Ops room")
    await bot.post(message.session_webhook, body)

    assert simulator.replies[0].mentioned == mentioned


async def test_a_private_chat_sees_no_mention(simulator, bot):
    url = await webhook(simulator)
    await bot.post(url, {**HELLO, "at": {"atUserIds": ["alice"]}})
    assert simulator.replies[0].mentioned == []


async def test_people_can_be_mentioned_by_their_opaque_id(simulator, bot):
    message = await simulator.say("hi", group="Ops room")
    at = {"atDingtalkIds": [message.payload["senderId"], "$:unknown"]}
    await bot.post(message.session_webhook, {**HELLO, "at": at})

    assert simulator.replies[0].mentioned == ["alice"]


async def test_the_errcode_can_be_a_string(simulator, bot):
    await simulator.switch(errcode_as_string=True)

    assert (await bot.post(await webhook(simulator), HELLO))["errcode"] == "0"


async def test_a_session_takes_several_replies(simulator, bot):
    url = await webhook(simulator)

    assert [(await bot.post(url, HELLO))["errcode"] for _ in range(3)] == [0, 0, 0]


async def test_an_expired_or_unknown_session_says_300001_with_status_200(simulator, bot):
    url = await webhook(simulator)
    await simulator.expire_session("alice")
    gone = {"errcode": 300001, "errmsg": "session 不存在"}

    assert await bot.post(url, HELLO) == gone
    assert await bot.post(url[:-4] + "0000", HELLO) == gone
    assert [each.accepted for each in simulator.replies] == [False, False]


async def test_a_session_ends_by_itself(simulator, bot):
    await simulator.switch(session_ttl_s=0.05)
    message = await simulator.say("hi")
    await simulator.until(lambda it: it.world.now_ms() >= message.expires_at_ms)

    assert (await bot.post(message.session_webhook, HELLO))["errcode"] == 300001


async def test_a_new_message_keeps_the_old_webhook_alive(simulator, bot):
    await simulator.switch(session_ttl_s=0.2)
    first = await simulator.say("hi")
    await simulator.switch(session_ttl_s=60)
    second = await simulator.say("still me")
    await simulator.until(lambda it: it.world.now_ms() >= first.expires_at_ms)

    assert second.session_webhook == first.session_webhook
    assert second.expires_at_ms > first.expires_at_ms
    assert (await bot.post(first.session_webhook, HELLO))["errcode"] == 0


async def test_a_session_can_be_for_one_reply_only(simulator, bot):
    await simulator.switch(session_single_use=True)
    url = await webhook(simulator)

    assert [(await bot.post(url, HELLO))["errcode"] for _ in range(2)] == [0, 300001]


@pytest.mark.parametrize("errcode", [-1, 500100, 130101, 410100, 400013, 400102, 430103, 88])
async def test_any_errcode_answers_the_next_replies_on_demand(simulator, bot, errcode):
    url = await webhook(simulator)
    await simulator.fail_replies(2, errcode=errcode, errmsg="as ordered")

    answers = [await bot.post(url, HELLO) for _ in range(3)]
    assert answers[:2] == [{"errcode": errcode, "errmsg": "as ordered"}] * 2
    assert answers[2]["errcode"] == 0
    assert len(simulator.accepted) == 1


async def test_a_fault_can_keep_to_one_conversation_until_healed(simulator, bot):
    alice, bob = await webhook(simulator, "alice"), await webhook(simulator, "bob")
    await simulator.fail_replies(None, "bob", errcode=-1)

    codes = [(await bot.post(url, HELLO))["errcode"] for url in (alice, bob, bob)]
    assert codes == [0, -1, -1]
    await simulator.heal_replies()
    assert (await bot.post(bob, HELLO))["errcode"] == 0


async def test_a_server_error_is_a_page_not_json(simulator, bot):
    url = await webhook(simulator)
    await simulator.fail_replies(status=500)

    async with bot.http.post(url, json=HELLO) as response:
        assert response.status == 500
        assert response.content_type != "application/json"
    assert not simulator.accepted


async def test_a_server_error_can_hide_that_the_reply_arrived(simulator, bot):
    url = await webhook(simulator)
    await simulator.fail_replies(status=502, accept=True)

    async with bot.http.post(url, json=HELLO) as response:
        assert response.status == 502
    assert len(simulator.accepted) == 1


@pytest.mark.parametrize("reached", [True, False])
async def test_a_reset_leaves_open_whether_the_reply_arrived(simulator, bot, reached):
    url = await webhook(simulator)
    await simulator.fail_replies(reset=True, accept=reached)
    with pytest.raises(aiohttp.ClientError):
        await bot.post(url, HELLO)

    assert bool(simulator.accepted) is reached


async def test_a_hanging_webhook_has_taken_the_reply_already(simulator, bot):
    url = await webhook(simulator)
    await simulator.fail_replies(hang_s=60)
    post = asyncio.create_task(bot.post(url, HELLO))
    await simulator.until(lambda it: it.accepted)

    assert not post.done()
    post.cancel()


async def test_twenty_a_minute_then_a_throttle(simulator, bot):
    await simulator.switch(reply_rate_limit=20)
    alice, bob = await webhook(simulator, "alice"), await webhook(simulator, "bob")

    codes = [(await bot.post(alice, HELLO))["errcode"] for _ in range(22)]
    assert codes == [0] * 20 + [130101] * 2
    assert (await bot.post(bob, HELLO))["errcode"] == 0


async def test_a_repeated_msg_uuid_is_shown_once_when_honoured(simulator, bot):
    url = await webhook(simulator)
    reply: dict[str, Any] = {**HELLO, "msgUuid": "one"}
    await bot.post(url, reply)
    await bot.post(url, reply)
    assert len(simulator.accepted) == 2, "not documented for sessions, so off at first"

    await simulator.switch(honour_msg_uuid=True)
    answers = [await bot.post(url, {**HELLO, "msgUuid": "two"}) for _ in range(2)]
    assert [each["errcode"] for each in answers] == [0, 0]
    assert len(simulator.accepted) == 3


async def test_a_gone_session_can_answer_otherwise(simulator, bot):
    await simulator.switch(session_gone_errcode=300005)
    url = simulator.endpoint + "/robot/sendBySession?session=none"

    assert (await bot.post(url, HELLO))["errcode"] == 300005


async def test_a_body_over_the_limit_is_refused_by_its_size(simulator, bot):
    long = {"msgtype": "text", "text": {"content": "x" * 20_000}}

    assert (await bot.post(await webhook(simulator), long))["errcode"] == 460101
