"""Where a host's name leads, found and judged before anybody connects.

An address that somebody else wrote down (where a file lies) must not make us speak to machines
that only we can reach. ``media_hosts.py`` and ``webhook_hosts.py`` ask, and connect to the
address they were told, so that a second look-up cannot lead elsewhere.
"""

import ipaddress
import socket
from collections.abc import Iterable

__all__ = ["Network", "PrivateAddressError", "address_of", "addresses_of", "is_public"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddressError(ValueError):
    """A name leads to an address that is not of the public internet; the text shows neither."""


def is_public(address: str) -> bool:
    """Whether everybody can reach ``address``, an IPv4 address inside of an IPv6 one included."""
    return _is_public(ipaddress.ip_address(address.partition("%")[0]))


def address_of(host: str, port: int, *, also: Iterable[Network] = ()) -> str:
    """Look ``host`` up; return the address to connect to.

    Args:
        host: A name, or an address.
        port: Where to.
        also: Networks that are fine though they are private.

    Raises:
        PrivateAddressError: One of its addresses is private, so none of them is trusted.
        OSError: It has none.
    """
    return addresses_of(host, port, also=also)[0]


def addresses_of(host: str, port: int, *, also: Iterable[Network] = ()) -> list[str]:
    """As :func:`address_of`, but return all of them, best first, one at least."""
    networks = tuple(also)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long
        raise OSError(str(error)) from None
    addresses = [str(each[4][0]).partition("%")[0] for each in found]
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        if not (_is_public(parsed) or any(_is_in(parsed, network) for network in networks)):
            raise PrivateAddressError("its name leads to an address that is not public")
    if not addresses:
        raise OSError("no address")
    return addresses


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
        if address.is_site_local:  # retired long ago, and still nobody else's
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _is_in(address: _Address, network: Network) -> bool:
    return address.version == network.version and address in network
