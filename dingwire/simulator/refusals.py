"""Why the OpenAPI says no: the errors of a call, and the ones that can be ordered by name.

``access`` answers calls with them; the faces behind it raise them.
"""

from dataclasses import dataclass, field
from typing import Any

from dingwire.simulator.faults import FaultsError

__all__ = ["DENIED", "PARAMETER", "ApiFault", "RefusedError", "scope_of"]

DENIED = "Forbidden.AccessDenied."
PARAMETER = "invalidParameter."

SCOPES = {
    "/v1.0/robot/": "qyapi_robot_sendmsg",
    "/v1.0/card/instances": "Card.Instance.Write",
    "/v1.0/card/streaming": "Card.Streaming.Write",
}

NAMED: dict[str, tuple[int, str, str]] = {
    "permission": (403, DENIED + "AccessTokenPermissionDenied", "应用尚未开通所需的权限"),
    "qps": (
        403,
        DENIED + "QpsLimitForAppkeyAndApi",
        "too many calls of this app and API in one second",
    ),
    "qpm": (
        403,
        DENIED + "QpmLimitForAppkeyAndApi",
        "too many calls of this app and API in one minute",
    ),
    "count_limit": (403, DENIED + "ApiCountLimitForOrg", "the monthly API quota is used up"),
    "ip_refused": (403, DENIED + "IpNotInWhiteList", "访问ip不在白名单之中"),
    "token": (400, "InvalidAuthentication", "不合法的access_token"),
    "busy": (429, "system.busy", "system busy"),
    "system_error": (500, "system.error", "system error"),
    "timeout": (504, "service.timeout", "the service did not answer in time"),
    "unavailable": (503, "", "Service Unavailable"),  # an error page, no JSON
    "banned": (200, "1111", "this address called too often"),  # the IP ban's own shape
}


class RefusedError(Exception):
    """A call that is answered with an error.

    Attributes:
        status: HTTP status.
        code: The body's ``code``; empty for an error page without JSON.
        message: The body's ``message``.
        more: Further members of the body.
        took_effect: Whether the call was carried out before it was refused.
    """

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more
        self.took_effect = False

    @classmethod
    def named(cls, name: str, path: str) -> "RefusedError":
        """One of the errors that can be ordered by name, as this API words it."""
        status, code, message = NAMED[name]
        if name != "permission":
            return cls(status, code, message)
        return cls(status, code, message, accessdenieddetail={"requiredScopes": [scope_of(path)]})


@dataclass(kw_only=True)
class ApiFault:
    """What the next calls of an API meet instead of their answer.

    Attributes:
        path: The API's path; a final ``*`` stands for any end.
        times: How many calls meet it; ``None`` means all, until healed.
        client_id: Only calls of this app; ``None`` means any.
        kind: An error by its name here: permission, qps, qpm, count_limit, ip_refused, token (which
            also makes the app's tokens worthless), busy, system_error, timeout, unavailable,
            banned.
        status: HTTP status of an error of your own.
        code: Its ``code``; without one the answer is an error page.
        message: Its ``message``.
        hang_s: Seconds before the answer.
        reset: Cut the TCP connection instead of answering.
        accept: Whether the call took effect all the same; by default a call that only hangs or is
            reset did, and one that gets an error did not.
    """

    path: str = "*"
    times: int | None = 1
    client_id: str | None = None
    kind: str = ""
    status: int = 0
    code: str = ""
    message: str = "simulated failure"
    hang_s: float = 0.0
    reset: bool = False
    accept: bool | None = None
    met: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind and self.kind not in NAMED:
            raise FaultsError(f"an API fault is one of {', '.join(sorted(NAMED))}")

    @property
    def takes_effect(self) -> bool:
        """Whether the call is carried out although its caller may not learn of it."""
        if self.accept is not None:
            return self.accept
        return not (self.kind or self.status)

    def applies_to(self, path: str, client_id: str) -> bool:
        """Whether a call of ``path`` by this app meets the fault now."""
        is_left = self.times is None or self.met < self.times
        is_here = self.path == path or (
            self.path.endswith("*") and path.startswith(self.path.removesuffix("*"))
        )
        return is_left and is_here and self.client_id in (None, client_id)

    def raise_error(self, path: str) -> None:
        """Raise the error it answers with, if it is not only slow or cut."""
        error = RefusedError.named(self.kind, path) if self.kind else None
        if self.status:
            error = RefusedError(self.status, self.code, self.message)
        if error is not None:
            error.took_effect = self.takes_effect
            raise error


def scope_of(path: str) -> str:
    """The permission an API needs."""
    return next((scope for start, scope in SCOPES.items() if path.startswith(start)), "unknown")
