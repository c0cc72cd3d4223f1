"""DingTalk's API for one bot: messages sent without being asked, and every other call.

The worker's late policy ``rescue`` calls it. The access token is held here and may be shared with
other processes; before each call a gate may have a say, which is how all workers together stay
within DingTalk's limits. Source: docs/protocol.md, "Proactive messages".
"""

import threading
from collections.abc import Callable, Mapping
from copy import copy
from datetime import datetime
from typing import Any, Literal, Protocol, TypeGuard, TypeVar

from dingwire.api_faults import fault_of, hold_s
from dingwire.errors import (
    OpenApiError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
)
from dingwire.http import NoAnswer, new_session, send_json
from dingwire.replies import Reply, Text, proactive_message
from dingwire.tokens import INVALID_TOKEN, NotShared, Token, TokenCache, good_for
from dingwire.values import text, whole_number

__all__ = ["Api", "Gate", "Method", "OpenApiClient", "OpenGate"]

TOKEN_PATH = "/v1.0/oauth2/accessToken"  # noqa: S105 - an address, not a token
TO_USER_PATH = "/v1.0/robot/oToMessages/batchSend"
TO_GROUP_PATH = "/v1.0/robot/groupMessages/send"
TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - a header's name
USER_AGENT = "celery-dingtalk"

Method = Literal["GET", "POST", "PUT", "DELETE"]

_T = TypeVar("_T")


