"""What stands before every OpenAPI call: the token, the quotas and the faults that were ordered.

The faces of the API (``openapi``, ``media``, …) register their handlers through
:meth:`Access.guarded`.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dingwire.simulator.bot_records import ApiCall
from dingwire.simulator.gateway import Credentials, error_response
from dingwire.simulator.refusals import PARAMETER, ApiFault, RefusedError
from dingwire.simulator.tokens import Tokens
from dingwire.simulator.world import World, headers_of

__all__ = ["Access", "Call", "Handler", "OnRefused"]

TOKEN_HEADER = "x-acs-dingtalk-access-token"  # noqa: S105 - a header's name
SECOND_MS, MINUTE_MS = 1000, 60_000


@dataclass(frozen=True)
class Call:
    """One call as its handler sees it: by whom, with which JSON object."""

    client_id: str
    body: dict[str, Any]
    headers: dict[str, str] = field(repr=False)

    def check_robot(self) -> None:
        """Refuse a robot code that is missing or not the app's own."""
        robot = self.body.get("robotCode")
        if not robot:
            raise RefusedError(400, PARAMETER + "robotCode.missing", "robotCode is missing")
        if robot != self.client_id:
            raise RefusedError(400, PARAMETER + "robotCode.auth", "robotCode is not the app's")


Handler = Callable[[Call], dict[str, Any]]
OnRefused = Callable[[Call, RefusedError], None]


class Access:
    """Lets calls through to their handlers, counts them and keeps their records."""

    def __init__(self, world: World, credentials: Credentials) -> None:
        self._world = world
        self.tokens = Tokens(world, credentials)
        self.reset()

    def reset(self) -> None:
        """Forget the faults that were ordered and the calls that were counted."""
        self.faults: list[ApiFault] = []
        self._times_ms: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._counted: dict[str, int] = defaultdict(int)

    def guarded(
        self, handler: Handler, refused: OnRefused | None = None
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A web handler that answers what ``handler`` returns or raises.

        Args:
            handler: Carries the call out.
            refused: Told of every call that is refused and was not carried out.
        """

        async def handle(request: web.Request) -> web.Response:
            body = _object(await request.read())
            client_id = self.tokens.client_of(request.headers.get(TOKEN_HEADER, "")) or ""
            call = Call(client_id, body, headers_of(request.headers))
            try:
                answer = await self.carry_out(request, client_id, lambda: handler(call), body)
            except RefusedError as error:
                if refused is not None and not error.took_effect:
                    refused(call, error)
                return _refusal(error)
            return web.json_response(answer)

        return handle

    async def carry_out(
        self, request: web.Request, client_id: str, work: Callable[[], dict[str, Any]], body: Any
    ) -> dict[str, Any]:
        """Do ``work`` unless something stands against it; the call is recorded either way.

        Raises:
            RefusedError: The call is to be answered with this error.
        """
        fault = self._take_fault(request.path, client_id)
        record = ApiCall(self._world.now_ms(), request.method, request.path, client_id, body)
        try:
            self._admit(request.path, client_id)
            answer = work() if fault is None or fault.takes_effect else {}
            if fault is not None:
                fault.raise_error(request.path)
        except RefusedError as error:
            record.status, record.code = error.status, error.code
            raise
        finally:
            self._world.journal.api_calls.append(record)
            self._world.journal.changed("api_call", record)
            if fault is not None:
                await self._trouble(request, client_id, fault)
        return answer

    def _take_fault(self, path: str, client_id: str) -> ApiFault | None:
        for fault in self.faults:
            if fault.applies_to(path, client_id):
                fault.met += 1
                if fault.met == fault.times:
                    self._world.journal.changed("faults", {})
                return fault
        return None

    async def _trouble(self, request: web.Request, client_id: str, fault: ApiFault) -> None:
        if fault.kind == "token":
            self.tokens.invalidate(client_id)
        if fault.hang_s:
            await asyncio.sleep(fault.hang_s)
        if fault.reset and request.transport is not None:
            request.transport.abort()

    def _admit(self, path: str, client_id: str) -> None:
        """Check the token and the quotas; a throttled call counts against none of them."""
        if not client_id:
            raise RefusedError.named("token", path)
        faults, now_ms = self._world.faults, self._world.now_ms()
        times = self._times_ms[client_id, path]
        times[:] = [each for each in times if each > now_ms - MINUTE_MS]
        last_second = sum(each > now_ms - SECOND_MS for each in times)
        qps = faults.api_qps
        if faults.card_qps and path.startswith("/v1.0/card/"):
            qps = faults.card_qps
        if qps and last_second >= qps:
            raise RefusedError.named("qps", path)
        if faults.api_qpm and len(times) >= faults.api_qpm:
            raise RefusedError.named("qpm", path)
        if faults.api_quota and self._counted[client_id] >= faults.api_quota:
            raise RefusedError.named("count_limit", path)
        times.append(now_ms)
        self._counted[client_id] += 1


def _refusal(error: RefusedError) -> web.Response:
    if error.code == "1111":
        banned = {"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "0"}
        return web.json_response(banned, status=error.status)
    if not error.code:
        return web.Response(status=error.status, text=error.message, content_type="text/html")
    return error_response(error.status, error.code, error.message, **error.more)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
