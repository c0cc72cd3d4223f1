"""The control API, and the facade for tests without an event loop."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator, SimulatorThread, WaitedTooLongError
from tests.integration.simulator_bot import BOT_TOPIC, RawBot

FAULT_LISTS = ("reply_faults", "api_faults", "registration_faults")


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


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("null", 403), ("http://[", 403), ("http://localhost:1", 400)],
    ids=["another site", "no site", "odd", "this machine"],
)
async def test_other_sites_pages_cannot_play_a_bot_under_a_name_that_leads_here(
    http, origin, status
):
    path, headers = "/v1.0/gateway/connections/open", {"Host": "evil.example", "Origin": origin}
    async with http.post(path, json={}, headers=headers) as response:
        assert response.status == status


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


async def test_a_message_is_pushed_again_with_a_new_push_id(simulator, http):
    async with RawBot(simulator.endpoint) as bot:
        await simulator.until_connected()
        said = await control(http, "say", text="hello", wait=True)
        again = await control(http, "redeliver", message=said["message"]["message_id"])
        await simulator.until(lambda it: len(it.message_acks) == 2)

    first, second = bot.of_topic(BOT_TOPIC)
    assert again["pushes"] == [second["headers"]["messageId"]]
    assert first["headers"]["messageId"] != second["headers"]["messageId"]
    assert first["data"] == second["data"]
    assert "error" in await control(http, "redeliver", message="nonsense")


async def test_one_order_brings_everything_back_to_normal(simulator, http):
    async with RawBot(simulator.endpoint):
        await simulator.until_connected()
        await control(http, "faults", reply_delay_s=3, pushes="none")
        await control(http, "replies", times=None, errcode=130101)
        await control(http, "api", times=None, kind="busy")
        await control(http, "registrations", modes=["qps"])
        await control(http, "connections", state="half_open")
        troubled = await state(http)
        await simulator.say("lost")
        healed = await control(http, "heal")

    assert [len(troubled[name]) for name in FAULT_LISTS] == [1, 1, 1]
    assert troubled["faults"] != troubled["normal"]
    assert [healed[name] for name in FAULT_LISTS] == [[], [], []]
    assert healed["faults"] == healed["normal"]
    assert [each["state"] for each in healed["connections"]] == ["open"]
    assert healed["counters"]["messages"] == 1


async def test_state_says_what_each_switch_takes(http):
    known = await state(http)

    assert known["switches"].keys() == known["faults"].keys()
    assert known["switches"]["session_ttl_s"] == {"kind": "seconds"}
    assert known["switches"]["pushes"] == {"kind": "choice", "choices": ["all", "none", "private"]}
    kinds = {each["kind"] for each in known["switches"].values()}
    assert kinds == {"flag", "seconds", "number", "choice", "text", "list"}


async def test_the_wire_is_recorded_both_ways_without_secrets(simulator, http):
    async with RawBot(simulator.endpoint) as bot:
        await simulator.until_connected()
        said = await control(http, "say", text="hello", wait=True)
        await simulator.until(lambda it: it.message_acks)
        async with http.post("/v1.0/nonsense", json={}) as unknown:
            assert unknown.status == 404
        async with http.get("/control/records?kind=wire") as response:
            text = await response.text()

    noted = json.loads(text)["wire"]
    by_title = {each["title"]: each for each in noted}
    opened = by_title["POST /v1.0/gateway/connections/open"]
    assert (opened["kind"], opened["status"]) == ("registration", 200)
    assert opened["request"]["clientSecret"] == "…"
    push, ack = by_title[f"CALLBACK {BOT_TOPIC}"], by_title[f"ACK {BOT_TOPIC}"]
    assert (push["way"], ack["way"], ack["status"]) == ("out", "in", 200)
    assert push["message_id"] == ack["message_id"] == said["message"]["message_id"]
    assert json.loads(push["request"]["data"])["text"]["content"] == "hello"
    (reply,) = [each for each in noted if each["kind"] == "webhook"]
    assert reply["request"]["text"]["content"] == "echo: hello"
    assert reply["response"] == {"errcode": 0, "errmsg": "ok"}
    assert by_title["POST /v1.0/nonsense"]["status"] == 404
    assert bot.ticket not in json.dumps(opened)
    assert bot.messages[0]["sessionWebhook"] not in text


@pytest.mark.parametrize(
    ("body", "content_type", "kept"),
    [
        (b"\xff{", "application/json", "\ufffd{"),
        (b"{}", "application/json; charset=no-such", "{}"),
        (b"x" * 300_000, "application/json", "application/json, 300000 bytes"),
    ],
    ids=["no UTF-8", "unknown charset", "too long"],
)
async def test_the_record_of_the_wire_changes_no_answer(simulator, http, body, content_type, kept):
    message = await simulator.say("hi")
    headers = {"Content-Type": content_type}
    async with http.post(message.session_webhook, data=body, headers=headers) as response:
        assert response.status == 200
        assert (await response.json())["errcode"] in (40035, 460101)

    shown = simulator.world.wire.exchanges[-1].shown()["request"]
    assert shown == ({} if kept == "{}" else kept)


async def test_half_an_emoji_ends_neither_the_feed_nor_the_records(simulator, http):
    async with RawBot(simulator.endpoint):
        await simulator.until_connected()
        said = await control(http, "say", text="half \ud83d", wait=True)
        async with http.get("/control/records?kind=messages") as response:
            records = await response.json()
        lines = list[str]()
        async with http.get("/control/events") as feed:
            async for line in feed.content:
                lines.append(line.decode())
                if lines[-1].startswith("event: ready"):
                    break

    assert said["message"]["state"] == "answered"
    assert records["messages"][0]["text"] == "half \ud83d"
    assert any("half \\ud83d" in line for line in lines)


async def test_records_since_no_number_are_refused(http):
    async with http.get("/control/records?kind=messages&since=yesterday") as response:
        assert response.status == 400
