"""Each step on the way to DingTalk fails with words of its own."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dingwire.reach import UnreachableError, reach
from tests.servers import free_port

PASSWORD = "proxy-secret-77"


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that handles each connection by ``serve``; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    try:
                        serve(client)
                    except OSError:
                        continue

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def failure(url: str, timeout_s: float = 5) -> UnreachableError:
    with pytest.raises(UnreachableError) as caught:
        reach(url, timeout_s=timeout_s)
    assert PASSWORD not in f"{caught.value!r} {caught.value.fix}"
    return caught.value


def test_a_name_that_leads_nowhere_is_a_failure_of_dns():
    error = failure("https://no-such-host.invalid")
    assert error.step == "dns"
    assert "cannot look up no-such-host.invalid (DNS)" in str(error)


def test_a_port_nobody_listens_on_is_a_failure_of_the_connection():
    port = free_port()
    error = failure(f"https://127.0.0.1:{port}")
    assert error.step == "connection"
    assert str(error) == f"cannot connect to 127.0.0.1:{port}: connection refused"


def test_a_server_that_speaks_no_tls_is_a_failure_of_tls():
    with listening(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        error = failure(f"https://127.0.0.1:{port}")
    assert error.step == "tls"
    assert f"TLS with 127.0.0.1:{port} failed" in str(error)


def test_a_server_that_says_nothing_is_given_up_in_time():
    with listening(lambda client: threading.Event().wait(60)) as port:
        error = failure(f"https://127.0.0.1:{port}", timeout_s=0.5)
    assert error.step == "tls"
    assert "timed out" in str(error)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    key, file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(key), "-out", str(file),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return file


def test_a_certificate_of_nobody_known_fails_until_it_is_named(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    def greet(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secured:
            secured.recv(1)

    with listening(greet) as port:
        error = failure(f"https://localhost:{port}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        way = reach(f"https://localhost:{port}", timeout_s=5)

    assert error.step == "tls"
    assert "its certificate is not trusted" in str(error)
    assert "REQUESTS_CA_BUNDLE" in error.fix
    assert way == f"localhost:{port}"


# Through a proxy: nothing is looked up or connected to here but the proxy.


def proxied_by(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{port}")


def test_a_proxy_that_is_not_there_is_named_with_its_variable(monkeypatch):
    port = free_port()
    proxied_by(port, monkeypatch)

    error = failure("https://api.dingtalk.com")

    assert error.step == "proxy"
    assert f"cannot connect to the proxy 127.0.0.1:{port}: connection refused" in str(error)
    assert "HTTPS_PROXY" in str(error)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "does not connect to api.dingtalk.com:443 (HTTP 403)"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants a login"),
        (b"220 mail.example ESMTP\r\n\r\n", "does not connect to api.dingtalk.com:443 (no HTTP)"),
        (b"", "gave no answer"),
    ],
)
def test_a_proxy_that_refuses_is_told_from_one_that_is_away(monkeypatch, answer, words):
    asked = []

    def refuse(client: socket.socket) -> None:
        asked.append(client.recv(4096))
        client.sendall(answer)

    with listening(refuse) as port:
        proxied_by(port, monkeypatch)
        error = failure("https://api.dingtalk.com")

    assert error.step == "proxy"
    assert words in str(error)
    assert asked[0].startswith(b"CONNECT api.dingtalk.com:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in asked[0]


def test_what_a_proxy_leads_to_must_speak_tls_as_dingtalk(monkeypatch):
    def connect(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n<html>please log in</html>")

    with listening(connect) as port:
        proxied_by(port, monkeypatch)
        error = failure("https://api.dingtalk.com")

    assert error.step == "tls"
    assert "look at the proxy" in error.fix


def test_this_machine_is_never_asked_for_through_a_proxy(monkeypatch):
    proxied_by(free_port(), monkeypatch)
    with listening(lambda client: client.recv(1)) as port:
        assert reach(f"http://127.0.0.1:{port}", timeout_s=5) == f"127.0.0.1:{port}"


def test_a_plain_or_socks_proxy_need_only_be_there(monkeypatch):
    with listening(lambda client: client.recv(1)) as port:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{port}")
        way = reach("https://api.dingtalk.com", timeout_s=5)
    assert way == f"api.dingtalk.com:443 through the proxy 127.0.0.1:{port}"


def test_a_proxy_whose_address_is_none_is_a_failure(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@[half")
    assert failure("https://api.dingtalk.com").step == "proxy"
