"""Access tokens: the three ways to ask for one, and whose a token is.

``access`` asks whose; ``server`` mounts the faces.
"""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dingwire.simulator.gateway import Credentials, error_response
from dingwire.simulator.refusals import RefusedError
from dingwire.simulator.world import World

__all__ = ["Tokens"]

OLD, NEW = "old", "new"


@dataclass
class _Token:
    value: str = field(repr=False)
    expires_at_ms: int


class Tokens:
    """Hands out tokens: the same one to each app and way while it is valid, its life renewed."""

    def __init__(self, world: World, credentials: Credentials) -> None:
        self._world = world
        self._credentials = credentials
        self._tokens: dict[tuple[str, str], _Token] = {}  # by client id and way
        self.calls = 0

    def routes(self) -> list[web.RouteDef]:
        """The routes of the token faces."""
        return [
            web.post("/v1.0/oauth2/accessToken", self._new_way),
            web.post("/v1.0/oauth2/{corp_id}/token", self._corp_way),
            web.get("/gettoken", self._old_way),
        ]

    def invalidate(self, client_id: str | None = None) -> None:
        """Make tokens that were handed out worthless: one app's, or all."""
        for key in [each for each in self._tokens if client_id in (None, each[0])]:
            del self._tokens[key]

    def client_of(self, value: str, *ways: str) -> str | None:
        """The client id a valid token belongs to; only of these ways when any are named."""
        for (client_id, way), token in self._tokens.items():
            is_it = secrets.compare_digest(token.value.encode(), value.encode())
            if is_it and self._world.now_ms() < token.expires_at_ms and way in (ways or (OLD, NEW)):
                return client_id
        return None

    async def _new_way(self, request: web.Request) -> web.Response:
        body = _object(await request.read())
        refused = self._refusal(body.get("appKey"), body.get("appSecret"))
        if refused is not None:
            return refused
        token, life_s = self._hand_out(str(body["appKey"]), NEW)
        return web.json_response({"accessToken": token, "expireIn": life_s})

    async def _corp_way(self, request: web.Request) -> web.Response:
        body = _object(await request.read())
        if body.get("grant_type") != "client_credentials":
            return error_response(400, "unsupported.grant.type", "grant_type is not supported")
        refused = self._refusal(body.get("client_id"), body.get("client_secret"), "invalid.client")
        if refused is not None:
            return refused
        token, life_s = self._hand_out(str(body["client_id"]), NEW)
        return web.json_response({"access_token": token, "expires_in": life_s})

    async def _old_way(self, request: web.Request) -> web.Response:
        app_key = request.query.get("appkey")
        refused = self._refusal(app_key, request.query.get("appsecret"))
        if refused is not None:
            return web.json_response({"errcode": 40089, "errmsg": "不合法的corpid或corpsecret"})
        token, life_s = self._hand_out(str(app_key), OLD)
        return web.json_response(
            {"errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": life_s}
        )

    def _refusal(
        self, client_id: object, secret: object, code: str = "invalidClientIdOrSecret"
    ) -> web.Response | None:
        self.calls += 1
        mode = self._world.faults.token
        if mode == "ip_refused":
            ip_refused = RefusedError.named("ip_refused", "")
            return error_response(ip_refused.status, ip_refused.code, ip_refused.message)
        if mode == "unavailable":
            return web.Response(status=503, text="Service Unavailable", content_type="text/html")
        if mode == "refused" or not self._credentials.accept(client_id, secret):
            return error_response(400, code, "无效的clientId或者clientSecret")
        return None

    def _hand_out(self, client_id: str, way: str) -> tuple[str, int]:
        life_s = self._world.faults.token_ttl_s
        now_ms = self._world.now_ms()
        token = self._tokens.get((client_id, way))
        if token is None or now_ms >= token.expires_at_ms:
            token = self._tokens[client_id, way] = _Token(secrets.token_hex(16), 0)
        token.expires_at_ms = now_ms + round(life_s * 1000)
        return token.value, round(life_s)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
