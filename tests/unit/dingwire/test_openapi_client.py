"""Messages sent without being asked, and the token they need."""

import json
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dingwire.errors import (
    OpenApiError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
)
from dingwire.openapi import OpenApiClient
from dingwire.replies import Markdown, Text
from dingwire.tokens import Token
from tests.unit.dingwire.local_server import LocalServer, Told

SECRET = "top-secret-of-this-app"
TOKEN = "token-of-the-day"
TOKEN_PATH = "/v1.0/oauth2/accessToken"
USER_PATH = "/v1.0/robot/oToMessages/batchSend"
GROUP_PATH = "/v1.0/robot/groupMessages/send"
SENT = {"processQueryKey": "key-1", "invalidStaffIdList": [], "flowControlledStaffIdList": []}
HELLO = Text(content="hello")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(server: LocalServer, clock: Clock) -> Iterator[OpenApiClient]:
    server.answers_at(TOKEN_PATH, Told(200, {"accessToken": TOKEN, "expireIn": 7200}))
    server.answers_at(USER_PATH, Told(200, SENT))
    server.answers_at(GROUP_PATH, Told(200, {"processQueryKey": "key-2"}))
    made = client_of(server, clock)
    yield made
    made.close()


def client_of(server: LocalServer, clock: Clock, **more: Any) -> OpenApiClient:
    facts: dict[str, Any] = {"timeout_s": (1, 1)}
    return OpenApiClient(
        endpoint=server.url,
        client_id="dingsampleapp",
        client_secret=SECRET,
        clock=clock,
        **facts | more,
    )


def failure(client: OpenApiClient, server: LocalServer, *told: Told) -> OpenApiError:
    server.answers_at(USER_PATH, *told)
    with pytest.raises(OpenApiError) as caught:
        client.send_to_user("robot", "u100", HELLO)
    for shown in (str(caught.value), repr(caught.value)):
        assert SECRET not in shown
        assert TOKEN not in shown
    return caught.value


def test_a_person_is_sent_a_text(client, server):
    assert client.send_to_user("robot", "u100", HELLO) == "key-1"

    (post,) = server.posts_to(USER_PATH)
    assert post.headers["x-acs-dingtalk-access-token"] == TOKEN
    assert post.body == {
        "robotCode": "robot",
        "userIds": ["u100"],
        "msgKey": "sampleText",
        "msgParam": json.dumps({"content": "hello"}),
    }


def test_a_group_is_sent_markdown(client, server):
    assert client.send_to_group("robot", "cid1", Markdown(title="t", text="# 你好")) == "key-2"

    (post,) = server.posts_to(GROUP_PATH)
    assert post.body["openConversationId"] == "cid1"
    assert post.body["msgKey"] == "sampleMarkdown"
    assert json.loads(post.body["msgParam"]) == {"title": "t", "text": "# 你好"}


def test_one_token_serves_until_five_minutes_before_its_end(client, server, clock):
    for minutes in (0, 60, 54):
        clock.now += timedelta(minutes=minutes)
        client.send_to_user("robot", "u100", HELLO)
    assert len(server.posts_to(TOKEN_PATH)) == 1

    clock.now += timedelta(minutes=1)
    client.send_to_user("robot", "u100", HELLO)

    assert len(server.posts_to(TOKEN_PATH)) == 2
    assert server.posts_to(TOKEN_PATH)[0].body == {"appKey": "dingsampleapp", "appSecret": SECRET}


def test_a_token_of_a_short_life_is_still_used_more_than_once(client, server):
    server.answers_at(TOKEN_PATH, Told(200, {"accessToken": TOKEN, "expireIn": "60"}))

    client.send_to_user("robot", "u100", HELLO)
    client.send_to_user("robot", "u100", HELLO)

    assert len(server.posts_to(TOKEN_PATH)) == 1