class Api(Protocol):
    """The part of :class:`OpenApiClient` that what is built on it needs."""

    def call(
        self, method: Method, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call an API."""


class Gate(Protocol):
    """What a call has to pass; an API is its path, such as ``/v1.0/card/streaming``."""

    def admit(self, api: str) -> None:
        """Return when the call may be made now, after a short wait if need be.

        Raises:
            OpenApiThrottledError: Not now, but after its ``retry_after_s``; nothing was called.
            OpenApiRefusedError: Not at all.
        """

    def hold_back(self, api: str, for_s: float) -> None:
        """Let nobody in for a while: DingTalk said that these calls come too fast."""


class OpenGate:
    """Lets everybody in."""

    def admit(self, api: str) -> None:
        """Do nothing."""

    def hold_back(self, api: str, for_s: float) -> None:
        """Do nothing."""


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
        tokens: TokenCache | None = None,
        gate: Gate | None = None,
    ) -> None:
        """Prepare; nothing is called.

        Args:
            endpoint: Base of the API.
            client_id: Of the app, and the ``robotCode`` of its bot.
            client_secret: Of the app.
            clock: Ours, aware UTC.
            timeout_s: To connect, and to wait for an answer.
            tokens: Where the token is shared with other processes; None: nowhere.
            gate: What every call that counts has to pass; None: nothing.
        """
        self._endpoint = endpoint.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._timeout_s = timeout_s
        self._session = new_session(USER_AGENT)
        self._tokens: TokenCache = tokens or NotShared()
        self._gate: Gate = gate or OpenGate()
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._failure: OpenApiError | None = None  # of the last fetch of a token

    @property
    def endpoint(self) -> str:
        """Base of the API; without a slash at its end."""
        return self._endpoint

    def send_to_user(self, robot_code: str, staff_id: str, reply: Reply) -> str:
        """Send ``reply`` to one person; return the key of the message.

        Raises:
            OpenApiUnavailableError: Retry later.
            OpenApiThrottledError: Retry after its ``retry_after_s``; also when DingTalk held this
                person's copy back.
            OpenApiRefusedError: Do not retry; also when the person is not one the bot can reach.
        """
        body = {"robotCode": robot_code, "userIds": [staff_id], **_message(reply)}
        answer = self.call("POST", TO_USER_PATH, body)
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
        return _key(self.call("POST", TO_GROUP_PATH, body))

    def send_to_nobody(self, robot_code: str) -> None:
        """Send a message without a receiver, to see whether the bot may send any.

        Raises:
            OpenApiError: Always, as far as is known. One that names the receivers (``userIds``)
                means that nothing else was wrong.
        """
        body = {"robotCode": robot_code, "userIds": [], **_message(Text(content="test"))}
        self.call("POST", TO_USER_PATH, body)

    def call(
        self,
        method: Method,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        counts: bool = True,
    ) -> dict[str, Any]:
        """Call any API of the new kind; return its answer's JSON object.

        Args:
            method: As DingTalk documents it for this path; PUT and POST are different APIs.
            path: From ``/v1.0`` on; a query may follow.
            body: Sent as JSON; None sends none.
            counts: Whether the gate has a say. False for what DingTalk does not count either.

        Raises:
            OpenApiUnavailableError: Retry later; see its ``ambiguous``.
            OpenApiThrottledError: Retry after its ``retry_after_s``.
            OpenApiRefusedError: Do not retry.
        """

        def send(token: str) -> dict[str, Any]:
            return self._send(method, path, body, {TOKEN_HEADER: token})

        return self.with_token(send, api=path.partition("?")[0] if counts else None)

    def with_token(self, use: Callable[[str], _T], *, api: str | None = None) -> _T:
        """Run ``use`` with a token; once more with a new one, if the first was not valid.

        For calls that are not made by :meth:`call`, such as uploads, whose token stands in the
        address. :func:`dingwire.api_faults.fault_of` reads their answers.

        Args:
            use: Makes the call, and raises an :class:`OpenApiError` when it does not work.
            api: For the gate; None: it does not count.

        Raises:
            OpenApiError: The gate's, or what ``use`` raises.
        """
        if api is not None:
            self._gate.admit(api)
        try:
            token = self._valid_token()
            try:
                return use(token.value)
            except OpenApiRefusedError as error:
                if error.code not in INVALID_TOKEN:
                    raise
            return use(self._valid_token(instead_of=token).value)
        except OpenApiError as error:
            wait_s = hold_s(error)
            if api is not None and wait_s is not None:
                self._gate.hold_back(api, wait_s)
            raise

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

    def _valid_token(self, instead_of: Token | None = None) -> Token:
        """Return the token in use, the one others share, or a new one.

        Args:
            instead_of: Was found invalid, whoever still shares it.
        """
        known = self._failure
        with self._lock:
            token = self._token
            if not self._is_good(token, instead_of):
                token = self._tokens.get()
            if not self._is_good(token, instead_of):
                # What failed while we waited is not tried again by each who waited, one by one.
                if self._failure is not None and self._failure is not known:
                    raise copy(self._failure)
                token = self._fetch_token()
                self._tokens.put(token)
            self._token = token
            return token

    def _is_good(self, token: Token | None, instead_of: Token | None) -> TypeGuard[Token]:
        if token is None or (instead_of is not None and token.value == instead_of.value):
            return False
        return self._clock() < token.good_until

    def _fetch_token(self) -> Token:
        try:
            token = self._fetched_token()
        except OpenApiError as error:
            self._failure = copy(error)  # without the frames that it went through
            raise
        self._failure = None
        return token

    def _fetched_token(self) -> Token:
        asked_at = self._clock()
        credentials = {"appKey": self._client_id, "appSecret": self._client_secret}
        try:
            answer = self._send("POST", TOKEN_PATH, credentials)
        except OpenApiUnavailableError as error:
            # Whatever became of this call, no message was sent.
            raise OpenApiUnavailableError(error.code, error.message) from None
        value = text(answer.get("accessToken"))
        if not value:
            raise OpenApiUnavailableError("no access token", "HTTP 200 without one")
        return Token(value, asked_at + good_for(whole_number(answer.get("expireIn"))))

    def _send(
        self,
        method: Method,
        path: str,
        content: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        answer = send_json(
            self._session,
            method,
            self._endpoint + path,
            content,
            timeout_s=self._timeout_s,
            headers=headers,
        )
        if isinstance(answer, NoAnswer):
            raise OpenApiUnavailableError("unreachable", answer.reason, answer.may_have_arrived)
        fault = fault_of(answer, self._client_secret, (headers or {}).get(TOKEN_HEADER, ""))
        if fault is not None:
            raise fault
        return answer.body or {}


def _message(reply: Reply) -> dict[str, str]:
    key, param = proactive_message(reply)
    return {"msgKey": key, "msgParam": param}


def _key(answer: Mapping[str, Any]) -> str:
    key = text(answer.get("processQueryKey"))
    if not key:
        raise OpenApiUnavailableError("no processQueryKey", "HTTP 200 without one", ambiguous=True)
    return key
