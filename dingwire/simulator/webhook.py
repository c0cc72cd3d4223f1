"""The reply face: ``POST /robot/sendBySession?session=…``.

:func:`judge` is the decision, free of I/O; ``server`` mounts :class:`Webhooks`.
"""

import asyncio
import json
from typing import Any, NamedTuple

from aiohttp import web

from dingwire.simulator.records import Reply
from dingwire.simulator.world import Conversation, Session, World, headers_of

__all__ = ["Verdict", "Webhooks", "judge", "text_of"]

MAX_BODY_BYTES = 20_000
RATE_WINDOW_MS = 60_000

REQUIRED: dict[str, tuple[str, ...]] = {
    "text": ("content",),
    "markdown": ("title", "text"),
    "link": ("title", "text", "messageUrl"),
    "actionCard": ("title", "text"),
    "feedCard": ("links",),
    "empty": (),
}
# Members of each item of a list; mind the spelling, which differs from that of ``link``.
ITEMS = {"actionCard": ("btns", ("title", "actionURL"))} | {
    "feedCard": ("links", ("title", "messageURL", "picURL"))
}
MAX_MENTIONS = 50


class Verdict(NamedTuple):
    """What DingTalk thinks of a reply; 0 is welcome."""

    errcode: int
    errmsg: str


OK = Verdict(0, "ok")
OK_STATUS = 200


def judge(
    raw: bytes, content_type: str, *, banned: tuple[str, ...], unsafe: tuple[str, ...]
) -> Verdict:
    """Check the form and content of a reply, whoever it is for."""
    if content_type != "application/json":
        return Verdict(43004, "无效的HTTP HEADER Content-Type")
    if len(raw) > MAX_BODY_BYTES:
        return Verdict(460101, "message too long, exceed 20000 bytes")
    body = _object(raw)
    if body is None:
        return Verdict(40035, "缺少参数 json")
    kind = body.get("msgtype")
    if kind is None:
        return Verdict(40035, "缺少参数 msgtype")
    if not isinstance(kind, str) or kind not in REQUIRED:
        return Verdict(400105, "不支持的消息类型")
    missing = _missing(kind, body)
    if missing:
        return Verdict(40035, f"缺少参数 {kind}.{missing}")
    if not _is_mention(body.get("at", {})):
        return Verdict(40035, "不合法的参数 at")
    shown = json.dumps(body, ensure_ascii=False)
    if any(link in shown for link in unsafe):
        return Verdict(430101, "含有不安全的外链")
    if any(word in shown for word in banned):
        return Verdict(430102, "不合适的文本")
    return OK


def text_of(body: Any) -> str:
    """The text people see of a reply or a proactive message's parameters."""
    if not isinstance(body, dict):
        return ""
    part = body.get(str(body.get("msgtype")), {})
    if not isinstance(part, dict):
        return ""
    links = part.get("links")
    if isinstance(links, list):
        return "\n".join(str(each.get("title", "")) for each in links if isinstance(each, dict))
    return str(part.get("content", part.get("text", "")))


