"""Where a session webhook may point, and which machine is really posted to."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dingwire.errors import WebhookError, WebhookNotAllowedError, WebhookUnreachableError
from dingwire.replies import Text
from dingwire.webhook import WebhookClient
from dingwire.webhook_hosts import DEFAULT_HOSTS, WebhookHosts
from tests.unit.dingwire.local_server import LocalServer

SESSION = "0123456789abcdef0123456789abcdef"
PATH = f"/robot/sendBySession?session={SESSION}"
TOKEN_NAMES = ("token", "authorization", "cookie")


@pytest.mark.parametrize(
    "url",
    [
        "https://oapi.dingtalk.com/robot/sendBySession?session=x",
        "https://api.dingtalk.com/robot/sendBySession?session=x",
        "https://oapi.dingtalk.com:443/robot/sendBySession",
        "https://OAPI.DingTalk.com/robot/sendBySession?session=x",
        "https://ding.example:8443/robot/message/sendBySession?session=x",
        "http://127.0.0.1:8765/robot/sendBySession?session=x",
        "http://localhost:8765/robot/sendBySession?session=x",
        "http://[::1]:8765/robot/sendBySession?session=x",
    ],
)
def test_a_listed_host_passes(url):
    listed = ["ding.example:8443", "127.0.0.1:8765", "localhost:8765", "[::1]:8765"]
    WebhookHosts.parse([*DEFAULT_HOSTS, *listed]).check(url)


FOREIGN = [
    "https://oapi.dingtalk.com.evil.example/robot/sendBySession",
    "https://evil.example/oapi.dingtalk.com/robot/sendBySession",
    "https://evil.example?oapi.dingtalk.com/robot/sendBySession",
    "https://evil.example#@oapi.dingtalk.com/robot/sendBySession",
    "https://oapi.dingtalk.com@evil.example/robot/sendBySession",
    "https://user:pw@oapi.dingtalk.com/robot/sendBySession",
    "https://user@oapi.dingtalk.com/robot/sendBySession",
    "https://@oapi.dingtalk.com/robot/sendBySession",
    "https://evil.example\\@oapi.dingtalk.com/robot/sendBySession",
    "https://oapi.dingtalk.com\\.evil.example/robot/sendBySession",
    "https://xoapi.dingtalk.com/robot/sendBySession",
    "https://oapi-dingtalk.com/robot/sendBySession",
    "https://sub.oapi.dingtalk.com/robot/sendBySession",
    "https://dingtalk.com/robot/sendBySession",
    "https://oapi.dingtalk.co/robot/sendBySession",
    "https://oapi.dingtalk.com./robot/sendBySession",
    "https://oapi.dingtalk.com:8443/robot/sendBySession",
    "https://oapi.dingtalk.com:80/robot/sendBySession",
    "https://oapi.dingtalk。com/robot/sendBySession",
    "https://оapi.dingtalk.com/robot/sendBySession",
    "https://oapi.dingtalk.com%2eevil.example/robot/sendBySession",
    "https://oapi.dingtalk.com%00.evil.example/robot/sendBySession",
    "http://oapi.dingtalk.com/robot/sendBySession",
    "http://oapi.dingtalk.com:443/robot/sendBySession",
    "ftp://oapi.dingtalk.com/robot/sendBySession",
    "file:///etc/passwd",
    "//oapi.dingtalk.com/robot/sendBySession",
    "oapi.dingtalk.com/robot/sendBySession",
    "https:oapi.dingtalk.com/robot/sendBySession",
    "https://",
    "",
    " https://oapi.dingtalk.com/robot/sendBySession",
    "https://oapi.dingtalk.com/robot/sendBySession\r\nHost: evil.example",
    "https://oapi.dingtalk.com:port/robot/sendBySession",
    "http://127.0.0.1/robot/sendBySession",
    "http://127.0.0.1:8766/robot/sendBySession",
    "http://127.1:8765/robot/sendBySession",
    "http://2130706433:8765/robot/sendBySession",
    "http://0x7f000001:8765/robot/sendBySession",
    "http://0177.0.0.1:8765/robot/sendBySession",
    "http://localhost:8765/robot/sendBySession",
    "http://169.254.169.254/robot/sendBySession",
    "https://93.184.216.34/robot/sendBySession",
    "https://[::1]/robot/sendBySession",
    "https://[::ffff:127.0.0.1]:8765/robot/sendBySession",
]
OTHER_PATHS = [
    "https://oapi.dingtalk.com",
    "https://oapi.dingtalk.com/",
    "https://oapi.dingtalk.com/robot/send?access_token=x",
    "https://oapi.dingtalk.com/robot/sendBySession/",
    "https://oapi.dingtalk.com/robot/sendBySessionX",
    "https://oapi.dingtalk.com/robot/sendbysession",
    "https://oapi.dingtalk.com//robot/sendBySession",
    "https://oapi.dingtalk.com/x/../robot/sendBySession",
    "https://oapi.dingtalk.com/robot/./sendBySession",
    "https://oapi.dingtalk.com/robot/send%42ySession",
    "https://oapi.dingtalk.com/robot%2FsendBySession",
    "https://oapi.dingtalk.com/robot/sendBySession;x=1",
    "https://oapi.dingtalk.com/media/upload?/robot/sendBySession",
    "https://oapi.dingtalk.com?x=/robot/sendBySession",
    "https://api.dingtalk.com/v1.0/robot/oToMessages/batchSend",
    "http://127.0.0.1:8765/robot/send",
]


@pytest.mark.parametrize("url", [*FOREIGN, *OTHER_PATHS])
def test_nothing_but_a_session_webhook_of_a_listed_host_is_posted_to(url):
    hosts = WebhookHosts.parse([*DEFAULT_HOSTS, "127.0.0.1:8765"])

    with pytest.raises(WebhookNotAllowedError) as caught:
        hosts.check(url)

    assert "/robot" not in str(caught.value)
    assert "user:pw" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_reason_is_told():
    hosts = WebhookHosts.parse(DEFAULT_HOSTS)

    with pytest.raises(WebhookNotAllowedError, match="its path is not that of a session webhook"):
        hosts.check("https://oapi.dingtalk.com/robot/send?access_token=x")


def test_a_listed_host_that_is_not_loopback_needs_https():
    hosts = WebhookHosts.parse(["ding.example:8080"])

    with pytest.raises(WebhookNotAllowedError, match=r"'ding\.example:8080'.*not https"):
        hosts.check("http://ding.example:8080/robot/sendBySession")


@pytest.mark.parametrize(
    "entry",
    [
        *("", "https://oapi.dingtalk.com", "a b", "host/path", "user@host", "host:port", "é.cn"),
        *("10.0.0.0/33", "10.0.0.1/8", "/8"),
    ],
)
def test_an_entry_that_is_no_host_is_named(entry):
    with pytest.raises(ValueError, match="is not a host or host:port, nor a network"):
        WebhookHosts.parse(["oapi.dingtalk.com", entry])


class Names:
    """Answers look-ups as it is told, each time anew."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[list[str]] = []

    def getaddrinfo(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            self.asked.append(host)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        else:
            answer = [host]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (each, port),
            )
            for each in answer
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The resolver is the one part of this that no test can have for real."""
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def _posted(client: WebhookClient, url: str) -> WebhookError | None:
    try:
        client.post(url, Text(content="hello"))
    except WebhookError as error:
        return error
    return None


@contextmanager
def _listening() -> Iterator[tuple[int, list[str]]]:
    """A port that takes connections and hangs up; with the list of what connected."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                came.append(peer[0])
                connection.close()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
    thread.join(60)


