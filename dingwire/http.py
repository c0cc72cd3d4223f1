"""One careful request with JSON, for the gateway and the API; webhooks have ``posting.py``.

Careful means: a time limit, no redirect followed, no netrc, no cookie kept, a bounded answer, and
no exception of the HTTP library let through, since those hold the whole address.
"""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.util import parse_url

from dingwire.values import without_surrogates

__all__ = [
    "FAILURES",
    "Answer",
    "NoAnswer",
    "explained",
    "is_loopback",
    "new_session",
    "parsed_url",
    "post_file",
    "post_json",
    "proxies_for",
    "read_answer",
    "send_json",
]

MAX_ANSWER_BYTES = 64 * 1024

FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What a request may raise, for :func:`explained`."""

parsed_url = lru_cache(maxsize=512)(parse_url)
"""Parse an address, once for all who ask; a webhook is checked, and checked again for each post."""

# An IP over its limit is banned for five minutes; docs/protocol.md, "Throttling".
_BANNED_STATUS = 1111
_BAN_S = 300.0


@dataclass(frozen=True)
class Answer:
    """What came back. ``body`` is the JSON object, None when there was none."""

    status: int
    body: dict[str, Any] | None = field(repr=False)
    date: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True)
class NoAnswer:
    """Nothing came back. ``may_have_arrived`` is true when the request may have been read."""

    reason: str
    may_have_arrived: bool


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """See none: one that is not followed would be read to its end all the same."""
        return None


def new_session(user_agent: str, *, connections: int = 64) -> requests.Session:
    """Return a keep-alive session for ``connections`` threads; build it after a fork."""
    session = _Session()
    session.headers["User-Agent"] = user_agent
    # Proxies of the environment stay in use; an auth of our own keeps ~/.netrc out.
    session.auth = _no_auth
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=8, pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def is_loopback(host: str) -> bool:
    """Whether ``host`` (no port, IPv6 with or without brackets) is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def post_json(
    session: requests.Session,
    url: str,
    body: Mapping[str, Any],
    *,
    timeout_s: float | tuple[float, float],
    headers: Mapping[str, str] | None = None,
) -> Answer | NoAnswer:
    """Post ``body`` and read the answer; never raises for what a network or a server does."""
    return send_json(session, "POST", url, body, timeout_s=timeout_s, headers=headers)


def send_json(
    session: requests.Session,
    method: str,
    url: str,
    body: Mapping[str, Any] | None,
    *,
    timeout_s: float | tuple[float, float],
    headers: Mapping[str, str] | None = None,
) -> Answer | NoAnswer:
    """As :func:`post_json` by any method; a ``body`` of None sends none."""
    told = {} if body is None else {"Content-Type": "application/json; charset=utf-8"}
    content = None if body is None else json.dumps(body, ensure_ascii=False)
    try:
        with session.request(
            method,
            url,
            data=None if content is None else content.encode("utf-8", "replace"),
            headers={**told, "Accept": "application/json", **(headers or {})},
            timeout=timeout_s,
            allow_redirects=False,
            proxies=proxies_for(url),
            stream=True,
        ) as response:
            return read_answer(response.raw)
    except FAILURES as error:
        return explained(error)


def post_file(
    session: requests.Session,
    url: str,
    *,
    query: Mapping[str, str],
    name: str,
    content: bytes,
    timeout_s: float | tuple[float, float],
) -> Answer | NoAnswer:
    """Post ``content`` as the member ``media`` of a form, under the file name ``name``."""
    try:
        with session.post(
            url,
            params=query,
            files={"media": (name, content)},
            headers={"Accept": "application/json"},
            timeout=timeout_s,
            allow_redirects=False,
            proxies=proxies_for(url),
            stream=True,
        ) as response:
            return read_answer(response.raw)
    except FAILURES as error:
        return explained(error)


def proxies_for(url: str) -> dict[str, str]:
    """Return what keeps the proxies of the environment away from this machine."""
    host = parse_url(url).host or ""
    return {"no_proxy": host} if is_loopback(host) else {}


def read_answer(response: urllib3.BaseHTTPResponse) -> Answer:
    """Read an answer that was not read yet, as far as it is of a size to be one."""
    content = response.read(MAX_ANSWER_BYTES, decode_content=True)
    body = _json_object(content)
    banned = body is not None and body.get("status") == _BANNED_STATUS
    return Answer(
        status=response.status,
        body=body,
        date=response.headers.get("Date"),
        retry_after_s=_BAN_S if banned else _seconds(response.headers.get("Retry-After")),
    )


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(without_surrogates(content.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _seconds(value: str | None) -> float | None:
    return float(value) if value and value.isascii() and value.isdigit() else None


def explained(error: Exception) -> NoAnswer:
    """Say what failed without the library's own words, which hold the address."""
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", None) or getattr(error, "reason", None) or cause
    match error, cause:
        case requests.ConnectTimeout(), _:
            return NoAnswer("no connection within the time limit", may_have_arrived=False)
        case ((requests.ReadTimeout() | urllib3.exceptions.ReadTimeoutError()), _):
            return NoAnswer("no answer within the time limit", may_have_arrived=True)
        case requests.exceptions.ProxyError(), _:
            return NoAnswer("the proxy failed", may_have_arrived=False)
        case _, urllib3.exceptions.NameResolutionError():
            return NoAnswer("host name not found", may_have_arrived=False)
        case _, urllib3.exceptions.NewConnectionError():
            return NoAnswer("no connection", may_have_arrived=False)
        case _, urllib3.exceptions.ConnectTimeoutError():
            return NoAnswer("no connection within the time limit", may_have_arrived=False)
        case (requests.exceptions.SSLError(), _) | (_, urllib3.exceptions.SSLError()) if (
            "CERTIFICATE_VERIFY_FAILED" in str(error)
        ):
            return NoAnswer("TLS certificate not trusted", may_have_arrived=False)
        case ValueError(), _:  # requests' own errors for an address it cannot use
            return NoAnswer("address not usable", may_have_arrived=False)
        case _:
            return NoAnswer(f"connection lost ({type(error).__name__})", may_have_arrived=True)
