"""Where pictures and files may be fetched from: ``DINGTALK_MEDIA_HOSTS``.

``dingwire/media.py`` has every address checked here, those of redirects too. Source:
docs/protocol.md, "Files".
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from dingwire.addresses import Network, PrivateAddressError, address_of
from dingwire.errors import MediaNotAllowedError, MediaUnavailableError
from dingwire.http import is_loopback

__all__ = ["DEFAULT_MEDIA_HOSTS", "Destination", "MediaHosts"]

DEFAULT_MEDIA_HOSTS = ("aliyuncs.com", "dingtalk.com", "alicdn.com")
_PORTS = {"https": 443, "http": 80}
_NAME_CHARS = 100


@dataclass(frozen=True)
class Destination:
    """An address that may be fetched from, and the machine behind it that was checked."""

    scheme: str
    host: str
    port: int
    address: str

    @property
    def netloc(self) -> str:
        """What the ``Host`` header says."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class MediaHosts:
    """What ``DINGTALK_MEDIA_HOSTS`` lists.

    ``names`` stand for themselves and for every name that ends in them, on the usual ports;
    ``exact`` (host, port) pairs for themselves alone; ``networks`` are private ones that names may
    lead to all the same, such as those of a proxy that makes addresses up.
    """

    names: frozenset[str]
    exact: frozenset[tuple[str, int]]
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read ``host``, ``host:port`` and ``network/bits`` entries.

        Raises:
            ValueError: Naming the entry that is none of them.
        """
        names, exact, networks = set[str](), set[tuple[str, int]](), list[Network]()
        for entry in entries:
            if "/" in entry:
                networks.append(_network(entry))
                continue
            parsed = _parsed(f"https://{entry}")
            host = parsed.host if parsed else None
            if not parsed or not host or parsed.auth or parsed.path or parsed.query:
                raise ValueError(f"{entry[:_NAME_CHARS]!r} is not a host or host:port")
            if parsed.port is None:
                names.add(host.strip("."))
            else:
                exact.add((host, parsed.port))
        return cls(frozenset(names), frozenset(exact), tuple(networks))

    def destination(self, url: str) -> Destination:
        """Return where ``url`` leads.

        https or http, no user part. A loopback address has to be listed with its port.

        Raises:
            MediaNotAllowedError: We do not fetch from there.
            MediaUnavailableError: Its name is not known at the moment.
        """
        parsed = _parsed(url)
        scheme, host = (parsed.scheme, parsed.host) if parsed else (None, None)
        if parsed is None or not host or scheme not in _PORTS:
            raise MediaNotAllowedError("its address is none of https or http")
        if parsed.auth is not None or "@" in url.partition("//")[2].partition("/")[0]:
            raise MediaNotAllowedError("its address has a user part")
        port = parsed.port or _PORTS[scheme]
        is_exact = (host, port) in self.exact
        if not is_exact and not (port in _PORTS.values() and self._is_named(host)):
            shown = f"{host}:{port}"[:_NAME_CHARS]
            raise MediaNotAllowedError(f"it lies at {shown!r}, see DINGTALK_MEDIA_HOSTS")
        if is_exact and is_loopback(host):
            address = "127.0.0.1" if host == "localhost" else host.strip("[]")
            return Destination(scheme, host, port, address)
        try:
            address = address_of(host.strip("[]"), port, also=self.networks)
        except PrivateAddressError as error:
            raise MediaNotAllowedError(str(error)) from None
        except OSError:
            raise MediaUnavailableError("the name of its host is not known") from None
        return Destination(scheme, host, port, address)

    def _is_named(self, host: str) -> bool:
        name = host.removesuffix(".")
        return any(name == listed or name.endswith(f".{listed}") for listed in self.names)


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError(f"{entry[:_NAME_CHARS]!r} is not a network") from None


def _parsed(url: str) -> Url | None:
    """Parse with the parser that will also make the request, so that the two cannot differ."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        return parse_url(url)
    except LocationParseError:
        return None
