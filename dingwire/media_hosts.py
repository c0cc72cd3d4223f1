"""Where pictures and files may be fetched from: ``DINGTALK_MEDIA_HOSTS``.

``dingwire/media.py`` has every address checked here, those of redirects too, and every connection
made to the machines that are named here. Source:
docs/protocol.md, "Files".
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from dingwire.addresses import Network, PrivateAddressError, addresses_of
from dingwire.errors import MediaNotAllowedError
from dingwire.http import is_loopback

__all__ = ["DEFAULT_MEDIA_HOSTS", "MediaHosts"]

DEFAULT_MEDIA_HOSTS = ("aliyuncs.com", "dingtalk.com", "alicdn.com")
_PORTS = {"https": 443, "http": 80}
_NAME_CHARS = 100


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

    def check(self, url: str) -> None:
        """Let an address pass, or raise.

        https or http, no user part. A loopback address has to be listed with its port.

        Raises:
            MediaNotAllowedError: We do not fetch from there.
        """
        parsed = _parsed(url)
        scheme, host = (parsed.scheme, parsed.host) if parsed else (None, None)
        if parsed is None or not host or scheme not in _PORTS:
            raise MediaNotAllowedError("its address is none of https or http")
        if parsed.auth is not None or "@" in url.partition("//")[2].partition("/")[0]:
            raise MediaNotAllowedError("its address has a user part")
        port = _PORTS[scheme] if parsed.port is None else parsed.port
        is_usual = port in _PORTS.values() and self._is_named(host)
        if not is_usual and (host, port) not in self.exact:
            shown = f"{host}:{port}"[:_NAME_CHARS]
            raise MediaNotAllowedError(f"it lies at {shown!r}, see DINGTALK_MEDIA_HOSTS")

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses to connect to, of a host that passed :meth:`check`.

        Raises:
            MediaNotAllowedError: It leads elsewhere.
            OSError: It leads nowhere.
        """
        bare = host.strip("[]")
        if is_loopback(host) and any((h.strip("[]"), p) == (bare, port) for h, p in self.exact):
            return ["127.0.0.1", "::1"] if bare == "localhost" else [bare]
        try:
            return addresses_of(bare, port, also=self.networks)
        except PrivateAddressError as error:
            raise MediaNotAllowedError(str(error)) from None

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
