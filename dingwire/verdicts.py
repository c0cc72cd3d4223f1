"""What DingTalk's error codes mean for a reply: the two tables, and nothing else.

Used by ``webhook.py`` (numbers) and by ``openapi.py`` and ``gateway.py`` (names). Source:
docs/protocol.md, "Answers to a post".
"""

from enum import StrEnum

__all__ = ["Verdict", "classify", "classify_name"]


class Verdict(StrEnum):
    """What to do next."""

    DELIVERED = "delivered"
    RETRY = "retry"  # soon, with backoff
    EXPIRED = "expired"  # the session is over: another route
    THROTTLED = "throttled"  # not before a minute has passed
    REFUSED = "refused"  # never again


GATEWAY_CHECK = 88  # a wrapper; the reason is in sub_code

_RETRY = {
    -1,  # system busy
    15,  # the platform's own time limit of 3 s
    500100,  # exception on their side
    90002,  # calls per second, whole platform
    90018,  # calls per second, this app
}
_EXPIRED = {300001}  # session unknown or over
_THROTTLED = {
    130101,  # 20 a minute
    410100,  # sent too fast
    90001,
    *range(90003, 90015),  # bans by server, organisation, app, suite or address
    90017,
}

_RETRY_NAMES = (
    "system.",
    "systembusy",
    "service.timeout",
    "serviceunavailable",
    "send.ding.exception",
    "unknown.send.result",
    "forbidden.accessdenied.qpslimit",
)
_THROTTLED_NAMES = (
    "send.too.fast",
    "send.bytoken.toofast",
    "too.many.",
    "toomuch.msg",
    "forbidden.accessdenied.qpmlimit",
)
_EXPIRED_NAMES = ("session.notexisted", "session.expired")


def classify(errcode: int, sub_code: int | None = None) -> Verdict:
    """Judge a number from an answer's ``errcode``; one we do not know is refused.

    Args:
        errcode: As answered.
        sub_code: Comes with errcode 88 and decides then. 88 without it means that DingTalk's own
            check timed out.
    """
    if errcode == GATEWAY_CHECK:
        if sub_code is None:
            return Verdict.RETRY
        return Verdict.REFUSED if sub_code in (0, GATEWAY_CHECK) else classify(sub_code)
    if errcode == 0:
        return Verdict.DELIVERED
    if errcode in _RETRY:
        return Verdict.RETRY
    if errcode in _EXPIRED:
        return Verdict.EXPIRED
    return Verdict.THROTTLED if errcode in _THROTTLED else Verdict.REFUSED


def classify_name(code: str) -> Verdict:
    """Judge a name from an answer's ``code``; one we do not know is refused."""
    name = code.lower()
    if name.startswith(_RETRY_NAMES):
        return Verdict.RETRY
    if name.startswith(_THROTTLED_NAMES):
        return Verdict.THROTTLED
    return Verdict.EXPIRED if name.startswith(_EXPIRED_NAMES) else Verdict.REFUSED
