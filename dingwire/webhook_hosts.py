"""Where a session webhook may point: ``DINGTALK_WEBHOOK_HOSTS``.

A webhook comes with a message, so whoever can write one could have us post anywhere. ``webhook.py``
has every address checked here, and every connection made to the machines that are named here.
Source: docs/protocol.md, "Session webhooks".
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from urllib3.exceptions import LocationParseError
from urllib3.util import Url

from dingwire.addresses import Network, PrivateAddressError, addresses_of
from dingwire.errors import WebhookNotAllowedError
from dingwire.http import is_loopback, parsed_url

__all__ = ["DEFAULT_HOSTS", "HTTPS_PORT", "PATHS", "WebhookHosts"]

DEFAULT_HOSTS = ("oapi.dingtalk.com", "api.dingtalk.com")

PATHS = frozenset({"/robot/sendBySession", "/robot/message/sendBySession"})
"""DingTalk's own, and that of dedicated deployments."""

HTTPS_PORT = 443
HOST_CHARS = 100


@dataclass(frozen=True)
class WebhookHosts:
    """Where a session webhook may point.

    ``allowed`` holds (host, port) pairs; port None means https on its usual port. ``networks`` are
    private ones that a listed name may lead to all the same, such as those of a company's own
    DingTalk, or of a proxy that makes addresses up.
    """

    allowed: frozenset[tuple[str, int | None]]
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read ``host``, ``host:port`` and ``network/bits`` entries.

        Raises:
            ValueError: Naming the entry that is none of them.
        """
        given = list(entries)
        return cls(
            frozenset(_entry(entry) for entry in given if "/" not in entry),
            tuple(_network(entry) for entry in given if "/" in entry),
        )

    def check(self, url: str) -> None:
        """Let a webhook pass, or raise.

        https only, except on a loopback address listed with its port; exact host, exact path; no
        user part.

        Raises:
            WebhookNotAllowedError: Naming the host, never the address.
        """
        parsed = _parsed(url)
        if parsed is None or not parsed.host:
            raise WebhookNotAllowedError("", "its address cannot be read")
        host, port = parsed.host, parsed.port
        name = host[:HOST_CHARS] + (f":{port}" if port else "")
        if parsed.auth is not None or "@" in _authority(url):
            raise WebhookNotAllowedError(name, "its address has a user part")
        if (host, port) in self.allowed and port is not None and is_loopback(host):
            allowed_schemes: tuple[str, ...] = ("https", "http")
        else:
            allowed_schemes = ("https",)
        if parsed.scheme not in allowed_schemes:
            raise WebhookNotAllowedError(name, "its address is not https")
        if not self._is_listed(host, port):
            raise WebhookNotAllowedError(name)
        if _path(url) not in PATHS:
            raise WebhookNotAllowedError(name, "its path is not that of a session webhook")

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses to connect to, of a host that passed :meth:`check`.

        An address that is listed itself stands for itself; a name may lead to public ones only, or
        into a listed network.

        Raises:
            WebhookNotAllowedError: It leads elsewhere.
            OSError: It leads nowhere.
        """
        if is_loopback(host) and (host, port) in self.allowed:
            return ["127.0.0.1", "::1"] if host == "localhost" else [host.strip("[]")]
        if _is_address(host):
            return [host.strip("[]")]
        try:
            return addresses_of(host, port, also=self.networks)
        except PrivateAddressError as error:
            raise WebhookNotAllowedError(host[:HOST_CHARS], str(error)) from None

    def _is_listed(self, host: str, port: int | None) -> bool:
        if (host, port) in self.allowed:
            return True
        usual = {(host, None), (host, HTTPS_PORT)}
        return port in (None, HTTPS_PORT) and bool(self.allowed & usual)


def _parsed(url: str) -> Url | None:
    """Parse with the parser that will also make the request, so that the two cannot differ."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        return parsed_url(url)
    except LocationParseError:
        return None


def _authority(url: str) -> str:
    """Return what stands between ``//`` and the path; the parser drops an empty user part."""
    return re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]


def _path(url: str) -> str:
    """Return the path as it was written: none that only means an allowed one is allowed."""
    after = url.partition("//")[2].removeprefix(_authority(url))
    return re.split(r"[?#]", after, maxsplit=1)[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _entry(entry: str) -> tuple[str, int | None]:
    bracketed = f"[{entry}]" if entry.count(":") > 1 and not entry.startswith("[") else entry
    parsed = _parsed(f"https://{bracketed}")
    if parsed is None or not parsed.host or parsed.auth or parsed.path or parsed.query:
        raise _no_entry(entry)
    return parsed.host, parsed.port


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise _no_entry(entry) from None


def _no_entry(entry: str) -> ValueError:
    return ValueError(f"{entry[:HOST_CHARS]!r} is not a host or host:port, nor a network")
