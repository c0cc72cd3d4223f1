"""A connection to Redis that can do what the listener needs; for ``listener/redis_publisher.py``.

Commands whose answers are numbers or OK, many of them in one write. redis-py would do, and takes
10 MB and half of the time in which a listener starts. The address is read as kombu reads it, so
that the listener and the workers mean the same by it.
"""

import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["RedisConnection", "RedisError"]

_PORT = 6379
# A link that takes a while for a large batch is not a dead one: each piece has the time limit.
_PIECE = 64 * 1024
_CERTIFICATE_RULES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class RedisError(Exception):
    """Redis refused a command; the text is its own and holds no message."""


Argument = bytes | str | int
Answer = int | str | RedisError


class RedisConnection:
    """One connection, open from its birth; not for two threads at once."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Connect and log in.

        Args:
            url: ``redis://`` or ``rediss://``, with user, password and database in it.
            timeout_s: For the connection, for each piece that is sent, and for each answer.

        Raises:
            OSError: It cannot be reached.
            RedisError: It does not let us in, or has no such database.
        """
        parts = urlsplit(url)
        host, port = unquote(parts.hostname or "") or "127.0.0.1", parts.port or _PORT
        self._socket = socket.create_connection((host, port), timeout_s)
        self._answers: BinaryIO | None = None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            query = dict(parse_qsl(parts.query))
            # By a rule for certificates alone, kombu speaks TLS as well.
            if parts.scheme == "rediss" or any(name.startswith("ssl_") for name in query):
                context = _tls(query)
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            self._answers = self._socket.makefile("rb")
            self._log_in(unquote(parts.username or ""), unquote(parts.password or ""))
            if (database := unquote(parts.path).strip("/") or "0") != "0":
                self.ask("SELECT", database)
        except BaseException:
            self.close()
            raise

    def _log_in(self, user: str, password: str) -> None:
        if user:
            self.ask("AUTH", user, password)  # a user may need none
        elif password:
            self.ask("AUTH", password)

    @property
    def is_dead(self) -> bool:
        """Whether the other side has closed it; it says nothing that it was not asked."""
        timeout_s = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                self._socket.settimeout(timeout_s)
        return True

    def call(self, commands: Iterable[Sequence[Argument]]) -> list[Answer]:
        """Send commands in one write and return their answers.

        Raises:
            OSError: The connection is gone, or an answer took too long; what was sent may have been
                done or not.
        """
        sent = [_written(command) for command in commands]
        everything = memoryview(b"".join(sent))
        for start in range(0, len(everything), _PIECE):
            self._socket.sendall(everything[start : start + _PIECE])
        return [self._answer() for _ in sent]

    def ask(self, *command: Argument) -> int | str:
        """Send one command and return its answer.

        Raises:
            RedisError: It is refused.
            OSError: As :meth:`call`.
        """
        [answer] = self.call([command])
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def _answer(self) -> Answer:
        line = self._answers.readline() if self._answers else b""
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        text = rest.decode("utf-8", "replace")
        if kind == b"+":
            return text
        if kind == b"-":
            # Of a command that it does not know, Redis repeats what was sent.
            return RedisError(text.partition(", with args beginning")[0])
        raise ConnectionError("Redis sent an answer of another kind")

    def close(self) -> None:
        """Let go of it without waiting for the other side."""
        with suppress(OSError):
            if self._answers is not None:
                self._answers.close()
            self._socket.close()


def _written(command: Sequence[Argument]) -> bytes:
    pieces = [b"*%d\r\n" % len(command)]
    for argument in command:
        value = argument if isinstance(argument, bytes) else str(argument).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(pieces)


def _tls(query: dict[str, str]) -> ssl.SSLContext:
    """Return how certificates are looked at, by the ``ssl_…`` parts of the address."""
    named = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    rule = _CERTIFICATE_RULES.get(named, ssl.CERT_REQUIRED)
    context = ssl.create_default_context()
    wants_name = query.get("ssl_check_hostname", "").lower() != "false"
    context.check_hostname = rule is not ssl.CERT_NONE and wants_name
    context.verify_mode = rule
    if certificate := query.get("ssl_certfile"):
        context.load_cert_chain(certificate, query.get("ssl_keyfile"), query.get("ssl_password"))
    file, folder, data = (query.get(f"ssl_ca_{of}") for of in ("certs", "path", "data"))
    if file or folder or data:
        context.load_verify_locations(file, folder, data)
    if ciphers := query.get("ssl_ciphers"):
        context.set_ciphers(ciphers)
    return context
