"""The control API: the simulator driven over HTTP, by the chat page, ``--say`` and other tools.

``server`` mounts it; docs/simulator.md describes it.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from dingwire.simulator.faults import FaultsError
from dingwire.simulator.filestore import File
from dingwire.simulator.journal import as_json
from dingwire.simulator.strangers import refuse_strangers
from dingwire.simulator.world import SEEDED_PEOPLE

if TYPE_CHECKING:
    from dingwire.simulator.server import Simulator

__all__ = ["Control"]

RECORDS = (
    *("registrations", "connections", "pushes", "acks", "messages", "replies", "proactive"),
    *("api_calls", "uploads", "reactions", "cards", "clicks", "events"),
)

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Control:
    """One handler per verb; every answer is JSON."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """The routes under ``/control``."""
        actions: dict[str, Action] = {
            "say": self._say,
            "faults": self._faults,
            "replies": self._replies,
            "api": self._api,
            "registrations": self._registrations,
            "connections": self._connections,
            "click": self._click,
            "event": self._event,
            "disconnect": self._disconnect,
            "drop": self._drop,
            "raw": self._raw,
            "expire": self._expire,
            "tokens": self._tokens,
            "redeliver": self._redeliver,
            "codes": self._codes,
            "heal": self._heal,
            "reset": self._reset,
        }
        return [
            web.get("/control/state", self._state),
            web.get("/control/records", self._records),
            *[web.post(f"/control/{name}", _handler(each)) for name, each in actions.items()],
        ]

    async def _state(self, request: web.Request) -> web.Response:
        refuse_strangers(request)
        return _json(self.state())

    def state(self) -> dict[str, Any]:
        """What the page needs first: connections, counters, people, groups and switches."""
        simulator, world = self._simulator, self._simulator.world
        return {
            "simulator": "dingtalk",
            "endpoint": simulator.endpoint,
            "now_ms": world.now_ms(),
            "counters": simulator.counters(),
            "connections": [as_json(each) for each in simulator.live_connections],
            "people": [
                {
                    "staff_id": each.staff_id,
                    "nick": each.nick,
                    "seeded": each.staff_id in SEEDED_PEOPLE,
                }
                for each in world.people.values()
            ],
            "conversations": [
                {
                    "conversation_id": each.conversation_id,
                    "name": each.name,
                    "is_group": each.is_group,
                    "robot": each.robot,
                    "members": sorted(each.members),
                    "expired_at_ms": each.expired_at_ms,
                }
                for each in world.conversations.values()
            ],
            "faults": as_json(simulator.faults),
            "normal": as_json(simulator.normal),
            "switches": simulator.faults.described(),
            "reply_faults": simulator.reply_faults(),
            "api_faults": simulator.api_faults(),
            "registration_faults": simulator.registration_faults(),
        }

    async def _records(self, request: web.Request) -> web.Response:
        refuse_strangers(request)
        kind = request.query.get("kind", "")
        if kind == "tickets":
            return _json({"tickets": self._simulator.tickets_seen})
        since = request.query.get("since", "0")
        if not (since.isascii() and since.isdigit()):
            raise _bad_request("since is a number of records")
        first = int(since)
        if kind == "wire":
            noted = [each.shown() for each in self._simulator.world.wire.exchanges]
            return _json({"wire": noted[first:], "total": len(noted)})
        if kind not in RECORDS:
            raise _bad_request(f"kind is one of tickets, wire, {', '.join(RECORDS)}")
        found_records = getattr(self._simulator, kind)
        is_named = isinstance(found_records, dict)
        records: list[Any] = list(found_records.values()) if is_named else found_records
        conversation = request.query.get("conversation")
        if conversation:
            found = self._simulator.world.find_conversation(conversation)
            wanted = found.conversation_id if found else None
            records = [each for each in records if _is_about(each, wanted)]
        return _json({kind: [as_json(each) for each in records[first:]], "total": len(records)})

    async def _say(self, body: dict[str, Any]) -> dict[str, Any]:
        person, group = body.get("person", "alice"), body.get("group")
        if "conversation" in body:
            found = self._simulator.world.find_conversation(str(body["conversation"]))
            if found is None:
                raise ValueError("conversation is not known")
            person, group = (person, found.name) if found.is_group else (found.name, None)
            body.setdefault("to", found.robot or ())
        message = await self._simulator.say(
            str(body["text"]),
            str(person),
            group,
            kind=str(body.get("kind", "text")),
            file=[_file(each) for each in body.get("files", ())],
            quote=body.get("quote"),
            mentions=[str(each) for each in body.get("mentions", ())],
            delegate=body.get("delegate"),
            omit=[str(each) for each in body.get("omit", ())],
            raw_data=body.get("raw_data"),
            to=body.get("to", ()),
            **body.get("payload", {}),
        )
        answer: dict[str, Any] = {"message": as_json(message), "reply": None}
        if body.get("wait"):
            try:
                timeout_s = float(body.get("timeout_s", 10))
                answer["reply"] = await self._simulator.until_answered(message, timeout_s)
            except AssertionError as late:
                answer["error"] = str(late)
            answer["message"] = as_json(message)
        return answer

    async def _faults(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.switch(**body)
        return as_json(self._simulator.faults)

    async def _replies(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.pop("heal", False):
            await self._simulator.heal_replies()
        if body:
            await self._simulator.fail_replies(**body)
        return {"faults": self._simulator.reply_faults()}

    async def _api(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.pop("heal", False):
            await self._simulator.heal_api()
        if body:
            await self._simulator.fail_api(**body)
        return {"faults": self._simulator.api_faults()}

    async def _registrations(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.fail_registrations(*body["modes"])
        return {"modes": body["modes"]}

    async def _connections(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.set_connection(str(body["state"]), body.get("connection_id"))
        return self._connected()

    async def _click(self, body: dict[str, Any]) -> dict[str, Any]:
        person, action = str(body.get("person", "alice")), str(body.get("action_id", ""))
        params = dict(body.get("params", {}))
        return as_json(await self._simulator.click(str(body["card"]), action, person, params))

    async def _event(self, body: dict[str, Any]) -> dict[str, Any]:
        event_type, data = str(body["event_type"]), body.get("data")
        return as_json(await self._simulator.push_event(event_type, data, body.get("to")))

    async def _disconnect(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.disconnect(body.get("connection_id"))
        return self._connected()

    async def _drop(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.drop(body.get("connection_id"))
        return self._connected()

    async def _raw(self, body: dict[str, Any]) -> dict[str, Any]:
        raw = bytes.fromhex(body["hex"]) if "hex" in body else body["frame"]
        if not isinstance(raw, str | bytes):
            raw = json.dumps(raw, ensure_ascii=False)
        return {"sent": await self._simulator.raw(raw, body.get("connection_id"))}

    async def _expire(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.expire_session(str(body["conversation"]))
        return {}

    async def _tokens(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.invalidate_tokens(body.get("client_id"))
        return {}

    async def _redeliver(self, body: dict[str, Any]) -> dict[str, Any]:
        pushes = await self._simulator.redeliver(str(body["message"]))
        return {"pushes": [each.push_id for each in pushes]}

    async def _codes(self, _: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.expire_codes()
        return {}

    async def _heal(self, _: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.heal()
        return self.state()

    async def _reset(self, _: dict[str, Any]) -> dict[str, Any]:
        await self._simulator.reset()
        return self.state()

    def _connected(self) -> dict[str, Any]:
        return {"connections": [as_json(each) for each in self._simulator.live_connections]}


def _handler(action: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        refuse_strangers(request)
        # A foreign page can post a form unasked, but not JSON.
        if request.content_type != "application/json":
            raise _bad_request("the control API takes Content-Type application/json")
        try:
            return _json(await action(_object(await request.text())))
        except KeyError as missing:
            raise _bad_request(f"{missing} is missing") from missing
        except (FaultsError, TypeError, ValueError) as wrong:
            raise _bad_request(str(wrong)) from wrong

    return handle


def _file(described: dict[str, Any]) -> File:
    """A file from its ``name`` and its bytes as ``base64``."""
    return File(
        base64.b64decode(str(described["base64"]), validate=True),
        str(described["name"]),
        str(described.get("media_type", "")),
        int(described.get("duration_ms", 4000)),
    )


def _object(raw: str) -> dict[str, Any]:
    body = json.loads(raw)
    if not isinstance(body, dict):
        raise TypeError("the body is not a JSON object")
    return body


def _is_about(record: Any, conversation_id: str | None) -> bool:
    ids = getattr(record, "conversation_ids", [getattr(record, "conversation_id", None)])
    return conversation_id is not None and conversation_id in ids


def _bad_request(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(
        text=json.dumps({"error": text}, ensure_ascii=False), content_type="application/json"
    )


def _json(body: dict[str, Any]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False)
    # Half an emoji as JSON has it.
    content = text.encode(errors="backslashreplace")
    return web.Response(body=content, content_type="application/json", charset="utf-8")
