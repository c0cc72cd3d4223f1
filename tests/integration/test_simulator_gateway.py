"""Registration and tickets, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingwire.simulator import Simulator
from tests.integration.simulator_bot import OPEN, RawBot, registration


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def opened(http: aiohttp.ClientSession, simulator: Simulator, **more: Any) -> Any:
    async with http.post(simulator.endpoint + OPEN, json=registration(**more)) as response:
        return await response.json()


async def upgrade_status(http: aiohttp.ClientSession, answer: dict[str, str]) -> int:
    try:
        socket = await http.ws_connect(f"{answer['endpoint']}?ticket={answer['ticket']}")
    except aiohttp.WSServerHandshakeError as refused:
        return refused.status
    await socket.close()
    return 101


async def test_a_registration_answers_with_our_address_and_a_ticket(http):
    async with Simulator() as simulator:
        answer = await opened(http, simulator)

    assert answer["endpoint"] == f"ws://{simulator.webhook_host}/connect"
    assert simulator.registrations[0].ticket == answer["ticket"]
    assert simulator.registrations[0].body["clientId"] == "bot"


async def test_a_ticket_opens_one_connection_only(http):
    async with Simulator() as simulator:
        answer = await opened(http, simulator)

        assert await upgrade_status(http, answer) == 101
        assert await upgrade_status(http, answer) == 401
        assert simulator.tickets_seen == [answer["ticket"]] * 2
        await simulator.switch(ticket_reuse=True)
        assert await upgrade_status(http, answer) == 101


async def test_an_old_or_invented_ticket_is_refused_with_the_status_asked_for(http):
    async with Simulator(ticket_ttl_s=0.01, ticket_reject_status=403) as simulator:
        answer = await opened(http, simulator)
        await asyncio.sleep(0.02)

        assert await upgrade_status(http, answer) == 403
        assert await upgrade_status(http, {**answer, "ticket": "invented"}) == 403


async def test_a_wrong_secret_is_401_with_the_lower_case_requestid(http):
    async with Simulator(client_id="bot", client_secret="right") as simulator:
        url = simulator.endpoint + OPEN
        async with http.post(url, json=registration(clientSecret="wrong")) as response:
            status, body = response.status, await response.json()
        async with http.post(url, json=registration(clientSecret="right")) as response:
            assert response.status == 200

    assert status == 401
    assert body["code"] == "authFailed"
    assert body["requestid"]


@pytest.mark.parametrize("body", ["[]", "{", '{"clientId":"a","clientSecret":"b"}'])
async def test_a_malformed_registration_is_400(http, body):
    async with (
        Simulator() as simulator,
        http.post(simulator.endpoint + OPEN, data=body) as response,
    ):
        assert response.status == 400
        assert (await response.json())["code"].startswith("invalidParameter")


@pytest.mark.parametrize(
    ("mode", "status", "content_type"),
    [
        ("auth_failed", 401, "application/json"),
        ("bad_request", 400, "application/json"),
        ("bad_request_html", 400, "text/html"),
        ("qps", 403, "application/json"),
        ("unavailable", 503, "text/html"),
    ],
)
async def test_every_bad_day_of_the_gateway_can_be_ordered(http, mode, status, content_type):
    async with Simulator() as simulator:
        await simulator.fail_registrations(mode)
        async with http.post(simulator.endpoint + OPEN, json=registration()) as response:
            assert response.status == status
            assert response.content_type == content_type
        answer = await opened(http, simulator)

    assert "ticket" in answer, "only the ordered registration fails"
    assert [each.status for each in simulator.registrations] == [status, 200]


async def test_a_200_can_lack_a_field(http):
    async with Simulator(registration="no_ticket") as simulator:
        assert set(await opened(http, simulator)) == {"endpoint"}


async def test_without_the_accept_header_the_answer_is_xml_when_switched(http):
    async with Simulator(xml_without_accept=True) as simulator:
        async with http.post(simulator.endpoint + OPEN, json=registration()) as response:
            assert response.content_type == "application/xml"
        headers = {"Accept": "application/json"}
        url = simulator.endpoint + OPEN
        async with http.post(url, json=registration(), headers=headers) as response:
            assert response.content_type == "application/json"


async def test_the_date_header_shows_the_simulators_own_clock(http):
    async with (
        Simulator(clock_skew_s=-31_536_000) as simulator,
        http.post(simulator.endpoint + OPEN, json=registration()) as response,
    ):
        assert str(simulator.world.now().year) in response.headers["Date"]
        assert response.headers["Date"].endswith("GMT")


async def test_a_stop_leaves_the_port_free_even_with_clients_connected():
    async with Simulator() as first, RawBot(first.endpoint):
        await first.until_connected()
        await first.stop()
        async with Simulator(port=first.port) as second:
            assert second.port == first.port
