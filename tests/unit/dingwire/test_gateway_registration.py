"""Asking for a ticket, and what each refusal means."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from dingwire.errors import (
    CredentialsRefusedError,
    GatewayError,
    GatewayRefusedError,
    GatewayUnavailableError,
)
from dingwire.gateway import Registration, register
from dingwire.http import new_session
from tests.servers import free_port
from tests.unit.dingwire.local_server import LocalServer, Told

SECRET = "top-secret-of-this-app"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
GOOD = {"endpoint": "wss://wss.example:443/connect", "ticket": "t/1 +2"}


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with new_session("tests/1") as made:
        yield made


def ask(session: requests.Session, url: str, timeout_s: float = 2) -> Registration:
    return register(
        session,
        endpoint=url,
        client_id="dingsampleapp",
        client_secret=SECRET,
        user_agent="celery-dingtalk/0",
        timeout_s=timeout_s,
        clock=lambda: NOW,
    )


def refusal(session: requests.Session, server: LocalServer) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(session, server.url)
    assert SECRET not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_a_registration_asks_for_json_and_names_what_it_wants(session, server):
    server.answers(GOOD)

    ask(session, server.url)

    (post,) = server.seen
    assert post.path == "/v1.0/gateway/connections/open"
    assert post.headers["Accept"] == "application/json"
    assert post.headers["User-Agent"] == "celery-dingtalk/0"
    assert post.body["clientId"] == "dingsampleapp"
    assert post.body["clientSecret"] == SECRET
    assert post.body["ua"] == "celery-dingtalk/0"
    assert isinstance(post.body["localIp"], str)
    assert {"type": "CALLBACK", "topic": "/v1.0/im/bot/messages/get"} in post.body["subscriptions"]


def test_the_address_to_connect_to_carries_the_ticket_encoded(session, server):
    server.answers(GOOD)

    registration = ask(session, server.url)

    assert registration.url == "wss://wss.example:443/connect?ticket=t%2F1+%2B2"
    assert "t/1" not in repr(registration)


def test_an_endpoint_that_has_a_query_keeps_it():
    assert Registration("wss://a/connect?x=1", "t").url == "wss://a/connect?x=1&ticket=t"


@pytest.mark.parametrize(
    ("theirs", "least_s", "most_s"),
    [(timedelta(minutes=10), 599, 601), (timedelta(minutes=-10), -601, -599)],
)
def test_the_clock_offset_is_dingtalks_minus_ours(session, server, theirs, least_s, most_s):
    server.answers(GOOD, headers={"Date": format_datetime(NOW + theirs, usegmt=True)})

    assert least_s <= ask(session, server.url).clock_offset.total_seconds() <= most_s


@pytest.mark.parametrize("seconds", [-1, 0, 0.9])
def test_an_offset_below_the_headers_resolution_is_none(session, server, seconds):
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    server.answers(GOOD, headers={"Date": date})

    assert ask(session, server.url).clock_offset == timedelta(0)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Jan 2026 12:00:00 GMT"])
def test_an_unreadable_date_is_no_offset(session, server, date):
    server.answers(GOOD, headers={"Date": date})

    assert ask(session, server.url).clock_offset == timedelta(0)


def test_the_offset_is_measured_at_the_middle_of_the_request(session, server):
    """A slow answer is not taken for a slow clock."""
    times = iter([NOW, NOW + timedelta(seconds=8)])
    date = format_datetime(NOW + timedelta(seconds=4), usegmt=True)
    server.answers(GOOD, headers={"Date": date})

    registration = register(
        session,
        endpoint=server.url,
        client_id="a",
        client_secret="b",
        user_agent="c",
        clock=lambda: next(times),
    )

    assert registration.clock_offset == timedelta(0)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"requestid": "r", "code": "authFailed", "message": "鉴权失败"}),
        (401, "<html></html>"),
        (400, {"code": "authFailed"}),
    ],
)
def test_wrong_credentials_are_said_plainly(session, server, status, body):
    server.answers(body, status=status)

    error = refusal(session, server)

    assert type(error) is CredentialsRefusedError
    assert "DINGTALK_CLIENT_SECRET" in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>hello</html>"),
        (200, "[]"),
        (200, {}),
        (200, {"endpoint": "wss://a/connect"}),
        (200, {"ticket": "t"}),
        (200, {"endpoint": None, "ticket": None}),
        (200, {"endpoint": "https://a/connect", "ticket": "t"}),
        (302, ""),
        (400, "<html>plain HTTP request was sent to HTTPS port</html>"),
        (400, {}),
        (403, "<html>banned</html>"),
        (403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "message": "slow"}),
        (429, {"code": "system.busy"}),
        (500, {"code": "whatever"}),
        (503, "<html></html>"),
        (504, {"code": "service.timeout"}),
    ],
)
def test_what_a_later_attempt_may_get_past_is_unavailable(session, server, status, body):
    server.answers(body, status=status)

    assert type(refusal(session, server)) is GatewayUnavailableError


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [
        (Told(503, "", {"Retry-After": "30"}), 30),
        (Told(503, ""), None),
        (Told(503, "", {"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}), None),
        (Told(403, {"code": "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"}), 60),
        (Told(200, {"status": 1111, "wait": 5, "punish": "deny"}), 300),
    ],
)
def test_a_wait_dingtalk_asks_for_is_passed_on(session, server, told, wait_s):
    server.default = told

    error = refusal(session, server)

    assert isinstance(error, GatewayUnavailableError)
    assert error.retry_after_s == wait_s


def test_another_no_keeps_its_code_and_words_but_not_the_secret(session, server):
    server.answers(
        {"code": "invalidParameter", "message": f"clientSecret {SECRET} is odd"}, status=400
    )

    error = refusal(session, server)

    assert isinstance(error, GatewayRefusedError)
    assert (error.status, error.code) == (400, "invalidParameter")
    assert error.message == "clientSecret *** is odd"


def test_an_address_not_on_the_white_list_is_a_no(session, server):
    server.answers({"code": "Forbidden.AccessDenied.IpNotInWhiteList"}, status=403)

    assert isinstance(refusal(session, server), GatewayRefusedError)


def test_nobody_listening_is_unavailable(session):
    with pytest.raises(GatewayUnavailableError, match="no connection"):
        ask(session, f"http://127.0.0.1:{free_port()}")


def test_silence_ends_with_the_time_limit(session, server):
    server.default = Told(hangs=True)

    with pytest.raises(GatewayUnavailableError, match="no answer within the time limit"):
        ask(session, server.url, timeout_s=0.2)


def test_an_address_that_is_none_is_unavailable(session):
    with pytest.raises(GatewayUnavailableError, match="address not usable"):
        ask(session, "nonsense")
