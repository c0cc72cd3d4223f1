"""What a message carries: the ``text`` or ``content`` of each kind, and what it quotes.

``payloads`` puts these into the payload. Shapes: docs/protocol.md; those of quotes are known from
third parties only.
"""

import json
from dataclasses import dataclass
from typing import Any

from dingwire.simulator.filestore import File
from dingwire.simulator.world import BOT_ID, CORP_ID

__all__ = ["Coded", "Quote", "body_of", "with_quote"]

NO_CONTENT = frozenset({"interactiveCard"})  # a quote of one says nothing but its kind


@dataclass(frozen=True)
class Coded:
    """A file under the download code it is pushed with, and the one of its small picture."""

    file: File
    code: str
    picture_code: str = ""


@dataclass(frozen=True)
class Quote:
    """A message that is answered by another.

    ``content`` is in the quote's own shape; ``process_query_key`` names what a bot sent.
    """

    kind: str
    message_id: str
    sender_id: str
    created_at_ms: int
    content: dict[str, Any] | None
    sender_nick: str = ""
    process_query_key: str = ""

    @property
    def text(self) -> str:
        """What people see of it."""
        items = (self.content or {}).get("richText", [])
        words = "".join(str(each.get("content", "")) for each in items)
        return str((self.content or {}).get("text") or words or f"[{self.kind}]")

    @property
    def is_from_bot(self) -> bool:
        """Whether a bot had written it."""
        return self.sender_id == BOT_ID

    def as_payload(self) -> dict[str, Any]:
        """The wire's ``repliedMsg``."""
        payload: dict[str, Any] = {
            "msgType": self.kind,
            "msgId": self.message_id,
            "senderId": self.sender_id,
            "createdAt": self.created_at_ms,
        }
        if self.sender_nick:
            payload["senderNick"] = self.sender_nick
        if self.content is not None and self.kind not in NO_CONTENT:
            payload["content"] = self.content
        return payload


def body_of(kind: str, text: str, files: list[Coded]) -> tuple[str, dict[str, Any]]:
    """The member that carries a message of this kind, by name and value.

    Args:
        kind: The wire's ``msgtype``.
        text: What was written; it lands where the kind has room for it.
        files: What is sent along; a picture, voice, film or file needs one.
    """
    match kind:
        case "text":
            return "text", {"content": text}
        case "richText":
            return "content", {"richText": _rich(text, files)}
        case "picture":
            return "content", _picture(files[0])
        case "audio":
            content = _timed(files[0])
            return "content", {**content, "recognition": text.strip()} if text.strip() else content
        case "video":
            ending = files[0].file.name.rpartition(".")[2]
            return "content", {**_timed(files[0]), "videoType": ending}
        case "file":
            name = files[0].file.name
            return "content", {
                "spaceId": "1",
                "fileName": name,
                "downloadCode": files[0].code,
                "fileId": "2",
            }
        case "markdown":
            return "content", {"text": text}
        case "chatRecord":
            return "content", _record(text)
        case "interactiveCard":
            address = "dingtalk://dingtalkclient/page/yunpan?route=previewDentry&type=file"
            return "content", {"biz_custom_action_url": f"{address}&spaceId=1&fileId=2"}
        case _:
            hint = text or "this kind of message is not supported"
            return "content", {"unknownMsgType": hint}


def quoted_content(kind: str, content: dict[str, Any], text: str) -> dict[str, Any] | None:
    """The content of a quote, whose shapes are not those of the message itself."""
    match kind:
        case "text" | "markdown":
            return {"text": text}
        case "picture":
            return {"downloadCode": content["downloadCode"]}
        case "richText":
            return {"richText": [_quoted_item(each) for each in content["richText"]]}
        case "file":
            return dict(content)
        case "audio" | "video":
            shown = {name: each for name, each in content.items() if name != "recognition"}
            return {**shown, "duration": str(content["duration"])}
        case "chatRecord":
            return {"summary": content["summary"]}
        case _:
            return None


def with_quote(body: dict[str, Any], quote: Quote) -> dict[str, Any]:
    """The ``text`` or ``content`` of a message that answers another."""
    return {**body, "isReplyMsg": True, "repliedMsg": quote.as_payload()}


def _picture(coded: Coded) -> dict[str, Any]:
    return {"downloadCode": coded.code, "pictureDownloadCode": coded.picture_code or coded.code}


def _timed(coded: Coded) -> dict[str, Any]:
    return {"duration": coded.file.duration_ms, "downloadCode": coded.code}


def _rich(text: str, files: list[Coded]) -> list[dict[str, Any]]:
    """Lines with the newlines between them as items of their own, then the pictures."""
    items: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n")):
        if number:
            items.append({"text": "\n"})
        if line:
            items.append({"text": line})
    return [*items, *({"type": "picture", **_picture(each)} for each in files)]


def _quoted_item(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") == "picture":
        return {"msgType": "picture", "downloadCode": item["downloadCode"]}
    return {"msgType": "text", "content": item.get("text", "")}


def _record(text: str) -> dict[str, Any]:
    """A forwarded conversation; each line is one entry, ``name: words``."""
    entries = [_entry(number, line) for number, line in enumerate(text.strip().split("\n"))]
    return {
        "summary": text.strip(),
        "title": "聊天记录",
        "chatRecord": json.dumps(entries, ensure_ascii=False),
    }


def _entry(number: int, line: str) -> dict[str, Any]:
    name, found, words = line.partition(": ")
    return {
        "senderName": name if found else "Alice",
        "senderCorpId": CORP_ID,
        "content": words if found else line,
        "msgType": "text",
        "time": 1_767_225_600_000 + number * 1000,
    }
