"""The faces of files: download codes, the storage they lead to, and uploads.

``server`` mounts :class:`Media`. The storage answers as an object store does, without any token.
"""

import asyncio
import json
from typing import Any

from aiohttp import BodyPartReader, web

from dingwire.simulator.access import Access, Call
from dingwire.simulator.bot_records import Upload
from dingwire.simulator.filestore import File, FileStore, Stored
from dingwire.simulator.refusals import PARAMETER, RefusedError
from dingwire.simulator.tokens import NEW, OLD
from dingwire.simulator.world import World

__all__ = ["Media"]

MEGABYTE = 1024 * 1024
LIMITS = {"image": 20 * MEGABYTE, "voice": 2 * MEGABYTE, "video": 20 * MEGABYTE} | {
    "file": 20 * MEGABYTE
}
FORMATS = {
    "image": {"jpg", "jpeg", "gif", "png", "bmp"},
    "voice": {"amr", "mp3", "wav"},
    "video": {"mp4"},
    "file": {"doc", "docx", "xls", "xlsx", "ppt", "pptx", "zip", "pdf", "rar"},
}
OLD_CODES = {  # the old API's numbers for what the new one calls by name
    "InvalidAuthentication": 40014,
    "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi": 90018,
    "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi": 90018,
    "Forbidden.AccessDenied.ApiCountLimitForOrg": 90020,
    "Forbidden.AccessDenied.AccessTokenPermissionDenied": 60011,
    "Forbidden.AccessDenied.IpNotInWhiteList": 60020,
}
PIECE = 64 * 1024


class Media:
    """Downloads and uploads."""

    def __init__(self, world: World, access: Access) -> None:
        self._world = world
        self._access = access
        self._files: FileStore = world.files

    def routes(self) -> list[web.RouteDef]:
        """The routes of files; the last one is for the chat page alone."""
        download = self._access.guarded(self._download)
        return [
            web.post("/v1.0/robot/messageFiles/download", download),
            web.get("/storage/{key}.file", self._storage),
            web.post("/media/upload", self._upload),
        ]

    def _download(self, call: Call) -> dict[str, Any]:
        """``POST /v1.0/robot/messageFiles/download``: an address for a code."""
        if not call.body.get("robotCode"):
            raise RefusedError(400, PARAMETER + "robotCode.empty", "robotCode is empty")
        call.check_robot()
        code = self._files.find(str(call.body.get("downloadCode")))
        if code is None:
            raise RefusedError(400, PARAMETER + "robotCode.downloadCode", "downloadCode is wrong")
        if code.robots is not None and call.client_id not in code.robots:
            raise RefusedError(400, PARAMETER + "robotCode.auth", "downloadCode is another robot's")
        key, stored = self._files.store(code.file, life_s=self._world.faults.download_url_ttl_s)
        origin = self._world.faults.storage_url or self._world.origin
        return {
            "downloadUrl": f"{origin}/storage/{key}.file?Expires={stored.expires_at_s}"
            f"&OSSAccessKeyId=simulated&Signature={stored.signature}"
        }

    async def _storage(self, request: web.Request) -> web.StreamResponse:
        """``GET /storage/…``: the bytes, or one of the ways storage fails."""
        faults = self._world.faults
        stored = self._files.stored(request.match_info["key"])
        complaint = self._complaint(request, stored)
        if stored is None or complaint is not None:
            return complaint or _no_object(404, "NoSuchKey")
        media_type = faults.storage_content_type or stored.file.type_or_guess
        content = stored.file.content
        match faults.storage:
            case "redirect":
                return web.Response(status=302, headers={"Location": faults.storage_redirect})
            case "html":
                return web.Response(text="<html>please log in</html>", content_type="text/html")
            case "unavailable":
                return _no_object(503, "ServiceUnavailable")
            case "oversize":
                return await _endless(request, media_type, faults.storage_oversize_bytes)
            case "slow":
                return await _trickle(request, media_type, content, faults.storage_pause_s)
            case "truncated":
                return await _cut_short(request, media_type, content)
            case _:
                return web.Response(body=content, headers={"Content-Type": media_type})

    def _complaint(self, request: web.Request, stored: Stored | None) -> web.Response | None:
        if stored is None:
            return _no_object(404, "NoSuchKey")
        if request.query.get("Signature") != stored.signature:
            return _no_object(403, "SignatureDoesNotMatch")
        if self._world.now_ms() >= stored.expires_at_s * 1000:
            return _no_object(403, "AccessDenied", "Request has expired.")
        return None

    async def _upload(self, request: web.Request) -> web.Response:
        """``POST /media/upload``: old style, so refusals are HTTP 200 with an ``errcode``."""
        form = await _read_form(request)
        kind = request.query.get("type") or form.get("type", b"").decode(errors="replace")
        token = request.query.get("access_token", "")
        ways = {"old": (OLD,), "new": (NEW,)}.get(self._world.faults.upload_token, ())
        client_id = self._access.tokens.client_of(token, *ways) or ""
        name = form.get("name", b"").decode(errors="replace")
        upload = Upload(self._world.now_ms(), client_id, kind, name, len(form.get("media", b"")))

        def work() -> dict[str, Any]:
            upload.errcode, upload.errmsg = _judge(kind, name, form.get("media"))
            if upload.errcode:
                return {"errcode": upload.errcode, "errmsg": upload.errmsg}
            upload.media_id = self._files.keep(File(form["media"], name))
            return {
                "errcode": 0,
                "errmsg": "ok",
                "type": kind,
                "media_id": upload.media_id,
                "created_at": self._world.now_ms(),
            }

        try:
            answer = await self._access.carry_out(request, client_id, work, {"type": kind})
        except RefusedError as refused:
            if not refused.code or refused.status >= 500:
                return web.Response(status=refused.status, text="<html>error</html>")
            upload.errcode = OLD_CODES.get(refused.code, -1)
            upload.errmsg = refused.message
            answer = {"errcode": upload.errcode, "errmsg": upload.errmsg}
        self._world.journal.uploads.append(upload)
        self._world.journal.changed("upload", upload)
        return web.Response(
            text=json.dumps(answer, ensure_ascii=False), content_type="application/json"
        )


