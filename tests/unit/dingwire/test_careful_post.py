"""What a network can do to a request, told apart: did it arrive, or not?"""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from dingwire.http import Answer, NoAnswer, is_loopback, new_session, post_json
from dingwire.posting import JsonPoster
from tests.servers import free_port
from tests.unit.dingwire.local_server import LocalServer, Told, running

SECRET = "0123456789abcdef"


def _by_requests(url: str) -> Answer | NoAnswer:
    with new_session("tests/1") as session:
        return post_json(session, f"{url}/?session={SECRET}", {}, timeout_s=(5, 5))


def _by_kept_connections(url: str) -> Answer | NoAnswer:
    poster = JsonPoster(new_session("tests/1"), timeout_s=(5, 5))
    try:
        return poster.post(f"{url}/?session={SECRET}", {})
    finally:
        poster.close()


@pytest.fixture(params=[_by_requests, _by_kept_connections])
def post(request) -> Any:
    """What both ways to post make of a failure is the same."""
    return request.param


@contextmanager
def tls_server(folder: Path) -> Iterator[str]:
    """Serve one TLS handshake with a certificate nobody trusts."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=nobody"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(60)


def assert_not_arrived(answer: Answer | NoAnswer, reason: str) -> None:
    assert answer == NoAnswer(reason, may_have_arrived=False)


def test_a_host_that_does_not_exist_cannot_have_been_reached(post):
    assert_not_arrived(post("http://nowhere.invalid"), "host name not found")


def test_a_closed_port_cannot_have_been_reached(post):
    assert_not_arrived(post(f"http://127.0.0.1:{free_port()}"), "no connection")


def test_a_certificate_nobody_trusts_stops_before_the_post(post, tmp_path):
    with tls_server(tmp_path) as url:
        assert_not_arrived(post(url), "TLS certificate not trusted")


def test_a_proxy_that_is_away_stops_before_the_post(post, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")

    assert_not_arrived(post("http://nowhere.invalid"), "the proxy failed")


def test_an_answer_that_breaks_off_may_mean_that_the_post_arrived(post, server: LocalServer):
    server.default = Told(hangs_up=True)

    answer = post(server.url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived
    assert SECRET not in answer.reason


def test_a_compressed_answer_that_is_none_may_mean_that_the_post_arrived(post, server: LocalServer):
    server.answers("not gzip", headers={"Content-Encoding": "gzip"})

    answer = post(server.url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://a", "http://a..b", "http://*"])
def test_an_address_that_is_none_is_an_answer_too(post, url):
    answer = post(url)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_loopback_is_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "127.1", "0x7f000001", "10.0.0.1", "localhost.example", "127.0.0.1.example"]
)
def test_what_only_looks_like_loopback_is_not(host):
    assert not is_loopback(host)


def test_a_session_keeps_no_cookie(server: LocalServer):
    server.answers({}, headers={"Set-Cookie": "who=me; Path=/"})
    with new_session("tests/1") as session:
        post_json(session, server.url, {}, timeout_s=5)

        assert requests.utils.dict_from_cookiejar(session.cookies) == {}


def test_a_redirect_is_an_answer_wherever_it_leads(post):
    """Also to what is no address: whoever asked for it to be posted gets an answer."""
    with running() as server:
        server.default = Told(302, {"x": 1}, {"Location": "http://[nowhere"})

        answer = post(server.url)

    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (302, {"x": 1})
