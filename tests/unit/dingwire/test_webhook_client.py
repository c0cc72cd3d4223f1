"""What is posted to a session webhook, and what each answer means."""

import json
import pickle
import threading
from collections.abc import Iterator

import pytest
from urllib3.util import parse_url

from dingwire.errors import (
    DingTalkError,
    WebhookBusyError,
    WebhookError,
    WebhookExpiredError,
    WebhookNotAllowedError,
    WebhookRefusedError,
    WebhookThrottledError,
    WebhookUnreachableError,
)
from dingwire.replies import Markdown, Text
from dingwire.webhook import DEFAULT_HOSTS, Verdict, WebhookClient, WebhookHosts, classify
from tests.calls import calls_of, socket_calls
from tests.servers import free_port
from tests.unit.dingwire.local_server import LocalServer, Told

SESSION = "0123456789abcdef0123456789abcdef"
PATH = f"/robot/sendBySession?session={SESSION}"
SECRET_WORDS = "what the agent answered"


@pytest.fixture
def client(server: LocalServer) -> Iterator[WebhookClient]:
    made = WebhookClient(
        WebhookHosts.parse([*DEFAULT_HOSTS, f"127.0.0.1:{server.port}"]), timeout_s=(5, 5)
    )
    yield made
    made.close()


def failure(client: WebhookClient, server: LocalServer) -> WebhookError:
    """Post once and return the error it ended in, after a look at what the error shows."""
    with pytest.raises(WebhookError) as caught:
        client.post(server.url + PATH, Text(content=SECRET_WORDS))
    assert_shows_no_secret(caught.value)
    return caught.value


def assert_shows_no_secret(error: DingTalkError) -> None:
    for shown in (str(error), repr(error), repr(error.args)):
        assert SESSION not in shown
        assert SECRET_WORDS not in shown
        assert "sendBySession" not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_delivered_reply_is_posted_as_json_without_any_token(client, server):
    server.answers({"errcode": 0, "errmsg": "ok"})

    client.post(server.url + PATH, Text(content="你好", at_user_ids=["u100"]), msg_uuid="m-1")

    (post,) = server.seen
    assert post.path == PATH
    assert post.body == {
        "msgtype": "text",
        "text": {"content": "@u100 你好"},
        "at": {"atUserIds": ["u100"], "isAtAll": False},
        "msgUuid": "m-1",
    }
    assert post.headers["Content-Type"] == "application/json; charset=utf-8"
    assert not {"authorization", "cookie", "x-acs-dingtalk-access-token"} & {
        name.lower() for name in post.headers
    }


def test_an_errcode_of_zero_may_be_a_string(client, server):
    server.answers({"errcode": "0", "errmsg": "ok"})

    client.post(server.url + PATH, Markdown(title="t", text="# t"))

    assert len(server.seen) == 1


# docs/protocol.md, "Answers to a post": every number of the table.
RETRY = [-1, 15, 500100, 90002, 90018]
THROTTLED = [410100, 130101, 90001, *range(90003, 90015), 90017]
EXPIRED = [300001]
REFUSED = [
    300005, 400101, 400013, 400102, 400105, 400106, 430101, 430102, 430103, 430104, 310000,
    40035, 43004, 460101, 101002, 34014, 40014, 42001, 41001, 33001, 33012, 60011, 60020, 90020,
]  # fmt: skip


@pytest.mark.parametrize(
    ("errcode", "verdict"),
    [
        (0, Verdict.DELIVERED),
        *[(code, Verdict.RETRY) for code in RETRY],
        *[(code, Verdict.THROTTLED) for code in THROTTLED],
        *[(code, Verdict.EXPIRED) for code in EXPIRED],
        *[(code, Verdict.REFUSED) for code in REFUSED],
        (777777, Verdict.REFUSED),
    ],
)
def test_every_known_errcode_has_its_verdict(errcode, verdict):
    assert classify(errcode) is verdict


