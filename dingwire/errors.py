"""What can go wrong between us and DingTalk, one class per thing a caller does differently.

Raised by the modules beside this one, caught by the listener and the worker. No text, argument
or cause of these errors holds a secret, a webhook or what a person wrote: words that come from
DingTalk pass through :func:`shown` first, and causes are dropped because an HTTP library puts the
whole address into its own error.
"""

import re

__all__ = [
    "CredentialsRefusedError",
    "DingTalkError",
    "FrameError",
    "GatewayError",
    "GatewayRefusedError",
    "GatewayUnavailableError",
    "MediaError",
    "MediaNotAllowedError",
    "MediaNotUploadedError",
    "MediaRefusedError",
    "MediaTooLargeError",
    "MediaUnavailableError",
    "MediaWrongTypeError",
    "OpenApiError",
    "OpenApiRefusedError",
    "OpenApiThrottledError",
    "OpenApiUnavailableError",
    "WebhookBusyError",
    "WebhookError",
    "WebhookExpiredError",
    "WebhookNotAllowedError",
    "WebhookRefusedError",
    "WebhookThrottledError",
    "WebhookUnreachableError",
    "shown",
]

SHOWN_CHARS = 200

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+|\b[\w-]+(?:\.[\w-]+)+(?::\d+)?/\S*", re.IGNORECASE)
_KEY_VALUE = re.compile(
    r"""\b(\w*(?:token|session|secret|ticket))["']?\s*[=:]\s*["']?[^\s"'&,;}]+""", re.IGNORECASE
)
_LONG_WORD = re.compile(r"(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{24,}")  # names of errors have no digits


def shown(text: object, *secrets: str) -> str:
    """Return DingTalk's words as they may be shown: no addresses, no tokens, at most 200 chars."""
    words = text if isinstance(text, str) else ""
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
    words = _ADDRESS.sub("***", words[: SHOWN_CHARS * 10])
    words = _KEY_VALUE.sub(r"\1=***", words)
    words = _LONG_WORD.sub("***", words)
    return " ".join(words.encode("utf-8", "replace").decode().split())[:SHOWN_CHARS]


class DingTalkError(Exception):
    """Base of all errors of this package."""


class FrameError(DingTalkError):
    """What came over the Stream connection is no frame; the text never holds its content."""


class GatewayError(DingTalkError):
    """No ticket for a Stream connection could be had."""


class CredentialsRefusedError(GatewayError):
    """DingTalk does not know this client id and secret; asking again at once changes nothing."""

    def __str__(self) -> str:
        return (
            "DingTalk refused the client id or secret: check DINGTALK_CLIENT_ID and "
            "DINGTALK_CLIENT_SECRET"
        )


class GatewayUnavailableError(GatewayError):
    """The gateway did not answer usefully; asking again later may work.

    Attributes:
        reason: What happened, in a few words.
        retry_after_s: Shortest wait DingTalk asks for; None when it asks for none.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, retry_after_s)
        self.reason, self.retry_after_s = reason, retry_after_s

    def __str__(self) -> str:
        return f"gateway unavailable: {self.reason}"


class GatewayRefusedError(GatewayError):
    """The gateway read the registration and said no, for another reason than the credentials."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message

    def __str__(self) -> str:
        return (
            f"gateway refused the registration: HTTP {self.status}, {self.code}, {self.message!r}"
        )


class WebhookError(DingTalkError):
    """A reply was not delivered through its session webhook.

    Attributes:
        errcode: DingTalk's number for it; None when it gave none.
    """

    errcode: int | None = None


class WebhookNotAllowedError(WebhookError):
    """The webhook points where we do not post; nothing was sent."""

    def __init__(self, host: str, reason: str = "its host is not in the list") -> None:
        super().__init__(host, reason)
        self.host, self.reason = host, reason

    def __str__(self) -> str:
        return (
            f"session webhook at {self.host!r} is not allowed: {self.reason}; "
            "DINGTALK_WEBHOOK_HOSTS names the hosts that are"
        )


