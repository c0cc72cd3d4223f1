"""DingTalk's API as far as cards and reactions go, recorded and made to fail."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from dingwire.errors import OpenApiRefusedError, OpenApiThrottledError, OpenApiUnavailableError
from tests.servers import wait_for

__all__ = [
    "ADD",
    "BUSY",
    "CREATE",
    "QPS",
    "RECALL",
    "REFUSED",
    "SLOW_DOWN",
    "STREAM",
    "UPDATE",
    "RecordingApi",
]

ADD, RECALL = "/v1.0/robot/emotion/reply", "/v1.0/robot/emotion/recall"
CREATE = "/v1.0/card/instances/createAndDeliver"
UPDATE, STREAM = "/v1.0/card/instances", "/v1.0/card/streaming"

BUSY = OpenApiUnavailableError("system.err", "try later")
QPS = OpenApiUnavailableError("Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "too fast")
SLOW_DOWN = OpenApiThrottledError("Forbidden.AccessDenied.QpmLimitForAppkeyAndApi", "", 60)
REFUSED = OpenApiRefusedError("param.invalid", "no")


class RecordingApi:
    """Takes every call, unless told what to raise; ``at`` is called while a call is made."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.errors: dict[str, list[Exception]] = {}
        self.always: dict[str, Exception] = {}
        self.at: dict[str, Callable[[], object]] = {}
        self._lock = threading.Lock()

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with self._lock:
            self.calls.append((path, body or {}))
            errors = self.errors.get(path)
            error = errors.pop(0) if errors else self.always.get(path)
        if (happens := self.at.get(path)) is not None:
            happens()
        if error is not None:
            raise error
        return {"success": True, "result": True}

    def to(self, path: str) -> list[Mapping[str, Any]]:
        """Return the bodies of the calls of one API."""
        return [body for called, body in list(self.calls) if called == path]

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in list(self.calls)]

    @property
    def streamed(self) -> list[str]:
        return [body["content"] for body in self.to(STREAM)]

    @property
    def statuses(self) -> list[str]:
        """The card's ``flowStatus`` over time."""
        made = [b["cardData"]["cardParamMap"] for p, b in list(self.calls) if p in (CREATE, UPDATE)]
        return [values["flowStatus"] for values in made if "flowStatus" in values]

    def until(self, condition: Callable[["RecordingApi"], object], what: str) -> None:
        wait_for(lambda: bool(condition(self)), limit_s=60, what=what)