@pytest.mark.parametrize(
    ("sub_code", "verdict"),
    [
        (None, Verdict.RETRY),
        (60011, Verdict.REFUSED),
        (40014, Verdict.REFUSED),
        (90002, Verdict.RETRY),
        (90018, Verdict.RETRY),
        (90001, Verdict.THROTTLED),
        (88, Verdict.REFUSED),
        (0, Verdict.REFUSED),
    ],
)
def test_errcode_88_is_judged_by_its_sub_code(sub_code, verdict):
    assert classify(88, sub_code) is verdict


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (RETRY, WebhookBusyError),
        (THROTTLED, WebhookThrottledError),
        (EXPIRED, WebhookExpiredError),
        (REFUSED, WebhookRefusedError),
    ],
)
def test_http_200_with_an_errcode_is_not_delivered(client, server, codes, kind):
    for errcode in codes:
        server.answers({"errcode": errcode, "errmsg": "no"})

        error = failure(client, server)

        assert type(error) is kind
        assert error.errcode == errcode


def test_a_throttled_reply_waits_a_minute_or_more(client, server):
    server.answers({"errcode": 130101, "errmsg": "send too fast"})

    error = failure(client, server)

    assert isinstance(error, WebhookThrottledError)
    assert error.retry_after_s == 60


def test_a_banned_address_waits_five_minutes(client, server):
    server.answers({"status": 1111, "wait": 5, "punish": "deny"})

    error = failure(client, server)

    assert isinstance(error, WebhookThrottledError)
    assert error.retry_after_s == 300


def test_the_sub_code_of_an_answer_is_read(client, server):
    server.answers({"errcode": 88, "sub_code": "90018", "sub_msg": "too many"})

    assert type(failure(client, server)) is WebhookBusyError


def test_an_expired_session_is_seen_under_http_500_too(client, server):
    server.answers({"errcode": 300001, "errmsg": "session 不存在"}, status=500)

    assert type(failure(client, server)) is WebhookExpiredError


def test_an_expired_session_is_seen_by_its_name_in_the_newer_form(client, server):
    server.answers({"code": "session.expired", "message": "over"}, status=400)

    assert type(failure(client, server)) is WebhookExpiredError


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>maintenance</html>"),
        (200, ""),
        (200, "[]"),
        (200, {"errmsg": "ok"}),
        (200, {"errcode": None}),
        (200, {"errcode": True}),
        (200, "[" * 5000),
        (500, "<html></html>"),
        (503, {}),
        (502, {"errcode": 0}),
    ],
)
def test_an_answer_that_decides_nothing_is_retried_and_may_have_arrived(
    client, server, status, body
):
    server.answers(body, status=status)

    error = failure(client, server)

    assert type(error) is WebhookUnreachableError
    assert error.ambiguous


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 403, 404])
def test_a_no_without_json_is_refused_and_no_redirect_is_followed(client, server, status):
    server.answers("<html></html>", status=status, headers={"Location": f"{server.url}/elsewhere"})

    assert type(failure(client, server)) is WebhookRefusedError
    assert len(server.seen) == 1


def test_too_many_requests_without_json_is_throttled(client, server):
    server.answers("", status=429, headers={"Retry-After": "90"})

    error = failure(client, server)

    assert isinstance(error, WebhookThrottledError)
    assert error.retry_after_s == 90


def test_dingtalks_words_are_shown_without_addresses_and_tokens(client, server):
    server.answers(
        {
            "errcode": 400105,
            "errmsg": f"bad message at https://oapi.dingtalk.com{PATH} session={SESSION} "
            f"access_token: {SESSION} oapi.dingtalk.com{PATH} {SESSION} " + "x " * 500,
        }
    )

    error = failure(client, server)

    assert isinstance(error, WebhookRefusedError)
    assert error.errmsg.startswith("bad message at ***")
    assert len(error.errmsg) <= 200


def test_words_with_a_lone_surrogate_can_still_be_shown(client, server):
    server.answers('{"errcode":400105,"errmsg":"\\ud800 no"}')

    assert str(failure(client, server)).encode()