PRIVATE = [
    "127.0.0.1",
    "10.0.0.7",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "198.18.0.9",
    "::1",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_to_a_private_address_is_not_posted_to(names, address):
    names.answers = [["93.184.216.34", address]]
    hosts = WebhookHosts.parse(DEFAULT_HOSTS)

    error = _posted(WebhookClient(hosts), f"https://oapi.dingtalk.com{PATH}")

    assert isinstance(error, WebhookNotAllowedError)
    assert error.host == "oapi.dingtalk.com"
    assert error.reason == "its name leads to an address that is not public"
    assert address not in str(error)
    assert SESSION not in f"{error!r} {error.__context__!r}"


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(names):
    """A second look-up that answers otherwise (DNS rebinding) is never made."""
    with _listening() as (port, came):
        hosts = WebhookHosts.parse([f"ding.example:{port}", "127.0.0.0/8"])
        # The first answer is fine, and nobody is there; the second would lead to the listener.
        names.answers = [["127.9.9.9"], ["127.0.0.1"]]

        error = _posted(WebhookClient(hosts), f"https://ding.example:{port}{PATH}")

    assert isinstance(error, WebhookUnreachableError)
    assert not error.ambiguous
    assert names.asked == ["ding.example"]
    assert came == []


def test_a_name_may_lead_into_a_network_that_is_listed(names):
    with _listening() as (port, came):
        names.answers = [["127.0.0.1"]]
        hosts = WebhookHosts.parse([f"ding.example:{port}", "127.0.0.0/8"])

        _posted(WebhookClient(hosts), f"https://ding.example:{port}{PATH}")

    assert came == ["127.0.0.1"]


def test_the_next_address_is_tried_when_the_first_does_not_answer(names):
    with _listening() as (port, came):
        names.answers = [["127.9.9.9", "127.0.0.1"]]
        hosts = WebhookHosts.parse([f"ding.example:{port}", "127.0.0.0/8"])

        _posted(WebhookClient(hosts), f"https://ding.example:{port}{PATH}")

    assert came == ["127.0.0.1"]


def test_an_address_that_is_listed_itself_may_be_private(names):
    with _listening() as (port, came):
        hosts = WebhookHosts.parse([f"127.0.0.1:{port}"])

        _posted(WebhookClient(hosts), f"https://127.0.0.1:{port}{PATH}")

    assert came == ["127.0.0.1"]
    assert names.asked == []


def test_a_name_that_nobody_knows_is_unreachable_for_certain(names):
    names.answers = [[]]

    error = _posted(
        WebhookClient(WebhookHosts.parse(DEFAULT_HOSTS)), f"https://api.dingtalk.com{PATH}"
    )

    assert isinstance(error, WebhookUnreachableError)
    assert (error.reason, error.ambiguous) == ("host name not found", False)


def test_the_certificate_is_checked_for_the_name_and_not_the_address(names, monkeypatch):
    """Connecting by address must not make the address the name that is asked for."""
    asked: list[str | None] = []
    wrap = ssl.SSLContext.wrap_socket

    def record(self: ssl.SSLContext, sock: Any, *args: Any, **more: Any) -> Any:
        asked.append(more.get("server_hostname"))
        return wrap(self, sock, *args, **more)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", record)
    with _listening() as (port, _):
        names.answers = [["127.0.0.1"]]
        hosts = WebhookHosts.parse([f"ding.example:{port}", "127.0.0.0/8"])

        _posted(WebhookClient(hosts), f"https://ding.example:{port}{PATH}")

    assert asked == ["ding.example"]


def test_a_proxy_of_the_environment_looks_names_up_itself(names, monkeypatch):
    """Where only a proxy reaches DingTalk, our own look-up would fail, or mean nothing."""
    with _listening() as (port, came):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        names.answers = [["10.0.0.7"]]

        error = _posted(
            WebhookClient(WebhookHosts.parse(DEFAULT_HOSTS)), f"https://oapi.dingtalk.com{PATH}"
        )

    assert isinstance(error, WebhookUnreachableError)
    assert came == ["127.0.0.1"]
    assert names.asked == []


def test_a_redirect_is_not_followed_even_to_a_listed_host(server: LocalServer):
    hosts = WebhookHosts.parse([f"127.0.0.1:{server.port}"])
    server.answers("", 307, headers={"Location": f"{server.url}{PATH}&again=1"})

    assert _posted(WebhookClient(hosts), server.url + PATH) is not None
    assert [seen.path for seen in server.seen] == [PATH]


def test_no_token_goes_to_a_webhook(server: LocalServer):
    hosts = WebhookHosts.parse([f"127.0.0.1:{server.port}"])
    server.answers({"errcode": 0, "errmsg": "ok"})

    assert _posted(WebhookClient(hosts), server.url + PATH) is None

    (seen,) = server.seen
    shown = f"{seen.path} {seen.body} {sorted(seen.headers)}".lower()
    assert not any(name in shown for name in TOKEN_NAMES)


def test_a_connection_is_kept_for_the_next_post(server: LocalServer):
    client = WebhookClient(WebhookHosts.parse([f"127.0.0.1:{server.port}"]))
    server.answers({"errcode": 0, "errmsg": "ok"})

    for _ in range(3):
        assert _posted(client, server.url + PATH) is None

    assert server.connections == 1


def test_localhost_is_reached_by_either_of_its_addresses(server: LocalServer):
    hosts = WebhookHosts.parse([f"localhost:{server.port}"])
    server.answers({"errcode": 0, "errmsg": "ok"})

    assert _posted(WebhookClient(hosts), f"http://localhost:{server.port}{PATH}") is None
