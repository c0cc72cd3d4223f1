"""A session that connects to the machines it is told, whatever a name may lead to.

Used for session webhooks and for files. A name is looked up once for each connection, what was
found is judged, and that very address is connected to, so that a second look-up cannot lead
elsewhere. Through a proxy of the environment the name is looked up by the proxy, where we cannot
see it.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from dingwire.http import new_session
from dingwire.thrifty import ThriftyPool

__all__ = ["Addresses", "guarded_session"]

Addresses = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host, best first; raises OSError when it has none."""


def guarded_session(user_agent: str, addresses: Addresses) -> requests.Session:
    """Return a keep-alive session that asks ``addresses`` before each new connection.

    What ``addresses`` raises, other than OSError, comes out of the request as it is.
    """
    session = new_session(user_agent)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Guarded(addresses))
    return session


class _Guarded(HTTPAdapter):
    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        super().__init__(pool_connections=8, pool_maxsize=64)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have its pools make our connections; those to proxies come from other pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._addresses)


class _Whole(HTTPConnection):
    """Sends the head of a request along with its body: apart they wake whoever reads them twice."""

    _is_head_next = False
    _head = b""

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send one."""
        self._is_head_next, self._head = True, b""
        super().request(*arguments, **options)
        if self._head:  # of one that has no body
            self.send(b"")

    def send(self, data: Any) -> None:
        """Send what comes after what is held back."""
        if self._is_head_next:
            self._is_head_next, self._head = False, data
            return
        head, self._head = self._head, b""
        super().send(head + data)


def _pools(addresses: Addresses) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(_Whole):
        def _new_conn(self) -> socket.socket:
            return _connected(self, addresses)

    class Secure(_Whole, HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, addresses)

    class PlainPool(ThriftyPool):
        ConnectionCls = Plain

    class SecurePool(ThriftyPool, HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _connected(connection: HTTPConnection, addresses: Addresses) -> socket.socket:
    """Connect to the first address that answers."""
    host, port = connection.host, connection.port
    try:
        found = addresses(host, port)
    except OSError as error:
        raise NameResolutionError(host, connection, socket.gaierror(str(error))) from None
    failure: Exception = NewConnectionError(connection, "no address")
    for address in found:
        try:
            return create_connection(
                (address, port),
                connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except TimeoutError:
            failure = ConnectTimeoutError(connection, "no connection within the time limit")
        except OSError as error:
            failure = NewConnectionError(connection, str(error.strerror))
    raise failure
