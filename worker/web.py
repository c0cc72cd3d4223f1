"""``python -m worker.web``: Flower, on this machine alone unless told otherwise.

The Procfile's ``web``. Flower itself listens on all interfaces and lets everybody in; whoever
reaches it sees the bot's tasks and can start more. This wrapper only picks the address and
refuses a public one without authentication, then is ``celery -A worker flower``.
"""

import argparse
import ipaddress
import os
import sys
from collections.abc import Mapping, Sequence

__all__ = [
    "NoPortError",
    "PublicWithoutAuthenticationError",
    "flower_arguments",
    "has_login",
    "main",
]

DEFAULT_PORT = "5555"
INSPECT_AT_ONCE = 2
# Flower's own choice shows neither which message a task is about nor why it ended as it did.
DEFAULT_COLUMNS = "state,kwargs,result,received,runtime,retries,worker,uuid"

_SERVICE_LINKS = (
    ": unset it, PORT is what counts here; on Kubernetes a Service named flower sets it, unless "
    "the pod has enableServiceLinks: false"
)


class PublicWithoutAuthenticationError(Exception):
    """Flower would be open to everybody who reaches the address."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return (
            f"refusing to open Flower on {self.address or 'all interfaces'} without "
            "authentication: set FLOWER_BASIC_AUTH=user:password, or FLOWER_AUTH, "
            "FLOWER_AUTH_PROVIDER and FLOWER_OAUTH2_KEY, _SECRET, _REDIRECT_URI; "
            "or leave PORT unset to listen on 127.0.0.1"
        )


class NoPortError(Exception):
    """What was given is not a port; Flower would say so with a page of options, or a traceback."""

    def __init__(self, named: str = "PORT, or --port,", hint: str = "") -> None:
        super().__init__(named, hint)
        self.named, self.hint = named, hint

    def __str__(self) -> str:
        return f"{self.named} must be a number from 1 to 65535{self.hint}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def has_login(environ: Mapping[str, str]) -> bool:
    """Return whether Flower lets in only whom its variables name."""
    # Flower takes an empty password for one, and a name alone for a login that nobody has.
    logins = [each for each in environ.get("FLOWER_BASIC_AUTH", "").split(",") if each.strip()]
    if logins:
        return all(all(part.strip() for part in each.partition(":")) for each in logins)
    # A provider alone protects nothing: Flower asks it only where FLOWER_AUTH says who may enter.
    return bool(environ.get("FLOWER_AUTH", "").strip())


def flower_arguments(options: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return Flower's command line.

    Args:
        options: Ours, ``--address`` and ``--port``; the others are Flower's own.
        environ: ``PORT``, as a platform gives it, means that the world shall reach us.

    Raises:
        PublicWithoutAuthenticationError: Neither loopback nor behind a login.
        NoPortError: ``PORT``, ``--port`` or ``FLOWER_PORT`` is not a port.
    """
    platform_port = environ.get("PORT")
    parser = argparse.ArgumentParser(prog="python -m worker.web", allow_abbrev=False)
    parser.add_argument(
        "--address",
        default="0.0.0.0" if platform_port else "127.0.0.1",  # noqa: S104, checked below
        help="address to listen on; 127.0.0.1, or 0.0.0.0 when PORT is set",
    )
    parser.add_argument(
        "--port",
        default=platform_port or DEFAULT_PORT,
        help=f"port to listen on; PORT, else {DEFAULT_PORT}",
    )
    ours, flowers = parser.parse_known_args(options)
    if not _is_port(ours.port):
        raise NoPortError
    # Flower reads its own variables whatever its command line says.
    if not _is_port(environ.get("FLOWER_PORT", DEFAULT_PORT)):
        raise NoPortError("FLOWER_PORT", _SERVICE_LINKS)
    if not _is_loopback(ours.address) and not has_login(environ):
        raise PublicWithoutAuthenticationError(ours.address)
    return [f"--address={ours.address}", f"--port={ours.port}", *flowers]


def main() -> int:
    """Be Flower; return 2 when the settings forbid it."""
    try:
        arguments = flower_arguments(sys.argv[1:], os.environ)
    except (PublicWithoutAuthenticationError, NoPortError) as error:
        print(error, file=sys.stderr)  # noqa: T201, for the person at the terminal
        return 2
    # Here, as a refusal need not wait for them.
    from celery.__main__ import main as celery
    from flower.inspector import Inspector

    # Flower asks workers eight things at once, on a connection or more each; on Redis that alone
    # would use up a small plan. Two at once take a few seconds instead of one.
    Inspector.max_concurrency = INSPECT_AT_ONCE
    os.environ.setdefault("FLOWER_TASKS_COLUMNS", DEFAULT_COLUMNS)
    sys.argv = ["celery", "-A", "worker", "flower", *arguments]
    celery()
    return 0


if __name__ == "__main__":
    sys.exit(main())
