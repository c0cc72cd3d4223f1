"""The registration face: ``POST /v1.0/gateway/connections/open`` and its tickets.

``server`` mounts :class:`Gateway`; ``stream`` redeems the tickets at the WebSocket upgrade.
"""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dingwire.simulator.records import Registration
from dingwire.simulator.world import World, headers_of

__all__ = ["Credentials", "Gateway", "Ticket", "error_response"]

PLAIN_HTTP_PAGE = (
    "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>"
    "<body><center><h1>400 Bad Request</h1></center><hr><center>tengine</center></body></html>"
)


@dataclass(frozen=True)
class Credentials:
    """The one bot this DingTalk knows; with both members empty any bot is welcome."""

    client_id: str = ""
    client_secret: str = field(default="", repr=False)

    def accept(self, client_id: object, client_secret: object) -> bool:
        """Whether this pair may come in."""
        if not (isinstance(client_id, str) and isinstance(client_secret, str)):
            return False
        if not self.client_id:
            return bool(client_id and client_secret)
        return (client_id, client_secret) == (self.client_id, self.client_secret)


@dataclass
class Ticket:
    """The right to open one connection, for 90 s."""

    value: str = field(repr=False)
    client_id: str
    subscriptions: list[dict[str, str]]
    ua: str
    expires_at_ms: int
    is_used: bool = False


class Gateway:
    """Hands out tickets and takes them back."""

    def __init__(self, world: World, credentials: Credentials) -> None:
        self._world = world
        self._credentials = credentials
        self._tickets: dict[str, Ticket] = {}
        self.scripted: list[str] = []  # modes the next registrations meet, before the switch

    async def open(self, request: web.Request) -> web.Response:
        """Answer one registration."""
        faults = self._world.faults
        is_scripted = bool(self.scripted)
        mode = self.scripted.pop(0) if is_scripted else faults.registration
        if is_scripted:
            self._world.journal.changed("faults", {})
        raw = await request.read()
        body = _json_or_none(raw)
        if faults.registration_delay_s:
            await asyncio.sleep(faults.registration_delay_s)
        response, ticket = self._answer(mode, body, request.headers.get("Accept", ""))
        record = Registration(
            at_ms=self._world.now_ms(),
            body=body if body is not None else raw.decode(errors="replace"),
            headers=headers_of(request.headers),
            status=response.status,
            ticket=ticket.value if ticket else None,
        )
        self._world.journal.registrations.append(record)
        self._world.journal.changed("registration", record)
        return response

    def redeem(self, value: str) -> Ticket | None:
        """The ticket of that value if it may open a connection now; marks it used."""
        self._world.journal.tickets_seen.append(value)
        ticket = self._tickets.get(value)
        if ticket is None or self._world.now_ms() >= ticket.expires_at_ms:
            return None
        if ticket.is_used and not self._world.faults.ticket_reuse:
            return None
        ticket.is_used = True
        return ticket

    def _answer(self, mode: str, body: Any, accept: str) -> tuple[web.Response, Ticket | None]:
        failure = _failure(mode) or self._complaint(body)
        if failure is not None:
            return failure, None
        ticket = self._new_ticket(body)
        endpoint = self._world.faults.stream_url or (
            self._world.origin.replace("http", "ws", 1) + "/connect"
        )
        answer = {"endpoint": endpoint, "ticket": ticket.value}
        if mode in ("no_endpoint", "no_ticket"):
            answer.pop(mode.removeprefix("no_"))
        if self._world.faults.xml_without_accept and "application/json" not in accept:
            return _xml(answer), ticket
        return _json(answer), ticket

    def _complaint(self, body: Any) -> web.Response | None:
        if not isinstance(body, dict):
            return error_response(400, "invalidParameter", "the body is not a JSON object")
        subscriptions = body.get("subscriptions")
        if not isinstance(subscriptions, list) or not all(map(_is_subscription, subscriptions)):
            return error_response(400, "invalidParameter.subscriptions", "subscriptions is invalid")
        if not self._credentials.accept(body.get("clientId"), body.get("clientSecret")):
            return error_response(401, "authFailed", "鉴权失败")
        return None

    def _new_ticket(self, body: dict[str, Any]) -> Ticket:
        ticket = Ticket(
            value=str(uuid.uuid1()),
            client_id=body["clientId"],
            subscriptions=body["subscriptions"],
            ua=str(body.get("ua") or ""),
            expires_at_ms=self._world.now_ms() + round(self._world.faults.ticket_ttl_s * 1000),
        )
        self._tickets[ticket.value] = ticket
        return ticket


def error_response(status: int, code: str, message: str, **more: Any) -> web.Response:
    """An error in the shape of the new OpenAPI; note the lower-case ``requestid``."""
    body = {"requestid": str(uuid.uuid4()).upper(), "code": code, "message": message, **more}
    return _json(body, status=status)


def _failure(mode: str) -> web.Response | None:
    match mode:
        case "auth_failed":
            return error_response(401, "authFailed", "鉴权失败")
        case "bad_request":
            return error_response(400, "invalidParameter", "the request is invalid")
        case "stream_off":
            return error_response(400, "invalidParameter", "the robot is not in Stream mode")
        case "bad_request_html":
            return web.Response(status=400, text=PLAIN_HTTP_PAGE, content_type="text/html")
        case "qps":
            code = "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"
            return error_response(403, code, "too many calls of this app and API in one second")
        case "unavailable":
            return web.Response(status=503, text="Service Unavailable", content_type="text/html")
        case _:
            return None


def _is_subscription(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and isinstance(value.get("topic"), str)
    )


def _json_or_none(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(body, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json;charset=utf-8"},
    )


def _xml(body: dict[str, str]) -> web.Response:
    members = "".join(f"<{name}>{value}</{name}>" for name, value in body.items())
    text = f'<?xml version="1.0" encoding="UTF-8"?><OpenConnectionResponse>{members}'
    return web.Response(text=text + "</OpenConnectionResponse>", content_type="application/xml")
