"""Posting a reply to its session webhook, and understanding the answer.

The worker's delivery calls it. HTTP 200 says nothing here: what counts is the ``errcode`` in the
body. A webhook is a key to a chat, so it is posted to only where it may point, and never shown.
Source: docs/protocol.md, "Session webhooks" and "Answers to a post".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from dingwire.errors import (
    WebhookBusyError,
    WebhookError,
    WebhookExpiredError,
    WebhookNotAllowedError,
    WebhookRefusedError,
    WebhookThrottledError,
    WebhookUnreachableError,
    shown,
)
from dingwire.http import Answer, NoAnswer, is_loopback, new_session, post_json
from dingwire.replies import Reply, webhook_body
from dingwire.values import text, whole_number
from dingwire.verdicts import Verdict, classify, classify_name

__all__ = ["DEFAULT_HOSTS", "Verdict", "WebhookClient", "WebhookHosts", "classify"]

DEFAULT_HOSTS = ("oapi.dingtalk.com", "api.dingtalk.com")
USER_AGENT = "celery-dingtalk"
THROTTLE_S = 60.0  # DingTalk's own throttle lasts one to ten minutes
HTTPS_PORT = 443
HOST_CHARS = 100


@dataclass(frozen=True)
class WebhookHosts:
    """Where a session webhook may point.

    ``allowed`` holds (host, port) pairs; port None means https on its usual port.
    """

    allowed: frozenset[tuple[str, int | None]]

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read ``host`` and ``host:port`` entries.

        Raises:
            ValueError: Naming the entry that is neither.
        """
        return cls(frozenset(_entry(entry) for entry in entries))

    def check(self, url: str) -> None:
        """Let a webhook pass, or raise.

        https only, except on a loopback address listed with its port; exact host; no user part.

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
        if (host, port) in self.allowed:
            return
        if port in (None, HTTPS_PORT) and self.allowed & {(host, None), (host, HTTPS_PORT)}:
            return
        raise WebhookNotAllowedError(name)


def _parsed(url: str) -> Url | None:
    """Parse with the parser that will also make the request, so that the two cannot differ."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        return parse_url(url)
    except LocationParseError:
        return None


def _authority(url: str) -> str:
    """Return what stands between ``//`` and the path; the parser drops an empty user part."""
    return re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]


def _entry(entry: str) -> tuple[str, int | None]:
    bracketed = f"[{entry}]" if entry.count(":") > 1 and not entry.startswith("[") else entry
    parsed = _parsed(f"https://{bracketed}")
    if parsed is None or not parsed.host or parsed.auth or parsed.path or parsed.query:
        raise ValueError(f"{entry[:HOST_CHARS]!r} is not a host or host:port")
    return parsed.host, parsed.port


class WebhookClient:
    """Posts replies over kept connections; one instance serves all threads of a process."""

    def __init__(
        self, hosts: WebhookHosts, *, timeout_s: tuple[float, float] = (3.05, 10.0)
    ) -> None:
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._session = new_session(USER_AGENT)

    def post(self, url: str, reply: Reply, *, msg_uuid: str | None = None) -> None:
        """Post ``reply``; returning means that DingTalk took it.

        Raises:
            WebhookNotAllowedError: Nothing was sent.
            WebhookUnreachableError: Retry while time remains; see its ``ambiguous``.
            WebhookThrottledError: Retry after its ``retry_after_s``.
            WebhookExpiredError: This webhook is dead.
            WebhookRefusedError: The reply is unacceptable.
        """
        self._hosts.check(url)
        body = webhook_body(reply, msg_uuid=msg_uuid)
        answer = post_json(self._session, url, body, timeout_s=self._timeout_s)
        if isinstance(answer, NoAnswer):
            raise WebhookUnreachableError(answer.reason, answer.may_have_arrived)
        fault = _fault(answer)
        if fault is not None:
            raise fault

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()


def _fault(answer: Answer) -> WebhookError | None:
    """Return what the answer says went wrong; None when the reply was delivered."""
    body = answer.body or {}
    errcode = whole_number(body.get("errcode"))
    name = text(body.get("code"))
    if errcode is not None:
        verdict = classify(errcode, whole_number(body.get("sub_code")))
    elif name and classify_name(name) is not Verdict.REFUSED:
        verdict = classify_name(name)
    else:
        return _fault_by_status(answer, name)
    words = shown(body.get("errmsg") or body.get("sub_msg") or body.get("message"))
    match verdict:
        case Verdict.DELIVERED:
            # A zero under an error status contradicts itself; it may be an old proxy's page.
            return None if answer.status == 200 else _fault_by_status(answer, name)
        case Verdict.RETRY:
            return WebhookBusyError(errcode, words or shown(name))
        case Verdict.EXPIRED:
            return WebhookExpiredError(errcode)
        case Verdict.THROTTLED:
            return WebhookThrottledError(errcode, max(THROTTLE_S, answer.retry_after_s or 0))
        case Verdict.REFUSED:
            return WebhookRefusedError(errcode, words)


def _fault_by_status(answer: Answer, name: str) -> WebhookError:
    """Judge an answer whose body decides nothing."""
    status, wait_s = answer.status, answer.retry_after_s or 0
    if status == 429 or (status < 500 and wait_s):
        return WebhookThrottledError(None, max(THROTTLE_S, wait_s))
    if status >= 500 or status == 408 or (status == 200 and not name):
        said = "without an errcode" if status == 200 else ""
        return WebhookUnreachableError(f"HTTP {status} {said}".strip(), ambiguous=True)
    return WebhookRefusedError(None, f"HTTP {status} {shown(name)}".strip())
