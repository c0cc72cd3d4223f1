"""The group robots: ``POST /robot/send?access_token=…``, signed when the robot has a secret.

``server`` mounts :class:`GroupRobots`. Any token is a robot; its messages are recorded, as no bot
reads them.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dingwire.simulator.webhook import Verdict, judge, text_of
from dingwire.simulator.world import World

__all__ = ["GroupRobots", "RobotMessage"]

SIGNATURE_LIFE_MS = 3_600_000


@dataclass
class RobotMessage:
    """One post to a group robot, accepted or not."""

    at_ms: int
    access_token: str
    body: Any
    text: str
    errcode: int
    errmsg: str

    @property
    def accepted(self) -> bool:
        """Whether the group saw it."""
        return self.errcode == 0


class GroupRobots:
    """Answers posts as the robots' security settings demand.

    ``secret`` and ``keyword`` are those of every robot, empty for none; ``errcode`` is what every
    post is answered with, when it is not 0. Tests set them.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.secret = ""
        self.keyword = ""
        self.errcode = 0
        self.messages: list[RobotMessage] = []

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Take one message."""
        raw = await request.read()
        verdict = self._judge(request.query, raw, request.content_type)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        message = RobotMessage(
            at_ms=self._world.now_ms(),
            access_token=request.query.get("access_token", ""),
            body=body,
            text=text_of(body),
            errcode=verdict.errcode,
            errmsg=verdict.errmsg,
        )
        self.messages.append(message)
        self._world.journal.changed("robot_message", message)
        return web.json_response({"errcode": message.errcode, "errmsg": message.errmsg})

    def _judge(self, query: Mapping[str, str], raw: bytes, content_type: str) -> Verdict:
        if self.errcode:
            return Verdict(self.errcode, "as told")
        if not query.get("access_token"):
            return Verdict(300005, "token is not exist")
        if self.secret and (complaint := self._distrust(query)):
            return Verdict(310000, complaint)
        if self.keyword and self.keyword not in raw.decode(errors="replace"):
            return Verdict(310000, "keywords not in content")
        return judge(raw, content_type, banned=(), unsafe=())

    def _distrust(self, query: Mapping[str, str]) -> str:
        timestamp = query.get("timestamp", "")
        if not timestamp.isdigit() or (
            abs(self._world.now_ms() - int(timestamp)) > SIGNATURE_LIFE_MS
        ):
            return "invalid timestamp"
        digest = hmac.digest(self.secret.encode(), f"{timestamp}\n{self.secret}".encode(), "sha256")
        return "" if query.get("sign") == base64.b64encode(digest).decode() else "sign not match"