class Webhooks:
    """Answers replies, with every error code on demand."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take one reply."""
        raw = await request.read()
        session = self._world.sessions.get(request.query.get("session", ""))
        place = session.conversation_id if session is not None else ""
        conversation = self._world.conversations.get(place)
        reply = Reply(
            conversation_id=conversation.conversation_id if conversation else None,
            conversation=conversation.name if conversation else None,
            at_ms=self._world.now_ms(),
            body=_object(raw) or raw.decode(errors="replace"),
            headers=headers_of(request.headers),
            robot=session.robot if session is not None else "",
        )
        reply.text = text_of(reply.body)
        if conversation is not None:
            reply.mentioned = self._mentioned(reply, conversation)
        if self._world.faults.reply_delay_s:
            await asyncio.sleep(self._world.faults.reply_delay_s)
        return await self._answer(request, raw, reply, session)

    async def _answer(
        self, request: web.Request, raw: bytes, reply: Reply, session: Session | None
    ) -> web.StreamResponse:
        fault = self._world.take_reply_fault(reply.conversation_id or "")
        if fault is None or not fault.refuses:
            self._decide(raw, request.content_type, reply, session)
        if fault is not None and (fault.refuses or fault.errcode or fault.status != OK_STATUS):
            reply.status, reply.errcode, reply.errmsg = fault.status, fault.errcode, fault.errmsg
        self._world.add_reply(reply)
        if fault is not None and fault.hang_s:
            await asyncio.sleep(fault.hang_s)
        if fault is not None and fault.reset and request.transport is not None:
            request.transport.abort()
        return self._response(reply)

    def _decide(self, raw: bytes, content_type: str, reply: Reply, session: Session | None) -> None:
        faults = self._world.faults
        if session is None or not self._world.is_alive(session):
            reply.status = faults.session_gone_status
            reply.errcode, reply.errmsg = faults.session_gone_errcode, "session 不存在"
            return
        verdict = judge(raw, content_type, banned=faults.banned_words, unsafe=faults.unsafe_links)
        if verdict == OK:
            verdict = self._pace(session)
        reply.errcode, reply.errmsg = verdict
        if verdict == OK:
            session.uses += 1
            reply.accepted = not self._is_repeat(reply, session)

    def _mentioned(self, reply: Reply, conversation: Conversation) -> list[str]:
        """Who sees the @: members of the group; in Markdown only those the text names."""
        at = reply.body.get("at") if isinstance(reply.body, dict) else None
        if not conversation.is_group or not isinstance(at, dict) or not _is_mention(at):
            return []
        by_dingtalk_id = {each.sender_id: each.staff_id for each in self._world.people.values()}
        ids = [*at.get("atUserIds", []), *map(by_dingtalk_id.get, at.get("atDingtalkIds", []))]
        is_text = reply.body.get("msgtype") == "text"
        members = [each for each in ids if each in conversation.members]
        shown = [each for each in members if is_text or f"@{each}" in reply.text]
        return ["@all", *shown] if at.get("isAtAll") is True else shown

    def _pace(self, session: Session) -> Verdict:
        limit = self._world.faults.reply_rate_limit
        if not limit:
            return OK
        now_ms = self._world.now_ms()
        conversation = self._world.conversations[session.conversation_id]
        recent = [
            each for each in conversation.recent_reply_times_ms if each > now_ms - RATE_WINDOW_MS
        ]
        if len(recent) >= limit and now_ms >= conversation.throttled_until_ms:
            throttle_ms = round(self._world.faults.reply_throttle_s * 1000)
            conversation.throttled_until_ms = now_ms + throttle_ms
        if len(recent) >= limit or now_ms < conversation.throttled_until_ms:
            return Verdict(130101, f"send too fast, exceed {limit} times per minute")
        conversation.recent_reply_times_ms = [*recent, now_ms]
        return OK

    def _is_repeat(self, reply: Reply, session: Session) -> bool:
        uuid = reply.body.get("msgUuid")
        if not self._world.faults.honour_msg_uuid or not isinstance(uuid, str):
            return False
        key = (session.conversation_id, uuid)
        is_known = key in self._world.seen_msg_uuids
        self._world.seen_msg_uuids.add(key)
        return is_known

    def _response(self, reply: Reply) -> web.Response:
        if reply.status >= 500:
            return web.Response(status=reply.status, text="<html>error</html>")
        as_string = self._world.faults.errcode_as_string
        errcode = str(reply.errcode) if as_string else reply.errcode
        return web.json_response(
            {"errcode": errcode, "errmsg": reply.errmsg},
            status=reply.status,
            dumps=lambda body: json.dumps(body, ensure_ascii=False),
        )


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _missing(kind: str, body: dict[str, Any]) -> str | None:
    """The first required member that is absent or empty."""
    part = body.get(kind, {})
    if not isinstance(part, dict):
        return "*"
    required = list(REQUIRED[kind])
    is_single = kind == "actionCard" and (not part.get("btns") or part.get("singleURL"))
    if is_single:
        required += ["singleTitle", "singleURL"]
    missing = next((name for name in required if not part.get(name)), None)
    return missing or (None if is_single else _missing_in_items(kind, part))


def _missing_in_items(kind: str, part: dict[str, Any]) -> str | None:
    name, members = ITEMS.get(kind, ("", ()))
    items = part.get(name, []) if name else []
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        return name
    absent = (member for each in items for member in members if not each.get(member))
    return next((f"{name}.{member}" for member in absent), None)


def _is_mention(at: Any) -> bool:
    """Whether ``at`` can be read: lists of ids, 50 people at most."""
    if not isinstance(at, dict):
        return False
    lists = [at.get(name, []) for name in ("atMobiles", "atUserIds", "atDingtalkIds")]
    are_ids = all(
        isinstance(each, list) and all(isinstance(one, str) and one for one in each)
        for each in lists
    )
    return are_ids and sum(map(len, lists)) <= MAX_MENTIONS
