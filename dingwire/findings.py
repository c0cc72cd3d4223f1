"""What DingTalk's refusals mean for whoever has to put things right: a finding each.

``probe.py`` asks, and passes on what was answered.
"""

from dataclasses import dataclass
from typing import Literal, Self

from dingwire.errors import (
    CredentialsRefusedError,
    GatewayError,
    GatewayRefusedError,
    GatewayUnavailableError,
    OpenApiError,
    OpenApiThrottledError,
)

__all__ = [
    "Finding",
    "is_nameless",
    "missing",
    "no_ticket",
    "not_dingtalk",
    "refused",
    "refused_credentials",
]

_OTHER_SERVER = "look at DINGTALK_OPENAPI_ENDPOINT, or a proxy between"


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it."""

    status: Literal["ok", "warn", "FAIL", "skip"]
    reason: str
    fix: str = ""

    @classmethod
    def fail(cls, reason: str, fix: str = "") -> Self:
        """It does not work."""
        return cls("FAIL", reason, fix)


def missing(client_id: str, client_secret: str) -> Finding:
    """Credentials are not there."""
    named = {"DINGTALK_CLIENT_ID": client_id, "DINGTALK_CLIENT_SECRET": client_secret}
    unset = [name for name, value in named.items() if not value]
    fix = "copy them from the app's page in the developer console (凭证与基础信息)"
    if len(unset) == len(named):
        fix += "; `make run` without them uses a simulated DingTalk, which is not looked at here"
    verb = "is" if len(unset) == 1 else "are"
    return Finding.fail(f"{' and '.join(unset)} {verb} not set: no listener can start", fix)


def is_nameless(error: OpenApiError) -> bool:
    """Whether an answer held no name of DingTalk's: it stands for it with ``http`` and a number."""
    return error.code.startswith("http ")


def not_dingtalk(host: str, error: OpenApiError) -> Finding:
    """Something else answers, as at a wrong address or from a proxy."""
    status = error.code.upper()
    return Finding.fail(f"what answers at {host} is not DingTalk ({status})", _OTHER_SERVER)


def refused_credentials(error: OpenApiError, client_id: str, client_secret: str) -> Finding:
    """No access token was given."""
    name = error.code.lower()
    if isinstance(error, OpenApiThrottledError):
        return Finding("warn", f"DingTalk is asked too often just now: {error.code}", "try again")
    if "ipnotinwhitelist" in name:
        return Finding.fail(
            f"DingTalk lets this machine's address not in: {error.code}",
            "add it to the app's list of server addresses in the developer console",
        )
    # DingTalk's own code names both; one that names only one of them is believed.
    has_id, has_secret = "clientid" in name or "appkey" in name, "secret" in name
    wrong = {
        (True, False): "DINGTALK_CLIENT_ID",
        (False, True): "DINGTALK_CLIENT_SECRET",
    }.get((has_id, has_secret), "DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET")
    fix = "copy both again from the app's page in the developer console (凭证与基础信息)"
    for variable, value in (
        ("DINGTALK_CLIENT_ID", client_id),
        ("DINGTALK_CLIENT_SECRET", client_secret),
    ):
        if value != value.strip():
            wrong, fix = variable, "it begins or ends with a space: remove it"
    return Finding.fail(f"DingTalk refused {wrong} ({error.code})", fix)


def no_ticket(error: GatewayError) -> Finding:
    """No ticket was given for a Stream connection."""
    match error:
        case CredentialsRefusedError():
            return Finding.fail(
                "DingTalk gives no ticket: it refused DINGTALK_CLIENT_ID or DINGTALK_CLIENT_SECRET",
                "copy both again from the app's page; the app must be switched on",
            )
        case GatewayRefusedError():
            return Finding.fail(
                f"DingTalk gives no ticket: HTTP {error.status}, {error.code}; as when the robot "
                "is not in Stream mode, or the app is not published",
                "developer console: 机器人 → 消息接收模式 → Stream 模式, then 版本管理与发布",
            )
        case GatewayUnavailableError():
            fix = _OTHER_SERVER if "without JSON" in error.reason else "try again"
            return Finding.fail(f"DingTalk gives no ticket: {error.reason}", fix)
        case _:
            return Finding.fail("DingTalk gives no ticket", "try again")


def refused(error: OpenApiError, what: str) -> Finding:
    """A proactive message was refused; ``what`` says which, as a sentence begins."""
    reason = f"{what}: {error.code}" + (f", {error.message!r}" if error.message else "")
    name = error.code.lower()
    if "permission" in name:
        return Finding.fail(
            f"{what}: the app lacks the API permission qyapi_robot_sendmsg ({error.code})",
            "developer console: 权限管理 → qyapi_robot_sendmsg, then publish a version",
        )
    if "apicountlimit" in name:
        return Finding.fail(f"{what}: the month's API calls are used up ({error.code})", "buy more")
    if "robotcode" in name or name in {"resource.not.found", "bot.stopped"}:
        return Finding.fail(reason, "is the robot switched on, and the app published?")
    if name in {"invalidstaffidlist", "filteredstaffidlist", "staffid.notexisted"}:
        return Finding.fail(reason, "is the staff id right, and the person in the bot's scope?")
    if error.retryable:
        return Finding("warn", reason, "try again")
    return Finding.fail(reason, "docs/troubleshooting.md")
