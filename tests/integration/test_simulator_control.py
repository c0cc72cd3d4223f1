"""The control API, and the facade for tests without an event loop."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator, SimulatorThread, WaitedTooLongError
from tests.integration.simulator_bot import RawBot


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(simulator.endpoint) as session:
        yield session


async def control(http: aiohttp.ClientSession, verb: str, **body: Any) -> Any:
    async with http.post(f"/control/{verb}", json=body) as response:
        return await response.json()


async def state(http: aiohttp.ClientSession) -> Any:
    async with http.get("/control/state") as response:
        return await response.json()


async def test_say_waits_for_the_reply_when_asked(simulator, http):
    async with RawBot(simulator.endpoint):
        await simulator.until_connected()
        said = await control(http, "say", text="hello", person="bob", group="Ops room", wait=True)

    assert said["reply"] == "echo: hello"
    assert said["message"]["state"] == "answered"
    assert said["message"]["is_group"]


async def test_say_tells_when_no_reply_came(http):
    said = await control(http, "say", text="anybody?", wait=True, timeout_s=0.05)

    assert said["reply"] is None
    assert "waited 0.05 s" in said["error"]
    assert said["message"]["state"] == "lost"


async def test_state_and_records_tell_what_happened(simulator, http):
    async with RawBot(simulator.endpoint):
        await simulator.until_connected()
        await control(http, "say", text="one", person="alice", wait=True)
        await control(http, "say", text="two", person="bob", wait=True)
        await simulator.until(lambda it: len(it.message_acks) == 2)
        seen = await state(http)
        async with http.get("/control/records?kind=replies&conversation=bob") as response:
            records = await response.json()

    assert seen["simulator"] == "dingtalk"
    assert seen["connections"][0]["client_id"] == "bot"
    assert seen["counters"]["accepted"] == 2
    assert [each["text"] for each in records["replies"]] == ["echo: two"]


async def test_every_fault_can_be_ordered_over_http(simulator, http):
    async with RawBot(simulator.endpoint) as bot:
        await simulator.until_connected()
        assert (await control(http, "faults", ping_every_s=5))["ping_every_s"] == 5.0
        await control(http, "replies", times=1, errcode=-1)
        await control(http, "registrations", modes=["unavailable"])
        await control(http, "say", text="hello")
        await control(http, "raw", frame={"type": "SYSTEM", "headers": {"topic": "KEEPALIVE"}})
        await control(http, "raw", hex="00ff")
        await simulator.until(lambda it: it.replies and len(bot.raw) >= 3)
        await control(http, "connections", state="mute")
        await control(http, "expire", conversation="alice")
        await control(http, "disconnect")
        assert (await state(http))["connections"][0]["state"] == "draining"
        await control(http, "drop")
        await simulator.until(lambda it: not it.live_connections)

    assert simulator.replies[0].errcode == -1
    session = simulator.world.private_chat("alice").session
    assert session is not None
    assert not simulator.world.is_alive(session)


async def test_reset_returns_to_the_first_day(simulator, http):
    await control(http, "faults", ping_every_s=5)
    await control(http, "say", text="hello", person="newcomer")
    after = await control(http, "reset")

    assert after["counters"]["messages"] == 0
    assert after["faults"]["ping_every_s"] == 30.0
    assert "newcomer" not in [each["staff_id"] for each in after["people"]]


@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("say", {}, "'text' is missing"),
        ("say", {"text": "x", "conversation": "cidNowhere"}, "conversation is not known"),
        ("faults", {"colour": "red"}, "no switch named colour"),
        ("registrations", {"modes": ["moody"]}, "registration is one of"),
        ("connections", {"state": "sad"}, "not 'sad'"),
    ],
)
async def test_a_wrong_order_is_a_400_that_says_why(http, verb, body, says):
    async with http.post(f"/control/{verb}", json=body) as response:
        assert response.status == 400
        assert says in (await response.json())["error"]


async def test_other_sites_pages_cannot_drive_it(http):
    async with http.post("/control/say", data='{"text":"x"}') as response:
        assert response.status == 400
    async with http.get("/control/state", headers={"Host": "evil.example"}) as response:
        assert response.status == 403


def test_the_thread_serves_tests_without_a_loop():
    with SimulatorThread(ping_every_s=0) as simulator:
        message = simulator.say("anybody?", group=True)

        assert (message.state, message.conversation) == ("lost", "Ops room")
        assert simulator.lost == [message]
        assert simulator.faults.ping_every_s == 0
        with pytest.raises(WaitedTooLongError, match="a bot"):
            simulator.until(lambda it: it.live_connections, timeout_s=0.05, what="a bot")
        with pytest.raises(OSError, match="in use"):
            SimulatorThread(port=simulator.port).start()
