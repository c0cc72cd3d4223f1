"""Access tokens and proactive sends over real HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator

PEOPLE = "/v1.0/robot/oToMessages/batchSend"
GROUP = "/v1.0/robot/groupMessages/send"


class Caller:
    """Calls the API as a bot does."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.token = ""

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        async with self._http.post(path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def log_in(self, secret: str = "secret") -> tuple[int, Any]:
        body = {"appKey": "bot", "appSecret": secret}
        status, answer = await self.post("/v1.0/oauth2/accessToken", body)
        self.token = answer.get("accessToken", self.token)
        return status, answer

    async def send(self, path: str, text: str = "hello", **members: Any) -> tuple[int, Any]:
        body = {
            "robotCode": "bot",
            "msgKey": "sampleText",
            "msgParam": json.dumps({"content": text}),
            **members,
        }
        return await self.post(path, body, **{"x-acs-dingtalk-access-token": self.token})


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(client_id="bot", client_secret="secret") as running:
        yield running


@pytest.fixture
async def caller(simulator: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(simulator.endpoint) as http:
        logged_in = Caller(http)
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
        ({"msgParam": '{"title":"no content"}'}, "invalidParameter.param.invalid"),
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
