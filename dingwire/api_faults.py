"""What DingTalk's API says when a call did not work, as one of our errors.

Used by ``openapi.py``, and by what speaks to the old API beside it (media upload). Source:
docs/protocol.md, "Proactive messages" and "Throttling".
"""

from collections.abc import Mapping
from typing import Any

from dingwire.errors import (
    OpenApiError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
    shown,
)
from dingwire.http import Answer
from dingwire.tokens import INVALID_TOKEN
from dingwire.values import text, whole_number
from dingwire.verdicts import Verdict, classify, classify_name

__all__ = ["check_success", "fault_of", "hold_s"]

THROTTLE_S = 60.0

# A second later there is room again, so the call itself is only put off by the usual backoff.
_PER_SECOND = ("forbidden.accessdenied.qpslimit", "90018", "90002")
_SECOND_S = 1.0


def fault_of(answer: Answer, *secrets: str) -> OpenApiError | None:
    """Judge an answer of the new API or of the old; None when the call worked.

    Args:
        answer: As it came.
        secrets: What is cut from DingTalk's words, should they repeat it.
    """
    body = answer.body or {}
    errcode = whole_number(body.get("errcode"))
    if errcode is not None:
        return _fault_by_number(answer, errcode, *secrets)
    if answer.status == 200 and answer.retry_after_s is None and body and "code" not in body:
        return None
    return _fault_by_name(answer, *secrets)


def hold_s(error: OpenApiError) -> float | None:
    """Return for how long nobody should make this call; None when it is not about haste."""
    if isinstance(error, OpenApiThrottledError):
        return error.retry_after_s
    return _SECOND_S if error.code.lower().startswith(_PER_SECOND) else None


def _fault_by_name(answer: Answer, *secrets: str) -> OpenApiError:
    status, body = answer.status, answer.body or {}
    name = text(body.get("code"))
    code, message = shown(name, *secrets), shown(body.get("message"), *secrets)
    if status in (400, 401) and name in INVALID_TOKEN:
        return OpenApiRefusedError(name, message)
    verdict = classify_name(name)
    wait_s = answer.retry_after_s
    if verdict is Verdict.THROTTLED or wait_s or status == 429:
        return OpenApiThrottledError(
            code or f"http {status}", message, max(THROTTLE_S, wait_s or 0)
        )
    if verdict is Verdict.RETRY or status >= 500 or (status == 200 and not name):
        return OpenApiUnavailableError(code or f"http {status}", message, ambiguous=status != 403)
    return OpenApiRefusedError(code or f"http {status}", message)


def _fault_by_number(answer: Answer, errcode: int, *secrets: str) -> OpenApiError | None:
    body = answer.body or {}
    sub_code = whole_number(body.get("sub_code"))
    code = str(errcode if sub_code is None else sub_code)
    message = shown(body.get("sub_msg") or body.get("errmsg"), *secrets)
    match classify(errcode, sub_code):
        case Verdict.DELIVERED if answer.status == 200:
            return None
        case Verdict.DELIVERED | Verdict.RETRY:
            return OpenApiUnavailableError(code, message)
        case Verdict.THROTTLED:
            wait_s = max(THROTTLE_S, answer.retry_after_s or 0)
            return OpenApiThrottledError(code, message, wait_s)
        case Verdict.EXPIRED | Verdict.REFUSED:
            return OpenApiRefusedError(code, message)


def check_success(answer: Mapping[str, Any]) -> None:
    """Look into an answer with HTTP 200 that says itself whether the call worked.

    Raises:
        OpenApiRefusedError: It says that it did not.
    """
    success = answer.get("success")
    if success is False or text(success).lower() == "false":
        raise OpenApiRefusedError("no success", shown(answer.get("errorMsg")))