class WebhookUnreachableError(WebhookError):
    """The post failed on its way; the same post may work later.

    Attributes:
        ambiguous: Whether DingTalk may have received the reply all the same.
    """

    def __init__(self, reason: str, ambiguous: bool = False, errcode: int | None = None) -> None:
        super().__init__(reason, ambiguous, errcode)
        self.reason, self.ambiguous, self.errcode = reason, ambiguous, errcode

    def __str__(self) -> str:
        doubt = " (the reply may have arrived)" if self.ambiguous else ""
        return f"session webhook unreachable: {self.reason}{doubt}"


class WebhookBusyError(WebhookUnreachableError):
    """DingTalk answered that it is busy; the reply was not delivered, a retry may work."""

    def __init__(self, errcode: int | None, errmsg: str = "") -> None:
        super().__init__(f"errcode {errcode}, {errmsg!r}", False, errcode)
        self.args = (errcode, errmsg)
        self.errmsg = errmsg


class WebhookThrottledError(WebhookError):
    """Too many posts; the next one has to wait.

    Attributes:
        retry_after_s: Shortest wait; 60 or more.
    """

    def __init__(self, errcode: int | None, retry_after_s: float = 60.0) -> None:
        super().__init__(errcode, retry_after_s)
        self.errcode, self.retry_after_s = errcode, retry_after_s

    def __str__(self) -> str:
        return (
            f"session webhook throttled: errcode {self.errcode}, "
            f"wait {self.retry_after_s:g} s or more"
        )


class WebhookExpiredError(WebhookError):
    """The session of this webhook is over; only another route can answer now."""

    def __init__(self, errcode: int | None) -> None:
        super().__init__(errcode)
        self.errcode = errcode

    def __str__(self) -> str:
        return f"session webhook expired: errcode {self.errcode}"


class WebhookRefusedError(WebhookError):
    """DingTalk read the reply and said no; posting it again changes nothing."""

    def __init__(self, errcode: int | None, errmsg: str) -> None:
        super().__init__(errcode, errmsg)
        self.errcode, self.errmsg = errcode, errmsg

    def __str__(self) -> str:
        return f"session webhook refused the reply: errcode {self.errcode}, {self.errmsg!r}"


class OpenApiError(DingTalkError):
    """A call of DingTalk's API failed.

    Attributes:
        code: DingTalk's name for it, or ours when it gave none (``unreachable``, ``http 502``).
        message: DingTalk's words, cut and cleaned.
        retryable: Whether the same call may work later.
    """

    retryable = False

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"DingTalk API call failed: {self.code}, {self.message!r}"


class OpenApiUnavailableError(OpenApiError):
    """No useful answer; the same call may work later.

    Attributes:
        ambiguous: Whether DingTalk may have acted on the call all the same.
    """

    retryable = True

    def __init__(self, code: str, message: str = "", ambiguous: bool = False) -> None:
        super().__init__(code, message)
        self.args = (code, message, ambiguous)
        self.ambiguous = ambiguous


class OpenApiThrottledError(OpenApiError):
    """Too many calls; the next one has to wait ``retry_after_s``."""

    retryable = True

    def __init__(self, code: str, message: str = "", retry_after_s: float = 60.0) -> None:
        super().__init__(code, message)
        self.args = (code, message, retry_after_s)
        self.retry_after_s = retry_after_s


class OpenApiRefusedError(OpenApiError):
    """DingTalk read the call and said no; calling again changes nothing."""


class MediaError(DingTalkError):
    """A picture, voice message, video or file could not be had.

    Attributes:
        reason: What happened, in a few words.
        retryable: Whether the same download may work later.
    """

    retryable = False

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"media not downloaded: {self.reason}"


class MediaNotUploadedError(MediaError):
    """It cannot be read, or is not what DingTalk takes; uploading it again changes nothing."""

    def __str__(self) -> str:
        return f"media not uploaded: {self.reason}"


class MediaUnavailableError(MediaError):
    """It did not come, or not in time; the same download may work later."""

    retryable = True


class MediaRefusedError(MediaError):
    """DingTalk does not give it out: the code is wrong, too old, missing, or another bot's."""


class MediaNotAllowedError(MediaError):
    """It lies where we do not fetch from; nothing was asked there."""


class MediaTooLargeError(MediaError):
    """It has more bytes than ``MEDIA_MAX_MB`` allows."""


class MediaWrongTypeError(MediaError):
    """What came is not of the kind that was sent."""
