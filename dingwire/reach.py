"""Can this machine reach a server of DingTalk, and if not, which step of the way fails?

``probe.py`` asks before it speaks HTTP, which would say only that it failed. The way is the one
requests takes: through the proxy of the environment, if there is one.
"""

import ipaddress
import os
import socket
import ssl
import threading
import time
from base64 import b64encode
from concurrent.futures import Future
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from dingwire.http import is_loopback

__all__ = ["UnreachableError", "reach"]

_PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_PROXY_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080, "socks5h": 1080}


class UnreachableError(Exception):
    """A server cannot be reached.

    Attributes:
        step: The one that failed: dns, connection, proxy or tls.
        fix: What to do about it.
    """

    def __init__(self, step: str, text: str, fix: str) -> None:
        super().__init__(step, text, fix)
        self.step, self.text, self.fix = step, text, fix

    def __str__(self) -> str:
        return self.text


def reach(url: str, *, timeout_s: float) -> str:
    """Go all the way to where ``url`` points, and hang up; return how it went.

    Raises:
        UnreachableError: Naming the step that failed, and no password of a proxy.
    """
    end = time.monotonic() + timeout_s
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    where = f"{host}:{port}"
    proxy = None if is_loopback(host) else _proxy(url)
    if proxy is None:
        sock = _connect(host, port, end)
        way = where
    else:
        sock = _through(proxy, where, is_tunnelled=parts.scheme in {"https", "wss"}, end=end)
        way = f"{where} through the proxy {_shown(proxy)}"
    with closing(sock):
        if parts.scheme in {"https", "wss"} and sock.fileno() >= 0:
            _speak_tls(sock, host, port, end, by_proxy=proxy is not None).close()
    return way


def _proxy(url: str) -> str | None:
    found = select_proxy(url, get_environ_proxies(url))
    if found is None:
        return None
    return found if "://" in found else f"http://{found}"


def _shown(proxy: str) -> str:
    """Return host and port of a proxy, whose address may hold a password."""
    try:
        parts = urlsplit(proxy)
        return f"{parts.hostname}:{parts.port or _PROXY_PORTS.get(parts.scheme, 80)}"
    except ValueError:
        return "(unreadable)"


def _variable() -> str:
    """Return which variable names the proxy."""
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")
    return next((name for name in names if os.environ.get(name)), "HTTPS_PROXY")


def _left(end: float) -> float:
    return max(0.1, end - time.monotonic())


def _addresses(host: str, port: int, end: float) -> list[Any]:
    """Look the name up, which knows no time limit, in a thread that may be left behind."""
    found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    threading.Thread(target=look_up, daemon=True).start()
    return found.result(_left(end))


def _connect(host: str, port: int, end: float, *, proxy: str = "") -> socket.socket:
    what = f"the proxy {host}" if proxy else host
    try:
        addresses = _addresses(host, port, end)
    except (OSError, UnicodeError) as error:  # a Future's TimeoutError is an OSError
        why = "no answer" if isinstance(error, TimeoutError) else _words(error)
        fix = (
            f"correct {_variable()}"
            if proxy
            else "check the name, and the DNS of this machine or container"
        )
        raise UnreachableError(
            "proxy" if proxy else "dns", f"cannot look up {what} (DNS): {why}", fix
        ) from None
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(max(0.5, _left(end) / len(addresses)))
        try:
            sock.connect(address)
        except OSError as error:
            failure = error
            sock.close()
        else:
            return sock
    raise _no_connection(f"{what}:{port}", addresses, failure, proxy=proxy) from None


def _no_connection(
    where: str, addresses: list[Any], failure: OSError, *, proxy: str
) -> UnreachableError:
    text = f"cannot connect to {where}: {_words(failure)}"
    if proxy:
        variable = _variable()
        text += f" (named by {variable})"
        return UnreachableError("proxy", text, f"start the proxy, or correct {variable}")
    name = where.rpartition(":")[0]
    if addresses and _is_private(addresses[0][4][0]) and not is_loopback(name):
        text += f"; its name leads to the private address {addresses[0][4][0]}"
        return UnreachableError("dns", text, "check the DNS of this machine or container")
    if is_loopback(name):
        return UnreachableError("connection", text, "start what should listen there")
    return UnreachableError("connection", text, "allow egress to it, or set HTTPS_PROXY")


def _is_private(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return False


def _through(proxy: str, where: str, *, is_tunnelled: bool, end: float) -> socket.socket:
    """Connect to the proxy, and have it connect to ``where``; one that speaks SOCKS is trusted."""
    try:
        parts = urlsplit(proxy)
        host, port = parts.hostname or "", parts.port or _PROXY_PORTS.get(parts.scheme, 80)
    except ValueError:
        text = f"{_variable()} is no address of a proxy"
        raise UnreachableError("proxy", text, "write http://host:port") from None
    sock = _connect(host, port, end, proxy=proxy)
    if parts.scheme != "http" or not is_tunnelled:
        sock.close()  # what comes after it is for the calls themselves to find out
        return sock
    sock.settimeout(_left(end))
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(login.encode()).decode()}")
    try:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = _head(sock)
    except OSError as error:
        sock.close()
        text = f"the proxy {_shown(proxy)} gave no answer: {_words(error)}"
        raise UnreachableError(
            "proxy", text, f"look at the proxy, or correct {_variable()}"
        ) from None
    status = answer.split(" ", 2)[1:2]
    if status != ["200"]:
        sock.close()
        raise _refused_by_proxy(_shown(proxy), where, "".join(status))
    return sock


def _refused_by_proxy(proxy: str, where: str, status: str) -> UnreachableError:
    if status == "407":
        text = f"the proxy {proxy} wants a login, or another one (HTTP 407)"
        return UnreachableError(
            "proxy", text, f"write it into {_variable()}: http://user:password@…"
        )
    said = f"HTTP {status}" if status.isdigit() else "no HTTP"
    text = f"the proxy {proxy} does not connect to {where} ({said})"
    return UnreachableError("proxy", text, "have the proxy let it pass, or name it in NO_PROXY")


def _head(sock: socket.socket) -> str:
    """Read an answer's head and no byte of what is beyond it; return its first line."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < 16_384:
        byte = sock.recv(1)
        if not byte:
            raise ConnectionResetError("connection closed")
        head += byte
    return head.split(b"\r\n", 1)[0].decode("ascii", "replace")


def _speak_tls(
    sock: socket.socket, host: str, port: int, end: float, *, by_proxy: bool
) -> ssl.SSLSocket:
    own = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    where = f"{host}:{port}"
    try:
        context = ssl.create_default_context(cafile=own or DEFAULT_CA_BUNDLE_PATH)
        sock.settimeout(_left(end))
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            "tls",
            f"TLS with {where} failed: its certificate is not trusted ({error.verify_message})",
            "if a proxy or firewall opens TLS, name its certificate in REQUESTS_CA_BUNDLE",
        ) from None
    except ssl.SSLError as error:
        raise UnreachableError(
            "tls",
            f"TLS with {where} failed: {error.reason or 'no TLS there'}",
            "something on the way is not DingTalk: look at the proxy" if by_proxy
            else "is it the right host and port? a firewall may be in the way",
        ) from None  # fmt: skip
    except OSError as error:
        raise UnreachableError(
            "tls",
            f"TLS with {where} failed: {_words(error)}",
            "a firewall on the way may let connections open and nothing through: allow egress",
        ) from None


def _words(error: BaseException) -> str:
    """Return what the system says, without the numbers around it."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
