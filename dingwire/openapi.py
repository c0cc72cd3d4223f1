"""DingTalk's API: messages sent without being asked, for replies that missed their webhook.

The worker's late policy ``rescue`` calls it. One access token is cached per client. Source:
docs/protocol.md, "Proactive messages".
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dingwire.errors import (
    OpenApiError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
    shown,
)
from dingwire.http import Answer, NoAnswer, new_session, post_json
from dingwire.replies import Reply, Text, proactive_message
from dingwire.values import text, whole_number
from dingwire.verdicts import Verdict, classify_name

__all__ = ["OpenApiClient"]

TOKEN_PATH = "/v1.0/oauth2/accessToken"  # noqa: S105 - an address, not a token
TO_USER_PATH = "/v1.0/robot/oToMessages/batchSend"
TO_GROUP_PATH = "/v1.0/robot/groupMessages/send"
TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - a header's name
INVALID_TOKEN = "InvalidAuthentication"  # noqa: S105 - an error's name
USER_AGENT = "celery-dingtalk"

REFRESH_EARLY = timedelta(minutes=5)
DEFAULT_LIFE_S = 7200
THROTTLE_S = 60.0


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    good_until: datetime


class OpenApiClient:
    """Calls DingTalk's API for one bot; one instance serves all threads of a process."""

    def __init__(
        self,
        *,
        endpoint: str,
        client_id: str,
        client_secret: str,
        clock: Callable[[], datetime],
        timeout_s: tuple[float, float] = (3.05, 10.0),
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._timeout_s = timeout_s
        self._session = new_session(USER_AGENT)
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def send_to_user(self, robot_code: str, staff_id: str, reply: Reply) -> str:
        """Send ``reply`` to one person; return the key of the message.

        Raises:
            OpenApiUnavailableError: Retry later.
            OpenApiThrottledError: Retry after its ``retry_after_s``; also when DingTalk held this
                person's copy back.
            OpenApiRefusedError: Do not retry; also when the person is not one the bot can reach.
        """
        body = {"robotCode": robot_code, "userIds": [staff_id], **_message(reply)}
        answer = self._call(TO_USER_PATH, body)
        # HTTP 200 covers these as well: the call was fine, the person did not get it.
        for name in ("invalidStaffIdList", "filteredStaffIdList"):
            if answer.get(name):
                raise OpenApiRefusedError(name, "the bot cannot reach this person")
        if answer.get("flowControlledStaffIdList"):
            raise OpenApiThrottledError("flowControlledStaffIdList", "too many to this person")
        return _key(answer)

    def send_to_group(self, robot_code: str, conversation_id: str, reply: Reply) -> str:
        """Send ``reply`` to a group the bot is in; return the key of the message.

        Raises:
            OpenApiUnavailableError: Retry later.
            OpenApiThrottledError: Retry after its ``retry_after_s``.
            OpenApiRefusedError: Do not retry.
        """
        body = {
            "robotCode": robot_code,
            "openConversationId": conversation_id,
            **_message(reply),
        }
        return _key(self._call(TO_GROUP_PATH, body))

    def send_to_nobody(self, robot_code: str) -> None:
        """Send a message without a receiver, to see whether the bot may send any.

        Raises:
            OpenApiError: Always, as far as is known. One that names the receivers (``userIds``)
                means that nothing else was wrong.
        """
        body = {"robotCode": robot_code, "userIds": [], **_message(Text(content="test"))}
        self._call(TO_USER_PATH, body)

    def check_token(self) -> None:
        """Fetch a new access token, to see whether the credentials work.

        Raises:
            OpenApiError: They do not, or DingTalk does not answer.
        """
        with self._lock:
            self._token = self._fetch_token()

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    def _call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        token = self._valid_token()
        try:
            return self._post(path, body, {TOKEN_HEADER: token.value})
        except OpenApiRefusedError as error:
            if error.code != INVALID_TOKEN:
                raise
        token = self._valid_token(instead_of=token)
        return self._post(path, body, {TOKEN_HEADER: token.value})

    def _valid_token(self, instead_of: _Token | None = None) -> _Token:
        """Return the cached token, or fetch one when it ends soon or was found invalid."""
        with self._lock:
            token = self._token
            if token is None or token is instead_of or self._clock() >= token.good_until:
                token = self._token = self._fetch_token()
            return token

    def _fetch_token(self) -> _Token:
        asked_at = self._clock()
        credentials = {"appKey": self._client_id, "appSecret": self._client_secret}
        try:
            answer = self._post(TOKEN_PATH, credentials)
        except OpenApiUnavailableError as error:
            # Whatever became of this call, no message was sent.
            raise OpenApiUnavailableError(error.code, error.message) from None
        value = text(answer.get("accessToken"))
        if not value:
            raise OpenApiUnavailableError("no access token", "HTTP 200 without one")
        life = timedelta(seconds=whole_number(answer.get("expireIn")) or DEFAULT_LIFE_S)
        return _Token(value, asked_at + max(life - REFRESH_EARLY, life / 2))

    def _post(
        self, path: str, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        answer = post_json(
            self._session,
            self._endpoint + path,
            content,
            timeout_s=self._timeout_s,
            headers=headers,
        )
        if isinstance(answer, NoAnswer):
            raise OpenApiUnavailableError("unreachable", answer.reason, answer.may_have_arrived)
        body = answer.body
        if answer.status == 200 and answer.retry_after_s is None and body and "code" not in body:
            return body
        raise _fault(answer, self._client_secret, (headers or {}).get(TOKEN_HEADER, ""))


def _message(reply: Reply) -> dict[str, str]:
    key, param = proactive_message(reply)
    return {"msgKey": key, "msgParam": param}


def _key(answer: Mapping[str, Any]) -> str:
    key = text(answer.get("processQueryKey"))
    if not key:
        raise OpenApiUnavailableError("no processQueryKey", "HTTP 200 without one", ambiguous=True)
    return key


def _fault(answer: Answer, *secrets: str) -> OpenApiError:
    status, body = answer.status, answer.body or {}
    name = text(body.get("code"))
    code, message = shown(name, *secrets), shown(body.get("message"), *secrets)
    if status in (400, 401) and name == INVALID_TOKEN:
        return OpenApiRefusedError(INVALID_TOKEN, message)
    verdict = classify_name(name)
    wait_s = answer.retry_after_s
    if verdict is Verdict.THROTTLED or wait_s or status == 429:
        return OpenApiThrottledError(
            code or f"http {status}", message, max(THROTTLE_S, wait_s or 0)
        )
    if verdict is Verdict.RETRY or status >= 500 or (status == 200 and not name):
        return OpenApiUnavailableError(code or f"http {status}", message, ambiguous=status != 403)
    return OpenApiRefusedError(code or f"http {status}", message)
