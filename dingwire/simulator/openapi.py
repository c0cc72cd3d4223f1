"""The proactive sends: messages the bot writes without being asked.

``server`` mounts :class:`OpenApi`.
"""

import uuid
from typing import Any

from aiohttp import web

from dingwire.simulator.access import Access, Call
from dingwire.simulator.bot_records import ProactiveSend
from dingwire.simulator.msgkeys import check_content, text_of
from dingwire.simulator.refusals import PARAMETER, RefusedError
from dingwire.simulator.world import Conversation, World

__all__ = ["OpenApi"]

MAX_USERS = 20
COMPLAINTS = {"unsafe": "contain.unsafe.url", "banned": "contain.notAllowed.text"}


class OpenApi:
    """Messages to people and to groups."""

    def __init__(self, world: World, access: Access) -> None:
        self._world = world
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        """The routes of the sends."""
        guarded = self._access.guarded
        return [
            web.post("/v1.0/robot/oToMessages/batchSend", guarded(self._to_people, self._refused)),
            web.post("/v1.0/robot/groupMessages/send", guarded(self._to_group, self._refused)),
        ]

    def _to_people(self, call: Call) -> dict[str, Any]:
        self._check(call, "/v1.0/robot/oToMessages/batchSend")
        people = _receivers(call.body)
        flow_controlled = [each for each in people if each in self._world.faults.flow_controlled]
        invalid = [each for each in people if each not in self._world.people]
        reached = [
            self._world.chat_with(each, call.client_id)
            for each in people
            if each not in invalid and each not in flow_controlled
        ]
        return {
            "processQueryKey": self._deliver(call, reached),
            "invalidStaffIdList": invalid,
            "flowControlledStaffIdList": flow_controlled,
        }

    def _to_group(self, call: Call) -> dict[str, Any]:
        self._check(call, "/v1.0/robot/groupMessages/send")
        return {"processQueryKey": self._deliver(call, [self._group(call.body)])}

    def _check(self, call: Call, path: str) -> None:
        if self._world.faults.proactive != "ok":
            raise RefusedError.named(self._world.faults.proactive, path)
        call.check_robot()
        complaint = self._world.complaint(str(call.body.get("msgParam")))
        if complaint:
            raise RefusedError(400, COMPLAINTS[complaint], complaint)
        check_content(
            call.body, self._world.files, image_by_media_id=self._world.faults.image_by_media_id
        )

    def _group(self, body: dict[str, Any]) -> Conversation:
        conversation_id = body.get("openConversationId")
        if not conversation_id:
            raise RefusedError(400, "miss.openConversationId", "openConversationId is missing")
        known = self._world.conversations.get(str(conversation_id))
        if known is None or not known.is_group:
            raise RefusedError(400, "invalid.openConversationId", "openConversationId is invalid")
        return known

    def _deliver(self, call: Call, reached: list[Conversation]) -> str:
        send = self._record(call)
        send.process_query_key = str(uuid.uuid4())
        send.conversation_ids = [each.conversation_id for each in reached]
        send.text = text_of(call.body)
        send.accepted = True
        self._world.add_proactive(send)
        return send.process_query_key

    def _refused(self, call: Call, refused: RefusedError) -> None:
        send = self._record(call)
        send.code = refused.code
        self._world.add_proactive(send)

    def _record(self, call: Call) -> ProactiveSend:
        return ProactiveSend(self._world.now_ms(), call.body, call.headers, call.client_id)


def _receivers(body: dict[str, Any]) -> list[str]:
    people = body.get("userIds")
    if not isinstance(people, list) or not people:
        raise RefusedError(400, PARAMETER + "userIds.empty", "userIds is empty")
    if len(people) > MAX_USERS:
        raise RefusedError(400, PARAMETER + "userIds.overMax", "userIds has over 100 members")
    return [str(each) for each in people]
