"""The emotions a bot leaves on a message while it thinks, and takes away again.

``server`` mounts :class:`Emotions`. The API is in no public page; its shape is known from the
official models and from other bots.
"""

from collections import defaultdict
from typing import Any

from aiohttp import web

from dingwire.simulator.access import Access, Call, Handler, OnRefused
from dingwire.simulator.bot_records import Reaction
from dingwire.simulator.records import Message
from dingwire.simulator.refusals import PARAMETER, RefusedError
from dingwire.simulator.world import World

__all__ = ["Emotions"]

REQUIRED = ("emotionType", "emotionName", "textEmotion")


class Emotions:
    """Adds emotions to messages and recalls them."""

    def __init__(self, world: World, access: Access) -> None:
        self._world = world
        self._access = access
        self._too_early: dict[tuple[str, str], int] = defaultdict(int)

    def routes(self) -> list[web.RouteDef]:
        """The routes of emotions."""
        guarded = self._access.guarded
        return [
            web.post(f"/v1.0/robot/emotion/{action}", guarded(*self._faces(action)))
            for action in ("reply", "recall")
        ]

    def _faces(self, action: str) -> tuple[Handler, OnRefused]:
        def carry_out(call: Call) -> dict[str, Any]:
            message = self._check(call, action)
            reaction = _reaction(self._world.now_ms(), action, call)
            reaction.accepted = True
            self._apply(message, reaction)
            self._remember(reaction)
            return {"success": True}

        def refused(call: Call, error: RefusedError) -> None:
            reaction = _reaction(self._world.now_ms(), action, call)
            reaction.code = error.code
            self._remember(reaction)

        return carry_out, refused

    def _check(self, call: Call, action: str) -> Message:
        call.check_robot()
        body, faults = call.body, self._world.faults
        for name in REQUIRED:
            if not body.get(name):
                raise RefusedError(400, PARAMETER + "param.invalid", f"{name} is missing")
        message = self._world.journal.messages.get(str(body.get("openMsgId")))
        if message is None or message.conversation_id != body.get("openConversationId"):
            raise RefusedError(400, PARAMETER + "openMsgId.invalid", "openMsgId is invalid")
        if faults.emotion_names and body["emotionName"] not in faults.emotion_names:
            raise RefusedError(400, PARAMETER + "param.invalid", "emotionName is invalid")
        early = (action, message.message_id)
        if self._too_early[early] < faults.emotion_race:
            self._too_early[early] += 1
            raise RefusedError(500, "system.err", "the message is not ready yet")
        return message

    def _apply(self, message: Message, reaction: Reaction) -> None:
        if reaction.action == "reply":
            message.reactions.append(reaction.name)
        elif reaction.name in message.reactions:
            message.reactions.remove(reaction.name)
        self._world.journal.changed("message", message)

    def _remember(self, reaction: Reaction) -> None:
        self._world.journal.reactions.append(reaction)
        self._world.journal.changed("reaction", reaction)


def _reaction(now_ms: int, action: str, call: Call) -> Reaction:
    return Reaction(
        at_ms=now_ms,
        action=action,
        client_id=call.client_id,
        message_id=str(call.body.get("openMsgId", "")),
        conversation_id=str(call.body.get("openConversationId", "")),
        name=str(call.body.get("emotionName", "")),
    )