def _judge(kind: str, name: str, content: bytes | None) -> tuple[int, str]:
    if kind not in LIMITS:
        return 40004, "不合法的媒体文件类型"
    if content is None:
        return 41005, "缺少多媒体文件数据"
    if not content:
        return 44001, "空白的媒体文件"
    if name.rpartition(".")[2].lower() not in FORMATS[kind]:
        return 40005, "不合法的文件类型"
    if len(content) > LIMITS[kind]:
        return 40006, "不合法的文件大小"
    return 0, "ok"


async def _read_form(request: web.Request) -> dict[str, bytes]:
    """The parts of a multipart body by name; ``name`` is the file name of the part ``media``."""
    if not request.content_type.startswith("multipart/"):
        return {}
    form: dict[str, bytes] = {}
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name:
                form[part.name] = bytes(await part.read())
                if part.name == "media":
                    form["name"] = (part.filename or "").encode()
    except ValueError:
        return {}
    return form


def _no_object(status: int, code: str, message: str = "") -> web.Response:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


async def _endless(request: web.Request, media_type: str, size: int) -> web.StreamResponse:
    """More bytes than anybody wants, without saying how many."""
    response = web.StreamResponse(headers={"Content-Type": media_type})
    await response.prepare(request)
    try:
        for sent in range(0, size, PIECE):
            await response.write(b"\0" * min(PIECE, size - sent))
    except ConnectionError:
        pass
    return response


async def _trickle(
    request: web.Request, media_type: str, content: bytes, pause_s: float
) -> web.StreamResponse:
    """One byte at a time, with a pause before each."""
    headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        for place in range(len(content)):
            await asyncio.sleep(pause_s)
            await response.write(content[place : place + 1])
    except ConnectionError:
        pass
    return response


async def _cut_short(request: web.Request, media_type: str, content: bytes) -> web.StreamResponse:
    """The length of the whole, half of the bytes, and the end of the connection."""
    headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    await asyncio.sleep(0)
    if request.transport is not None:
        request.transport.close()  # what was written goes out first
    return response
