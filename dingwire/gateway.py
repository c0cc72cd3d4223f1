"""Registration: asks DingTalk where to connect, and for the ticket that opens the connection.

The listener calls it before every connection, because a ticket opens one connection only and dies
after 90 s. Source: docs/protocol.md, "Registration".
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

import requests

from dingwire.errors import (
    CredentialsRefusedError,
    GatewayError,
    GatewayRefusedError,
    GatewayUnavailableError,
    shown,
)
from dingwire.http import Answer, NoAnswer, post_json
from dingwire.protocol import StreamProtocol
from dingwire.values import text
from dingwire.verdicts import Verdict, classify_name

__all__ = ["Registration", "measured_offset", "register"]

PATH = "/v1.0/gateway/connections/open"
THROTTLE_S = 60.0

# The Date header counts whole seconds and the way takes time: less than this is no offset.
CLOCK_RESOLUTION = timedelta(seconds=1.5)


@dataclass(frozen=True)
class Registration:
    """Where to connect, once, within 90 s."""

    endpoint: str
    ticket: str = field(repr=False)
    clock_offset: timedelta = timedelta(0)  # DingTalk's clock minus ours

    @property
    def url(self) -> str:
        """The WebSocket's address; holds the ticket, so it is as secret."""
        joint = "&" if urlsplit(self.endpoint).query else "?"
        return f"{self.endpoint}{joint}{urlencode({'ticket': self.ticket})}"


def register(
    session: requests.Session,
    *,
    endpoint: str,
    client_id: str,
    client_secret: str,
    user_agent: str,
    clock: Callable[[], datetime],
    timeout_s: float = 10,
) -> Registration:
    """Ask for a ticket.

    Args:
        session: From ``dingwire.http.new_session``.
        endpoint: Base address of DingTalk's API, without a slash at its end.
        client_id: The bot's app key.
        client_secret: The app secret; part of the body, shown by no error.
        user_agent: ``name/version``, for DingTalk's diagnosis.
        clock: Aware UTC.
        timeout_s: For the connection and for the answer, each.

    Raises:
        CredentialsRefusedError: Client id or secret is wrong; somebody has to look.
        GatewayRefusedError: Another no; somebody has to look.
        GatewayUnavailableError: Anything that a later attempt may get past.
    """
    body = {
        "clientId": client_id,
        "clientSecret": client_secret,
        "subscriptions": StreamProtocol().subscriptions(),
        "ua": user_agent,
        "localIp": _local_ip(),
    }
    headers = {"User-Agent": user_agent}
    before = clock()
    answer = post_json(session, endpoint + PATH, body, timeout_s=timeout_s, headers=headers)
    middle = before + (clock() - before) / 2
    if isinstance(answer, NoAnswer):
        raise GatewayUnavailableError(answer.reason)
    fault = _fault(answer, client_secret)
    if fault is not None:
        raise fault
    return _registration(answer, middle)


def _registration(answer: Answer, middle: datetime) -> Registration:
    body = answer.body or {}
    address, ticket = text(body.get("endpoint")), text(body.get("ticket"))
    if not ticket or not address.startswith(("wss://", "ws://")):
        raise GatewayUnavailableError("HTTP 200 without an endpoint and a ticket")
    offset = measured_offset(answer.date, middle) or timedelta(0)
    if abs(offset) < CLOCK_RESOLUTION:
        offset = timedelta(0)
    return Registration(address, ticket, offset)


def measured_offset(date: str | None, middle: datetime) -> timedelta | None:
    """Return DingTalk's clock minus ours; None when there is nothing to measure by.

    Args:
        date: The ``Date`` header of an answer.
        middle: Our time half-way between question and answer.
    """
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    return theirs + timedelta(seconds=0.5) - middle


def _local_ip() -> str:
    """Return the address this machine sends from, for DingTalk's diagnosis; empty when unknown.

    Nothing is sent and no name is looked up: connecting a datagram socket to an address set aside
    for documentation only asks the routing table.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _fault(answer: Answer, secret: str) -> GatewayError | None:
    """Return what the answer says went wrong; None for a 200."""
    body, status = answer.body, answer.status
    code = text((body or {}).get("code"))
    if status == 401 or code == "authFailed":
        return CredentialsRefusedError()
    if body is None:  # a proxy's page, a ban's page, half an answer
        return GatewayUnavailableError(f"HTTP {status} without JSON", answer.retry_after_s)
    if status == 200 and not code and answer.retry_after_s is None:
        return None
    verdict = classify_name(code)
    if verdict is Verdict.THROTTLED:
        wait_s = max(THROTTLE_S, answer.retry_after_s or 0)
        return GatewayUnavailableError(f"HTTP {status}, {shown(code, secret)}", wait_s)
    # No name at all is no decision either, whatever the status.
    if verdict is Verdict.RETRY or status == 429 or not 400 <= status < 500 or not code:
        reason = f"HTTP {status}" + (f", {shown(code, secret)}" if code else "")
        return GatewayUnavailableError(reason, answer.retry_after_s)
    return GatewayRefusedError(status, shown(code, secret), shown(body.get("message"), secret))