def test_many_threads_fetch_one_token(client, server):
    threads = [
        threading.Thread(target=client.send_to_user, args=("robot", "u100", HELLO))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(server.posts_to(USER_PATH)) == 16
    assert len(server.posts_to(TOKEN_PATH)) == 1


class Crowd:
    """A gate, and a shared token that is looked up when all have passed the gate."""

    def __init__(self, size: int) -> None:
        self.here = threading.Semaphore(0)
        self.size = size

    def admit(self, api: str) -> None:
        self.here.release()

    def hold_back(self, api: str, for_s: float) -> None:
        pass

    def get(self) -> None:
        while self.size:
            assert self.here.acquire(timeout=60)
            self.size -= 1

    def put(self, token: Token) -> None:
        pass


def test_many_threads_do_not_wait_for_a_token_one_after_the_other(server, clock):
    """Each with its own time limit, the last would have waited for minutes."""
    server.answers_at(TOKEN_PATH, Told(hangs=True))
    crowd, failures = Crowd(8), []
    client = client_of(server, clock, tokens=crowd, gate=crowd, timeout_s=(2, 2))

    def send() -> None:
        with pytest.raises(OpenApiUnavailableError) as caught:
            client.send_to_user("robot", "u100", HELLO)
        failures.append((str(caught.value), caught.value.ambiguous))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(failures) == 8
    assert len(set(failures)) == 1
    assert len(server.posts_to(TOKEN_PATH)) == 1
    with pytest.raises(OpenApiUnavailableError):
        client.send_to_user("robot", "u100", HELLO)
    assert len(server.posts_to(TOKEN_PATH)) == 2, "whoever comes later tries anew"
    client.close()


@pytest.mark.parametrize("status", [400, 401])
def test_a_token_found_invalid_is_fetched_anew_and_the_call_made_again(client, server, status):
    invalid = Told(status, {"code": "InvalidAuthentication", "message": "no"})
    server.answers_at(USER_PATH, invalid, Told(200, SENT))

    assert client.send_to_user("robot", "u100", HELLO) == "key-1"

    assert len(server.posts_to(TOKEN_PATH)) == 2


def test_a_token_found_invalid_twice_is_the_end(client, server):
    error = failure(client, server, Told(400, {"code": "InvalidAuthentication"}))

    assert type(error) is OpenApiRefusedError
    assert len(server.posts_to(USER_PATH)) == 2


@pytest.mark.parametrize("name", ["invalidStaffIdList", "filteredStaffIdList"])
def test_a_person_the_bot_cannot_reach_is_an_error_in_spite_of_http_200(client, server, name):
    error = failure(client, server, Told(200, SENT | {name: ["u100"]}))

    assert (error.code, error.retryable) == (name, False)


def test_a_person_whose_copy_was_held_back_is_throttled(client, server):
    error = failure(client, server, Told(200, SENT | {"flowControlledStaffIdList": ["u100"]}))

    assert type(error) is OpenApiThrottledError
    assert error.retryable


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalidParameter.robotCode.auth", OpenApiRefusedError),
        (400, "staffId.notExisted", OpenApiRefusedError),
        (400, "contain.notAllowed.text", OpenApiRefusedError),
        (400, "session.expired", OpenApiRefusedError),
        (400, "send.too.fast", OpenApiThrottledError),
        (400, "send.byToken.tooFast", OpenApiThrottledError),
        (400, "too.many.people", OpenApiThrottledError),
        (400, "toomuch.msg", OpenApiThrottledError),
        (403, "Forbidden.AccessDenied.AccessTokenPermissionDenied", OpenApiRefusedError),
        (403, "Forbidden.AccessDenied.IpNotInWhiteList", OpenApiRefusedError),
        (403, "Forbidden.AccessDenied.ApiCountLimitForOrg", OpenApiRefusedError),
        (403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", OpenApiUnavailableError),
        (403, "Forbidden.AccessDenied.QpsLimitForApi", OpenApiUnavailableError),
        (403, "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi", OpenApiThrottledError),
        (429, "systemBusy", OpenApiThrottledError),
        (500, "system.error", OpenApiUnavailableError),
        (500, "send.ding.exception", OpenApiUnavailableError),
        (504, "service.timeout", OpenApiUnavailableError),
    ],
)
def test_an_error_is_judged_by_its_name(client, server, status, code, kind):
    error = failure(client, server, Told(status, {"code": code, "message": "words"}))

    assert type(error) is kind
    assert (error.code, error.message) == (code, "words")