def test_nobody_listening_is_unreachable_and_certainly_not_delivered(client):
    port = free_port()
    away = WebhookClient(WebhookHosts.parse([f"127.0.0.1:{port}"]), timeout_s=(1, 1))

    with pytest.raises(WebhookUnreachableError) as caught:
        away.post(f"http://127.0.0.1:{port}{PATH}", Text(content=SECRET_WORDS))

    assert not caught.value.ambiguous
    assert_shows_no_secret(caught.value)


@pytest.mark.parametrize("told", [Told(hangs=True), Told(hangs_up=True)], ids=["hangs", "hangs up"])
def test_a_server_that_falls_silent_after_reading_may_have_the_reply(server, told):
    server.default = told
    hosts = WebhookHosts.parse([f"127.0.0.1:{server.port}"])

    error = failure(WebhookClient(hosts, timeout_s=(1, 0.2)), server)

    assert isinstance(error, WebhookUnreachableError)
    assert error.ambiguous


def test_an_endless_answer_is_cut(client, server):
    server.answers("x" * 1_000_000)

    assert isinstance(failure(client, server), WebhookUnreachableError)


def test_many_replies_share_one_connection(client, server):
    server.answers({"errcode": 0})

    for _ in range(20):
        client.post(server.url + PATH, Text(content="hello"))

    assert len(server.seen) == 20
    assert server.connections == 1


def test_sixty_four_threads_post_through_one_client(client, server):
    server.answers({"errcode": 0})
    failures: list[BaseException] = []

    def post(number: int) -> None:
        try:
            for part in range(3):
                client.post(server.url + PATH, Text(content=f"{number}.{part}"))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    sent = sorted(seen.body["text"]["content"] for seen in server.seen)
    assert sent == sorted(f"{n}.{p}" for n in range(64) for p in range(3))
    assert server.connections <= 64


def test_cookies_and_netrc_are_left_alone(client, server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers({"errcode": 0}, headers={"Set-Cookie": "who=me"})

    for _ in range(2):
        client.post(server.url + PATH, Text(content="hello"))

    assert "Authorization" not in server.seen[1].headers
    assert "Cookie" not in server.seen[1].headers


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(client, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    server.answers({"errcode": 0})

    client.post(server.url + PATH, Text(content="hello"))

    assert len(server.seen) == 1


def test_a_client_does_not_send_to_a_host_that_is_not_listed(server):
    client = WebhookClient(WebhookHosts.parse(DEFAULT_HOSTS))

    error = failure(client, server)

    assert isinstance(error, WebhookNotAllowedError)
    assert error.host == f"127.0.0.1:{server.port}"
    assert server.seen == []


@pytest.mark.parametrize(
    "error",
    [
        WebhookUnreachableError("no connection", True),
        WebhookBusyError(-1, "busy"),
        WebhookThrottledError(130101, 90.0),
        WebhookExpiredError(300001),
        WebhookRefusedError(400105, "no"),
        WebhookNotAllowedError("evil.example"),
    ],
)
def test_an_error_crosses_a_process_border_whole(error):
    """Celery pickles what a prefork child raised."""
    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error)
    assert json.dumps(vars(copy), sort_keys=True) == json.dumps(vars(error), sort_keys=True)


def test_a_post_by_a_kept_connection_leaves_in_one_piece(client, server):
    server.answers({"errcode": 0, "errmsg": "ok"})
    client.post(server.url + PATH, Text(content="first"))
    server.answers({"errcode": 0, "errmsg": "ok"})

    with socket_calls() as calls:
        client.post(server.url + PATH, Text(content="second"))

    assert [name for name in calls if name.startswith("send")] == ["sendall"]
    assert [post.body["text"]["content"] for post in server.seen] == ["first", "second"]


def test_an_address_is_parsed_once_for_its_checks_and_its_posts(client, server):
    server.answers({"errcode": 0, "errmsg": "ok"})
    client.post(server.url + PATH, Text(content="to be connected"))
    server.answers({"errcode": 0, "errmsg": "ok"})
    another = f"{server.url}{PATH}1"

    with calls_of(parse_url) as parsing:
        WebhookHosts.parse([f"127.0.0.1:{server.port}"]).check(another)
        client.post(another, Text(content="hello"))

    assert parsing == ["parse_url"]
