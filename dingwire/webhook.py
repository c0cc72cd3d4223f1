"""Posting a reply to its session webhook, and understanding the answer.

The worker's delivery calls it. HTTP 200 says nothing here: what counts is the ``errcode`` in the
body. A webhook is a key to a chat, so it is posted to only where it may point, and never shown.
Source: docs/protocol.md, "Session webhooks" and "Answers to a post".
"""

from dingwire.errors import (
    WebhookBusyError,
    WebhookError,
    WebhookExpiredError,
    WebhookRefusedError,
    WebhookThrottledError,
    WebhookUnreachableError,
    shown,
)
from dingwire.guarded import guarded_session
from dingwire.http import Answer, NoAnswer
from dingwire.posting import JsonPoster
from dingwire.replies import Reply, webhook_body
from dingwire.values import text, whole_number
from dingwire.verdicts import Verdict, classify, classify_name
from dingwire.webhook_hosts import DEFAULT_HOSTS, WebhookHosts

__all__ = ["DEFAULT_HOSTS", "Verdict", "WebhookClient", "WebhookHosts", "classify"]

USER_AGENT = "celery-dingtalk"
THROTTLE_S = 60.0  # DingTalk's own throttle lasts one to ten minutes


class WebhookClient:
    """Posts replies over kept connections; one instance serves all threads of a process."""

    def __init__(
        self, hosts: WebhookHosts, *, timeout_s: tuple[float, float] = (3.05, 10.0)
    ) -> None:
        self._hosts = hosts
        session = guarded_session(USER_AGENT, hosts.addresses)
        self._poster = JsonPoster(session, timeout_s=timeout_s)

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
        answer = self._poster.post(url, body)
        if isinstance(answer, NoAnswer):
            raise WebhookUnreachableError(answer.reason, answer.may_have_arrived)
        fault = _fault(answer)
        if fault is not None:
            raise fault

    def close(self) -> None:
        """Close the kept connections."""
        self._poster.close()


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
