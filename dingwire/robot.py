"""Posting to a DingTalk group robot, the kind a person adds to a group by its address.

``worker/telling/alerts.py`` calls it. As with session webhooks, HTTP 200 says nothing: the
``errcode`` in the body does. The address holds the robot's token, so it is never shown. Source:
docs/protocol.md, "Group robots".
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from dingwire.errors import DingTalkError, shown
from dingwire.http import NoAnswer, is_loopback, new_session, post_json
from dingwire.values import whole_number

__all__ = ["GroupRobot", "RobotError", "signature"]

USER_AGENT = "celery-dingtalk"
# Its security settings turned the message down: keyword, signature, time or address.
INSECURE = 310000


class RobotError(DingTalkError):
    """The group robot did not say what it was given; trying later may work.

    Attributes:
        errcode: DingTalk's number for it; None when it gave none.
    """

    def __init__(self, reason: str, errcode: int | None = None) -> None:
        super().__init__(reason, errcode)
        self.reason, self.errcode = reason, errcode

    def __str__(self) -> str:
        code = "" if self.errcode is None else f"errcode {self.errcode}, "
        hint = ""
        if self.errcode == INSECURE:
            hint = "; compare the robot's security settings with the signing secret we have"
        return f"group robot did not take the message: {code}{self.reason}{hint}"


def signature(secret: str, timestamp_ms: int) -> str:
    """Return what proves that we know ``secret``; good for an hour around the time it names."""
    words = f"{timestamp_ms}\n{secret}".encode()
    return base64.b64encode(hmac.new(secret.encode(), words, hashlib.sha256).digest()).decode()


class GroupRobot:
    """One robot of one group; 20 messages a minute are what DingTalk lets it say."""

    def __init__(
        self,
        webhook: str,
        secret: str | None,
        *,
        clock: Callable[[], datetime],
        timeout_s: tuple[float, float] = (3.05, 10.0),
    ) -> None:
        """Prepare; ``secret`` is None for a robot whose messages need no signature."""
        self._webhook, self._secret = webhook, secret
        self._clock = clock
        self._timeout_s = timeout_s
        self._session = new_session(USER_AGENT, connections=1)

    def post(self, text: str) -> None:
        """Say ``text`` in the group; returning means that DingTalk took it.

        Raises:
            RobotError: It did not, or may not have.
        """
        parts = urlsplit(self._webhook)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise RobotError("its address is not https, and would show its token on the way")
        body = {"msgtype": "text", "text": {"content": text}}
        answer = post_json(self._session, self._signed(), body, timeout_s=self._timeout_s)
        if isinstance(answer, NoAnswer):
            raise RobotError(answer.reason)
        said = answer.body or {}
        errcode = whole_number(said.get("errcode"))
        if errcode is None:
            raise RobotError(f"HTTP {answer.status} without an errcode")
        if errcode != 0:
            raise RobotError(repr(shown(said.get("errmsg"))), errcode)

    def _signed(self) -> str:
        if self._secret is None:
            return self._webhook
        timestamp_ms = round(self._clock().timestamp() * 1000)
        proof = {"timestamp": timestamp_ms, "sign": signature(self._secret, timestamp_ms)}
        return f"{self._webhook}{'&' if '?' in self._webhook else '?'}{urlencode(proof)}"