@pytest.mark.parametrize(
    ("told", "kind", "code"),
    [
        (Told(200, "<html></html>"), OpenApiUnavailableError, "http 200"),
        (Told(200, {"other": 1}), OpenApiUnavailableError, "no processQueryKey"),
        (Told(502, "<html></html>"), OpenApiUnavailableError, "http 502"),
        (Told(404, "<html></html>"), OpenApiRefusedError, "http 404"),
        (Told(302, "", {"Location": "http://evil.example"}), OpenApiRefusedError, "http 302"),
        (Told(hangs_up=True), OpenApiUnavailableError, "unreachable"),
        (Told(hangs=True), OpenApiUnavailableError, "unreachable"),
    ],
)
def test_an_answer_without_a_name_is_judged_by_its_status(client, server, told, kind, code):
    error = failure(client, server, told)

    assert (type(error), error.code) == (kind, code)


def test_a_banned_address_waits_five_minutes(client, server):
    error = failure(client, server, Told(200, {"status": 1111, "wait": 5}))

    assert isinstance(error, OpenApiThrottledError)
    assert error.retry_after_s == 300


def test_the_secret_and_the_token_are_cut_from_dingtalks_words(client, server):
    error = failure(client, server, Told(400, {"code": "x", "message": f"a {SECRET} b {TOKEN}"}))

    assert error.message == "a *** b ***"


def test_checking_the_token_tells_wrong_credentials(client, server):
    client.check_token()
    server.answers_at(TOKEN_PATH, Told(400, {"code": "invalidClientIdOrSecret", "message": "no"}))

    with pytest.raises(OpenApiRefusedError) as caught:
        client.check_token()

    assert caught.value.code == "invalidClientIdOrSecret"


def test_a_token_answer_without_a_token_is_retryable(client, server):
    server.answers_at(TOKEN_PATH, Told(200, {"expireIn": 7200}))

    with pytest.raises(OpenApiUnavailableError, match="no access token"):
        client.check_token()


def test_all_calls_share_one_connection(client, server):
    for _ in range(5):
        client.send_to_user("robot", "u100", HELLO)

    assert server.connections == 1


@pytest.mark.parametrize(
    "error",
    [
        OpenApiUnavailableError("unreachable", "no connection", True),
        OpenApiThrottledError("send.too.fast", "", 90.0),
        OpenApiRefusedError("staffId.notExisted", "who"),
    ],
)
def test_an_error_crosses_a_process_border_whole(error):
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), vars(copy)) == (type(error), vars(error))


def test_a_failed_fetch_of_a_token_leaves_no_doubt_that_nothing_was_sent(client, server):
    """A rescue that may have arrived is not sent again; this one must be."""
    server.answers_at(TOKEN_PATH, Told(503, "overloaded"))

    with pytest.raises(OpenApiUnavailableError) as caught:
        client.send_to_user("robot", "u100", HELLO)

    assert caught.value.retryable
    assert not caught.value.ambiguous
    assert server.posts_to(USER_PATH) == []


def test_a_failed_send_may_have_arrived(client, server):
    error = failure(client, server, Told(503, "overloaded"))

    assert isinstance(error, OpenApiUnavailableError)
    assert error.ambiguous


CARDS_PATH = "/v1.0/card/instances"


class SharedToken:
    """A cache for the clients of one bot."""

    def __init__(self) -> None:
        self.token: Token | None = None

    def get(self) -> Token | None:
        return self.token

    def put(self, token: Token) -> None:
        self.token = token


