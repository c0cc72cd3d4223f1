"""The OpenAPI face: the access token and the proactive sends.

``server`` mounts :class:`OpenApi`.
"""

import json
import secrets
import uuid
from typing import Any

from aiohttp import web

from dingwire.simulator.gateway import Credentials, error_response
from dingwire.simulator.records import ProactiveSend
from dingwire.simulator.world import Conversation, World, headers_of

__all__ = ["OpenApi"]

TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - a header's name
MAX_USERS = 20
MAX_PARAM_BYTES = 15_000
DENIED = "Forbidden.AccessDenied."
PARAMETER = "invalidParameter."

REQUIRED: dict[str, tuple[str, ...]] = {
    "sampleText": ("content",),
    "sampleMarkdown": ("title", "text"),
    "sampleImageMsg": ("photoURL",),
    "sampleLink": ("title", "text", "messageUrl"),
    "sampleActionCard": ("title", "text", "singleTitle", "singleURL"),
}


class _RefusedError(Exception):
    """A proactive send that does not go out."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more


class OpenApi:
    """Tokens and messages the bot sends unasked."""

    def __init__(self, world: World, credentials: Credentials) -> None:
        self._world = world
        self._credentials = credentials
        self._tokens: dict[str, tuple[str, int]] = {}  # client id -> token, its end in ms
        self.token_calls = 0

    async def access_token(self, request: web.Request) -> web.Response:
        """``POST /v1.0/oauth2/accessToken``: the same token while it is valid, renewed."""
        self.token_calls += 1
        body = _object(await request.read())
        client_id = body.get("appKey")
        mode = self._world.faults.token
        if mode == "ip_refused":
            return error_response(403, DENIED + "IpNotInWhiteList", "访问ip不在白名单之中")
        if mode == "unavailable":
            return web.Response(status=503, text="Service Unavailable", content_type="text/html")
        accepted = self._credentials.accept(client_id, body.get("appSecret"))
        if mode == "refused" or not accepted:
            return error_response(400, "invalidClientIdOrSecret", "无效的clientId或者clientSecret")
        life_s = self._world.faults.token_ttl_s
        now_ms = self._world.now_ms()
        token, end_ms = self._tokens.get(str(client_id), ("", 0))
        if now_ms >= end_ms:
            token = secrets.token_hex(16)
        self._tokens[str(client_id)] = (token, now_ms + round(life_s * 1000))
        return web.json_response({"accessToken": token, "expireIn": round(life_s)})

    def invalidate_tokens(self) -> None:
        """Make every token that was handed out worthless, before its time."""
        self._tokens.clear()

    async def send_to_people(self, request: web.Request) -> web.Response:
        """``POST /v1.0/robot/oToMessages/batchSend``."""
        body = _object(await request.read())
        try:
            self._check_common(request, body)
            people = self._receivers(body)
        except _RefusedError as refused:
            return self._refuse(request, body, refused)
        flow_controlled = [each for each in people if each in self._world.faults.flow_controlled]
        invalid = [each for each in people if each not in self._world.people]
        reached = [
            self._world.private_chat(each)
            for each in people
            if each not in invalid and each not in flow_controlled
        ]
        key = self._deliver(request, body, reached)
        return web.json_response(
            {
                "processQueryKey": key,
                "invalidStaffIdList": invalid,
                "flowControlledStaffIdList": flow_controlled,
            }
        )

    async def send_to_group(self, request: web.Request) -> web.Response:
        """``POST /v1.0/robot/groupMessages/send``."""
        body = _object(await request.read())
        try:
            self._check_common(request, body)
            group = self._group(body)
        except _RefusedError as refused:
            return self._refuse(request, body, refused)
        return web.json_response({"processQueryKey": self._deliver(request, body, [group])})

    def _check_common(self, request: web.Request, body: dict[str, Any]) -> None:
        client_id = self._client_of(request.headers.get(TOKEN_HEADER, ""))
        if client_id is None:
            raise _RefusedError(400, "InvalidAuthentication", "不合法的access_token")
        self._check_switches()
        robot = body.get("robotCode")
        if not robot:
            raise _RefusedError(400, PARAMETER + "robotCode.missing", "robotCode is missing")
        if robot != client_id:
            raise _RefusedError(400, PARAMETER + "robotCode.auth", "robotCode is not the app's")
        _check_content(body)

    def _check_switches(self) -> None:
        match self._world.faults.proactive:
            case "permission":
                raise _RefusedError(
                    403,
                    DENIED + "AccessTokenPermissionDenied",
                    "应用尚未开通所需的权限",
                    accessdenieddetail={"requiredScopes": ["qyapi_robot_sendmsg"]},
                )
            case "qps":
                code = DENIED + "QpsLimitForAppkeyAndApi"
                raise _RefusedError(403, code, "too many calls of this app and API in one second")
            case "count_limit":
                code = DENIED + "ApiCountLimitForOrg"
                raise _RefusedError(403, code, "the monthly API quota is used up")

    def _client_of(self, token: str) -> str | None:
        for client_id, (known, end_ms) in self._tokens.items():
            if secrets.compare_digest(known.encode(), token.encode()):
                return client_id if self._world.now_ms() < end_ms else None
        return None

    def _receivers(self, body: dict[str, Any]) -> list[str]:
        people = body.get("userIds")
        if not isinstance(people, list) or not people:
            raise _RefusedError(400, PARAMETER + "userIds.empty", "userIds is empty")
        if len(people) > MAX_USERS:
            raise _RefusedError(400, PARAMETER + "userIds.overMax", "userIds has over 100 members")
        return [str(each) for each in people]

    def _group(self, body: dict[str, Any]) -> Conversation:
        conversation_id = body.get("openConversationId")
        if not conversation_id:
            raise _RefusedError(400, "miss.openConversationId", "openConversationId is missing")
        known = self._world.conversations.get(str(conversation_id))
        if known is None or not known.is_group:
            raise _RefusedError(400, "invalid.openConversationId", "openConversationId is invalid")
        return known

    def _deliver(
        self, request: web.Request, body: dict[str, Any], reached: list[Conversation]
    ) -> str:
        send = self._record(request, body)
        send.conversation_ids = [each.conversation_id for each in reached]
        send.text = _text_of(body)
        send.accepted = True
        self._world.add_proactive(send)
        return str(uuid.uuid4())

    def _refuse(
        self, request: web.Request, body: dict[str, Any], refused: _RefusedError
    ) -> web.Response:
        send = self._record(request, body)
        send.code = refused.code
        self._world.add_proactive(send)
        return error_response(refused.status, refused.code, refused.message, **refused.more)

    def _record(self, request: web.Request, body: dict[str, Any]) -> ProactiveSend:
        return ProactiveSend(self._world.now_ms(), body, headers_of(request.headers))


def _check_content(body: dict[str, Any]) -> None:
    key, raw = body.get("msgKey"), body.get("msgParam")
    if not key:
        raise _RefusedError(400, PARAMETER + "msgKey.empty", "msgKey is empty")
    if key not in REQUIRED:
        raise _RefusedError(400, PARAMETER + "msgKey.invalid", "msgKey is invalid")
    param = _object(raw.encode()) if isinstance(raw, str) else {}
    if not param:
        raise _RefusedError(400, PARAMETER + "msgParam.invalid", "msgParam is not JSON text")
    if len(str(raw).encode()) > MAX_PARAM_BYTES:
        raise _RefusedError(400, PARAMETER + "msgParam.tooLong", "msgParam is over 15000 bytes")
    if any(not param.get(name) for name in REQUIRED[str(key)]):
        raise _RefusedError(400, PARAMETER + "param.invalid", "msgParam lacks a member")


def _text_of(body: dict[str, Any]) -> str:
    param = _object(str(body["msgParam"]).encode())
    return str(param.get("content", param.get("text", "")))


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
