"""What the simulated DingTalk is asked, and how its answers are put into words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dingwire.gateway import measured_offset
from dingwire.probe import DINGTALK, Bot, Finding, about_dingtalk, about_webhooks, send_test
from dingwire.simulator import SimulatorThread
from tests.servers import free_port
from tests.unit.dingwire.local_server import Told

CLIENT_ID, SECRET = "dingprobe", "hush-4d19"


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread(client_id=CLIENT_ID, client_secret=SECRET) as running:
        yield running


def now() -> datetime:
    return datetime.now(UTC)


def bot(endpoint: str, client_id: str = CLIENT_ID, secret: str = SECRET) -> Bot:
    return Bot(endpoint, client_id, secret, now)


def findings(about: Bot, *, deep: bool = False, with_permission: bool = False):
    found = dict(about_dingtalk(about, deep=deep, with_permission=with_permission))
    assert tuple(found) == (*DINGTALK, *(["proactive"] if with_permission else []))
    for finding in found.values():
        if SECRET in about.client_secret:
            assert SECRET not in f"{finding}"
    return found


def test_where_all_is_well_nothing_happens_but_questions(simulator):
    found = findings(bot(simulator.endpoint), with_permission=True)

    assert [found[name].status for name in ("api", "credentials", "clock")] == ["ok"] * 3
    assert found["stream"].status == "skip"
    assert "takes messages from the listener" in found["stream"].reason
    assert found["proactive"].status == "ok"
    assert simulator.registrations == simulator.connections == []
    assert not any(send.accepted for send in simulator.proactive)
    assert SECRET not in repr(bot(simulator.endpoint))


def test_deep_opens_a_connection_and_closes_it(simulator):
    found = findings(bot(simulator.endpoint), deep=True)

    assert found["stream"].status == "ok"
    simulator.until(lambda s: s.connections and not s.live_connections, what="a closed connection")
    assert len(simulator.connections) == 1


def test_an_api_that_is_not_there_is_one_failure_and_the_rest_is_skipped():
    port = free_port()
    found = findings(bot(f"http://127.0.0.1:{port}"), deep=True, with_permission=True)

    assert found["api"].status == "FAIL"
    assert f"cannot connect to 127.0.0.1:{port}: connection refused" in found["api"].reason
    assert {finding.status for name, finding in found.items() if name != "api"} == {"skip"}


def test_credentials_that_are_missing_are_said_without_an_api_too():
    found = findings(bot(f"http://127.0.0.1:{free_port()}", client_id=""))
    assert found["credentials"].reason.startswith("DINGTALK_CLIENT_ID is not set")


@pytest.mark.parametrize(
    ("client_id", "secret", "words"),
    [
        (CLIENT_ID, "wrong", "refused DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET (invalid"),
        ("ding-other", SECRET, "refused DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET (invalid"),
        (CLIENT_ID, f"{SECRET} ", "DingTalk refused DINGTALK_CLIENT_SECRET (invalid"),
        ("", "", "DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET are not set"),
    ],
)
def test_wrong_credentials_are_named(simulator, client_id, secret, words):
    found = findings(bot(simulator.endpoint, client_id, secret), deep=True, with_permission=True)

    assert found["credentials"].status == "FAIL"
    assert words in found["credentials"].reason
    assert found["credentials"].fix
    assert found["clock"].status == "ok"
    assert (found["stream"].status, found["proactive"].status) == ("skip", "skip")


@pytest.mark.parametrize(
    ("token", "words"),
    [("ip_refused", "lets this machine's address not in"), ("unavailable", "gave no access token")],
)
def test_other_refusals_of_a_token_are_told_apart(simulator, token, words):
    simulator.switch(token=token)
    found = findings(bot(simulator.endpoint))
    assert found["credentials"].status == "FAIL"
    assert words in found["credentials"].reason


@pytest.mark.parametrize(
    ("code", "variable"),
    [("invalidClientId", "DINGTALK_CLIENT_ID"), ("invalidSecret", "DINGTALK_CLIENT_SECRET")],
)
def test_a_code_that_names_one_credential_is_believed(server, code, variable):
    server.default = Told(400, {"code": code, "message": "no"})
    found = findings(bot(server.url))
    assert f"DingTalk refused {variable} ({code})" in found["credentials"].reason


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (Told(404, "<html>nothing here</html>"), 404),
        (Told(405, {"error": "method not allowed"}), 405),
        (Told(401, "who are you?"), 401),
        (Told(302, ""), 302),
        (Told(200, "<html>welcome</html>"), 200),
    ],
)
def test_a_server_that_is_not_dingtalk_is_not_taken_for_wrong_credentials(server, told, status):
    server.default = told

    credentials = findings(bot(server.url))["credentials"]

    host = server.url.removeprefix("http://")
    assert credentials.status == "FAIL"
    assert credentials.reason == f"what answers at {host} is not DingTalk (HTTP {status})"
    assert credentials.fix == "look at DINGTALK_OPENAPI_ENDPOINT, or a proxy between"


def test_a_page_instead_of_a_ticket_leads_to_the_address_as_well(server):
    server.by_path["/v1.0/oauth2/accessToken"] = [Told(200, {"accessToken": "a", "expireIn": 7200})]
    server.default = Told(404, "<html>nothing here</html>")
    stream = findings(bot(server.url), deep=True)["stream"]
    assert "DINGTALK_OPENAPI_ENDPOINT" in stream.fix


@pytest.mark.parametrize(
    ("skew_s", "status", "words"),
    [
        (0, "ok", "off DingTalk's"),
        (8, "warn", "8 s behind DingTalk's"),
        (-20, "warn", "20 s ahead of DingTalk's"),
        (300, "FAIL", "300 s behind DingTalk's"),
    ],
)
def test_a_clock_that_is_off_is_measured(simulator, skew_s, status, words):
    simulator.switch(clock_skew_s=skew_s)

    clock = findings(bot(simulator.endpoint))["clock"]

    assert clock.status == status
    # The Date header counts whole seconds.
    near = [words.replace(str(abs(skew_s)), str(abs(skew_s) + more)) for more in (-1, 0, 1)]
    assert any(each in clock.reason for each in near)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("auth_failed", "refused DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET"),
        ("stream_off", "the robot is not in Stream mode, or the app is not published"),
        ("unavailable", "gives no ticket: HTTP 503"),
    ],
)
def test_why_there_is_no_ticket(simulator, mode, words):
    simulator.switch(registration=mode)
    stream = findings(bot(simulator.endpoint), deep=True)["stream"]
    assert stream.status == "FAIL"
    assert words in stream.reason


def test_a_websocket_that_cannot_be_reached_or_is_refused_is_told_apart(simulator):
    port = free_port()
    simulator.switch(stream_url=f"ws://127.0.0.1:{port}/connect")
    closed = findings(bot(simulator.endpoint), deep=True)["stream"]
    simulator.switch(stream_url="", ticket_ttl_s=0, ticket_reject_status=403)
    refused = findings(bot(simulator.endpoint), deep=True)["stream"]

    assert closed.status == refused.status == "FAIL"
    assert f"no WebSocket: cannot connect to 127.0.0.1:{port}: connection refused" in closed.reason
    assert "refused the WebSocket: HTTP 403" in refused.reason
    assert "ticket=" not in f"{closed}{refused}"


@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [
        ("permission", "FAIL", "lacks the API permission qyapi_robot_sendmsg"),
        ("count_limit", "FAIL", "the month's API calls are used up"),
        ("qps", "warn", "QpsLimit"),
    ],
)
def test_whether_proactive_messages_are_permitted(simulator, mode, status, words):
    simulator.switch(proactive=mode)
    found = findings(bot(simulator.endpoint), with_permission=True)["proactive"]
    assert found.status == status
    assert words in found.reason


def test_one_message_is_sent_when_that_is_wanted(simulator):
    found = send_test(bot(simulator.endpoint), "alice", "a test")

    assert found == Finding("ok", "DingTalk took the message to alice; is it there?")
    (sent,) = simulator.proactive
    assert sent.accepted
    assert "test" in sent.text


@pytest.mark.parametrize(
    ("who", "mode", "words"),
    [
        ("nobody-there", "ok", "invalidStaffIdList"),
        ("alice", "permission", "lacks the API permission"),
        ("alice", "qps", "QpsLimit"),
    ],
)
def test_what_dingtalk_says_to_a_test_message_is_said(simulator, who, mode, words):
    simulator.switch(proactive=mode)
    found = send_test(bot(simulator.endpoint), who, "a test")
    assert found.status == "FAIL"
    assert words in found.reason


def test_a_test_message_needs_credentials():
    assert send_test(bot("http://127.0.0.1:1", client_id=""), "alice", "a test").status == "FAIL"


def test_webhook_hosts_are_gone_to(simulator):
    there = about_webhooks([simulator.webhook_host])
    gone = about_webhooks([simulator.webhook_host, f"127.0.0.1:{free_port()}"])

    assert (there.status, there.reason) == ("ok", simulator.webhook_host)
    assert gone.status == "FAIL"
    assert "replies cannot be posted: cannot connect to 127.0.0.1" in gone.reason
    assert about_webhooks([]).status == "FAIL"


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_there_is_no_offset(date):
    assert measured_offset(date, now()) is None


def test_offsets_are_taken_from_our_own_clock(simulator):
    ahead = Bot(simulator.endpoint, CLIENT_ID, SECRET, lambda: now() + timedelta(seconds=60))
    assert "ahead of DingTalk's" in findings(ahead)["clock"].reason