class RecordingGate:
    """Remembers who passed and what was held; refuses when told to."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.held: list[tuple[str, float]] = []
        self.refusal: OpenApiError | None = None

    def admit(self, api: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.passed.append(api)

    def hold_back(self, api: str, for_s: float) -> None:
        self.held.append((api, for_s))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_any_api_is_called_by_its_method(client, server, method):
    server.answers_at(CARDS_PATH, Told(200, {"success": True, "result": True}))

    assert client.call(method, CARDS_PATH, {"outTrackId": "t"})["success"] is True

    (seen,) = server.posts_to(CARDS_PATH)
    assert (seen.method, seen.body) == (method, {"outTrackId": "t"})
    assert seen.headers["x-acs-dingtalk-access-token"] == TOKEN


def test_a_call_without_a_body_sends_none(client, server):
    server.answers({"sendStatus": "SUCCESS"})

    client.call("GET", "/v1.0/robot/oToMessages/readStatus?robotCode=r")

    seen = server.seen[-1]
    assert (seen.method, seen.body) == ("GET", None)
    assert "Content-Type" not in seen.headers


def test_two_processes_share_one_token(server, clock):
    shared, made = SharedToken(), []
    server.answers_at(TOKEN_PATH, Told(200, {"accessToken": TOKEN, "expireIn": 7200}))
    server.answers_at(USER_PATH, Told(200, SENT))
    for _ in range(2):
        made.append(client_of(server, clock, tokens=shared))
        made[-1].send_to_user("robot", "u100", HELLO)

    assert len(server.posts_to(TOKEN_PATH)) == 1
    for client in made:
        client.close()


def test_a_shared_token_found_invalid_is_fetched_once_for_both(server, clock):
    """The second takes what the first has put there, instead of fetching once more."""
    shared = SharedToken()
    shared.put(Token("old", clock.now + timedelta(hours=1)))
    one, other = (client_of(server, clock, tokens=shared) for _ in range(2))
    server.answers_at(USER_PATH, Told(200, SENT))
    one.send_to_user("robot", "u100", HELLO)
    other.send_to_user("robot", "u100", HELLO)
    server.answers_at(TOKEN_PATH, Told(200, {"accessToken": TOKEN, "expireIn": 7200}))
    invalid = Told(400, {"code": "InvalidAuthentication"})

    for client in (one, other):
        server.answers_at(USER_PATH, invalid, Told(200, SENT))
        client.send_to_user("robot", "u100", HELLO)
        client.close()

    assert len(server.posts_to(TOKEN_PATH)) == 1
    assert server.posts_to(USER_PATH)[-1].headers["x-acs-dingtalk-access-token"] == TOKEN


@pytest.mark.parametrize("code", ["InvalidAuthentication", "40014", "42001"])
def test_what_needs_the_bare_token_gets_a_new_one_once(client, code):
    used = []

    def upload(token: str) -> str:
        used.append(token)
        if len(used) == 1:
            raise OpenApiRefusedError(code, "")
        return "@media"

    assert client.with_token(upload) == "@media"
    assert used == [TOKEN, TOKEN]


def test_every_call_that_counts_passes_the_gate(server, clock, client):
    gate = RecordingGate()
    gated = client_of(server, clock, gate=gate)
    server.answers({"success": True})

    gated.send_to_user("robot", "u100", HELLO)
    gated.call("GET", "/v1.0/robot/read?robotCode=r")
    gated.call("POST", "/v1.0/free", {}, counts=False)
    gated.with_token(str, api="/media/upload")
    gated.close()

    assert gate.passed == [USER_PATH, "/v1.0/robot/read", "/media/upload"]


@pytest.mark.parametrize(
    "refusal", [OpenApiThrottledError("held", "", 3.0), OpenApiRefusedError("budget")]
)
def test_what_the_gate_refuses_is_not_called(server, clock, refusal):
    gate = RecordingGate()
    gate.refusal = refusal
    gated = client_of(server, clock, gate=gate)

    with pytest.raises(type(refusal)):
        gated.send_to_user("robot", "u100", HELLO)
    gated.close()

    assert server.seen == []
    assert gate.held == []


@pytest.mark.parametrize(
    ("told", "for_s"),
    [
        (Told(403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}), 1.0),
        (Told(403, {"code": "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"}), 60.0),
        (Told(400, {"code": "send.too.fast"}), 60.0),
        (Told(429, {"code": "systemBusy"}, {"Retry-After": "90"}), 90.0),
        (Told(200, {"status": 1111}), 300.0),
        (Told(503, "overloaded"), None),
        (Told(403, {"code": "Forbidden.AccessDenied.AccessTokenPermissionDenied"}), None),
    ],
)
def test_haste_closes_the_gate_for_all(client, server, clock, told, for_s):
    gate = RecordingGate()
    gated = client_of(server, clock, gate=gate)
    server.answers_at(USER_PATH, told)

    with pytest.raises(OpenApiError):
        gated.send_to_user("robot", "u100", HELLO)
    gated.close()

    assert gate.held == ([] if for_s is None else [(USER_PATH, for_s)])
