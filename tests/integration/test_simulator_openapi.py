"""Access tokens and proactive sends over real HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from tests.integration.simulator_caller import Caller

PEOPLE = "/v1.0/robot/oToMessages/batchSend"
GROUP = "/v1.0/robot/groupMessages/send"


class Sender(Caller):
    """A caller that sends messages."""

    async def send(self, path: str, text: str = "hello", **members: Any) -> tuple[int, Any]:
        body = {
            "robotCode": "bot",
            "msgKey": "sampleText",
            "msgParam": json.dumps({"content": text}),
            **members,
        }
        return await self.call(path, **body)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(client_id="bot", client_secret="secret") as running:
        yield running


@pytest.fixture
async def caller(simulator: Simulator) -> AsyncIterator[Sender]:
    async with aiohttp.ClientSession(simulator.endpoint) as http:
        logged_in = Sender(http)
        await logged_in.log_in()
        yield logged_in


async def test_the_token_stays_the_same_while_it_is_valid(simulator, caller):
    first = caller.token
    assert await caller.log_in() == (200, {"accessToken": first, "expireIn": 7200})
    await simulator.invalidate_tokens()
    await caller.log_in()

    assert caller.token != first
    assert simulator.token_calls == 3


async def test_a_wrong_secret_gets_no_token(caller):
    status, answer = await caller.log_in("wrong")

    assert (status, answer["code"]) == (400, "invalidClientIdOrSecret")


async def test_an_invalidated_token_is_refused(simulator, caller):
    await simulator.invalidate_tokens()
    status, answer = await caller.send(PEOPLE, userIds=["alice"])

    assert (status, answer["code"]) == (400, "InvalidAuthentication")
    assert simulator.proactive[0].code == "InvalidAuthentication"


async def test_the_other_ways_to_a_token_work_too(simulator, caller):
    body = {"client_id": "bot", "client_secret": "secret", "grant_type": "client_credentials"}
    status, answer = await caller.post("/v1.0/oauth2/dingcorp/token", body)
    assert (status, answer) == (200, {"access_token": caller.token, "expires_in": 7200})
    status, answer = await caller.post("/v1.0/oauth2/dingcorp/token", {"client_id": "bot"})
    assert (status, answer["code"]) == (400, "unsupported.grant.type")
    async with caller.http.get("/gettoken?appkey=bot&appsecret=wrong") as response:
        assert (await response.json())["errcode"] == 40089
    async with caller.http.get("/gettoken?appkey=bot&appsecret=secret") as response:
        caller.token = (await response.json())["access_token"]
    assert (await caller.send(PEOPLE, userIds=["alice"]))[0] == 200


async def test_calls_are_limited_per_second_and_per_month(simulator, caller):
    await simulator.switch(api_qps=2)
    codes = [(await caller.send(PEOPLE, userIds=["alice"]))[1].get("code") for _ in range(3)]
    assert codes == [None, None, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"]

    await simulator.switch(api_qps=0, api_quota=3)
    codes = [(await caller.send(PEOPLE, userIds=["alice"]))[1].get("code") for _ in range(2)]
    assert codes == [None, "Forbidden.AccessDenied.ApiCountLimitForOrg"]

    await simulator.switch(api_quota=0, api_qpm=3)
    _, answer = await caller.send(PEOPLE, userIds=["alice"])
    assert answer["code"] == "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"
    assert [each.code == "ok" for each in simulator.api_calls].count(True) == 3


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("qpm", 403, "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"),
        ("ip_refused", 403, "Forbidden.AccessDenied.IpNotInWhiteList"),
        ("busy", 429, "system.busy"),
        ("system_error", 500, "system.error"),
        ("timeout", 504, "service.timeout"),
    ],
)
async def test_each_error_can_be_ordered_for_an_api(simulator, caller, kind, status, code):
    await simulator.fail_api(GROUP, kind=kind)
    assert (await caller.send(PEOPLE, userIds=["alice"]))[0] == 200
    refused, answer = await caller.send(GROUP, openConversationId="cid")

    assert (refused, answer["code"]) == (status, code)


async def test_what_may_not_be_said_is_not_sent(simulator, caller):
    await simulator.switch(banned_words=["rude"], unsafe_links=["evil.example"])
    texts = ("how rude", "see evil.example", "fine")
    codes = [(await caller.send(PEOPLE, each, userIds=["bob"]))[1].get("code") for each in texts]

    assert codes == ["contain.notAllowed.text", "contain.unsafe.url", None]


async def test_a_token_can_end_before_its_time_for_one_call(simulator, caller):
    old = caller.token
    await simulator.fail_api(PEOPLE, kind="token")
    status, answer = await caller.send(PEOPLE, userIds=["alice"])
    await caller.log_in()

    assert (status, answer["code"]) == (400, "InvalidAuthentication")
    assert caller.token != old
    assert (await caller.send(PEOPLE, userIds=["alice"]))[0] == 200


async def test_a_call_may_take_effect_although_its_caller_never_learns(simulator, caller):
    await simulator.fail_api(PEOPLE, reset=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.send(PEOPLE, userIds=["alice"])
    await simulator.fail_api(PEOPLE, status=500, code="system.error", accept=True)
    assert (await caller.send(PEOPLE, userIds=["alice"]))[0] == 500

    assert [each.accepted for each in simulator.proactive] == [True, True]


async def test_a_message_to_people_names_who_did_not_get_it(simulator, caller):
    await simulator.switch(flow_controlled=["bob"])
    status, answer = await caller.send(PEOPLE, userIds=["alice", "bob", "nobody"])

    assert status == 200
    assert answer["invalidStaffIdList"] == ["nobody"]
    assert answer["flowControlledStaffIdList"] == ["bob"]
    (sent,) = simulator.proactive
    alice = simulator.world.private_chat("alice").conversation_id
    assert (sent.conversation_ids, sent.text, sent.accepted) == ([alice], "hello", True)


async def test_a_message_to_a_group_needs_its_conversation_id(simulator, caller):
    group = simulator.world.group("Ops room").conversation_id
    status, answer = await caller.send(GROUP, openConversationId=group)
    assert status == 200
    assert answer["processQueryKey"]

    status, answer = await caller.send(GROUP, openConversationId="cidNowhere")
    assert (status, answer["code"]) == (400, "invalid.openConversationId")


async def test_a_rescued_answer_counts_as_the_answer(simulator, caller):
    await simulator.switch(queue_until_connected=True)
    message = await simulator.say("hi", "alice")
    message.pushes.append("pushed before")
    await caller.send(PEOPLE, "late but here", userIds=["alice"])

    assert message.answers == ["late but here"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"userIds": []}, "invalidParameter.userIds.empty"),
        ({"userIds": ["a"] * 21}, "invalidParameter.userIds.overMax"),
        ({"robotCode": "other"}, "invalidParameter.robotCode.auth"),
        ({"msgKey": "sampleDance"}, "invalidParameter.msgKey.invalid"),
        ({"msgParam": {"content": "an object"}}, "invalidParameter.msgParam.invalid"),
        ({"msgParam": "not json"}, "invalidParameter.msgParam.invalid"),
        ({"msgParam": '{"title":"no content"}'}, "miss.param.contentOfText"),
        (
            {"msgParam": json.dumps({"content": "字" * 5001}, ensure_ascii=False)},
            "invalidParameter.msgParam.tooLong",
        ),
    ],
)
async def test_each_mistake_has_its_code(caller, members, code):
    status, answer = await caller.send(PEOPLE, **{"userIds": ["alice"], **members})

    assert (status, answer["code"]) == (400, code)
    assert answer["requestid"]


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("permission", "AccessTokenPermissionDenied"),
        ("qps", "QpsLimitForAppkeyAndApi"),
        ("count_limit", "ApiCountLimitForOrg"),
    ],
)
async def test_permission_and_quota_are_both_403_and_differ_by_code(simulator, caller, mode, code):
    await simulator.switch(proactive=mode)
    status, answer = await caller.send(PEOPLE, userIds=["alice"])

    assert (status, answer["code"]) == (403, f"Forbidden.AccessDenied.{code}")
    assert not simulator.proactive[0].accepted
