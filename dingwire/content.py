"""What a chat message holds: its words, its media and whom it mentions, by its kind.

``dingwire/messages.py`` reads a message with it, ``dingwire/quotes.py`` the one that was quoted.
Nothing here raises. Source: docs/protocol.md, "Chat messages".
"""

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dingwire.values import first_text, json_array, json_object, text, whole_number

__all__ = ["AtUser", "Content", "Media", "read_content", "read_media"]

# Names of kinds, small letters, and what an attachment of them is called.
_MEDIA = {
    "picture": "picture",
    "image": "picture",
    "audio": "audio",
    "voice": "audio",
    "video": "video",
    "file": "file",
}
# Where kinds other than text and richText keep words, best first.
_WORDS = ("recognition", "text", "content", "markdown", "title", "summary", "quoteContent")
_ITEM_WORDS = ("text", "content", "emoji", "emojiName", "name", "recognition")

# Of a video, what is below is seconds: nobody films for less than one, or for a quarter of an hour.
_LEAST_VIDEO_MS = 1000
_LONGEST_MS = 24 * 3600 * 1000
_LARGEST = 2**53

# A mention as HarmonyOS writes it: words, ended by a space of some kind.
_WRITTEN_MENTION = re.compile(r"^\s*@\S+\s*")


class Media(BaseModel):
    """A picture, voice message, video or file that can be fetched by its code."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="picture, audio, video or file.")
    download_code: str = Field(default="", repr=False, description="Empty when it was left out.")
    name: str = Field(default="", repr=False)
    size: int | None = Field(default=None, description="Bytes; None when not told.")
    duration_ms: int | None = None
    media_type: str = Field(default="", description="Such as video/mp4; empty when not told.")


class AtUser(BaseModel):
    """Somebody who is mentioned."""

    model_config = ConfigDict(frozen=True)

    staff_id: str | None = None
    dingtalk_id: str = ""
    name: str = Field(default="", repr=False)
    is_bot: bool = False


@dataclass
class Content:
    """What was found; ``unread`` is what we do not model, None when all was understood."""

    text: str = ""
    media: list[Media] = field(default_factory=list)
    mentioned: list[AtUser] = field(default_factory=list)
    unread: Any = None


def read_content(
    kind: str, words: object, content: object, *, bot_id: str = "", is_mentioned: bool = False
) -> Content:
    """Read the content of a message.

    Args:
        kind: ``msgtype``.
        words: The member ``text``, where text messages have their words.
        content: The member ``content``, where all others have everything.
        bot_id: ``chatbotUserId``, whose mention is cut out.
        is_mentioned: Whether the bot was mentioned, so that a mention at the start is its.
    """
    fields = json_object(content)
    name = kind.lower()
    if name == "richtext" or isinstance(fields.get("richText"), list):
        return _rich_text(fields.get("richText"), bot_id, is_mentioned=is_mentioned)
    if name == "chatrecord":
        return _record(fields)
    found = read_media(_MEDIA.get(name, ""), fields)
    read = _plain(words) or _plain_content(content, fields)
    is_modelled = name in {"text", "markdown", "picture", "image", "audio", "voice", "video"}
    return Content(read, found, unread=None if is_modelled else fields or content)


def read_media(kind: str, fields: dict[str, Any]) -> list[Media]:
    """Return the one medium that ``fields`` describe, or none; ``kind`` is empty for unknown."""
    if not fields:
        return []
    code = first_text(fields, "downloadCode", "pictureDownloadCode")
    name = first_text(fields, "fileName")
    duration_ms = _duration_ms(fields.get("duration"), kind)
    if not code and not (kind and (name or duration_ms)):
        return []
    video = first_text(fields, "videoType").strip().lower()
    return [
        Media(
            kind=kind or "file",
            download_code=code,
            name=name,
            size=_size(fields.get("fileSize")),
            duration_ms=duration_ms,
            media_type=f"video/{video}" if video.isalnum() and len(video) < 16 else "",
        )
    ]


def _plain(value: object) -> str:
    """Return ``{"content": "..."}``'s words, or the value when it is text already."""
    return first_text(value, "content", "text") if isinstance(value, dict) else text(value)


def _plain_content(content: object, fields: dict[str, Any]) -> str:
    if not fields:  # some adapters saw the words alone
        return text(content) if isinstance(content, str) and not content.startswith("{") else ""
    return next((read for name in _WORDS if (read := _plain(fields.get(name)))), "")


def _size(value: object) -> int | None:
    size = whole_number(value)
    return size if size is not None and 0 <= size < _LARGEST else None


def _duration_ms(value: object, kind: str) -> int | None:
    """Return milliseconds; of a video, what is too small for that is seconds, as in one sample."""
    told = whole_number(value)
    if told is None or told <= 0:
        return None
    ms = told * 1000 if kind == "video" and told < _LEAST_VIDEO_MS else told
    return ms if ms <= _LONGEST_MS else None


def _rich_text(items: object, bot_id: str, *, is_mentioned: bool) -> Content:
    if not isinstance(items, list):
        return Content(text(items))
    reader = _RichText(bot_id, is_mentioned=is_mentioned)
    for item in items:
        reader.read(item)
    result = reader.result
    result.text = "".join(reader.pieces)
    result.unread = {"richText": reader.unread} if reader.unread else None
    if is_mentioned and not reader.has_mention:
        result.text = _without_written_mention(result.text)
    return result


def _without_written_mention(words: str) -> str:
    """Cut the bot's name where HarmonyOS writes it out; one word, as more cannot be told apart."""
    return _WRITTEN_MENTION.sub("", words, count=1)


def _record(fields: dict[str, Any]) -> Content:
    """Read a forwarded piece of a chat: a line for each message in it."""
    entries = json_array(fields.get("chatRecord"))
    result = Content(unread=fields)
    lines = [line for entry in entries if (line := _record_line(entry, result))]
    summary = first_text(fields, "summary")
    result.text = "\n".join(lines) or ("" if summary.strip() == "[]" else summary)
    result.text = result.text or first_text(fields, "title")
    return result


def _record_line(entry: object, into: Content) -> str:
    if not isinstance(entry, dict):
        return text(entry)
    kind = first_text(entry, "msgType", "msgtype", "type")
    name = first_text(entry, "senderName", "senderNick", "sender", "name")
    content = entry.get("content")
    fields = json_object(content)
    media = read_media(_MEDIA.get(kind.lower(), ""), fields or entry)
    into.media += media
    if isinstance(fields.get("richText"), list):
        inner = _rich_text(fields["richText"], "", is_mentioned=False)
        into.media += inner.media
        words = inner.text
    else:
        words = _plain(entry.get("text")) or _plain_content(content, fields)
    words = words or (f"[{media[0].kind}]" if media else f"[{kind}]" if kind else "")
    return f"{name}: {words}" if name and words else words


class _RichText:
    """Joins the items of one richText message."""

    def __init__(self, bot_id: str, *, is_mentioned: bool) -> None:
        self.result = Content()
        self.pieces = list[str]()  # joined at the end: there may be as many as fit into a frame
        self.unread = list[Any]()
        self.has_mention = False
        self._bot_id, self._is_mentioned = bot_id, is_mentioned

    def read(self, item: object) -> None:
        """Read one item; inside a quote the same ones are spelled msgType and content."""
        if not isinstance(item, dict):
            self.pieces.append(text(item))
            return
        kind = (first_text(item, "type") or first_text(item, "msgType")).lower()
        if kind == "at":
            self._mention(first_text(item, "atName", "name"), first_text(item, "atUserId"))
            return
        media = read_media(_MEDIA.get(kind, ""), item)
        self.result.media += media
        words = next((read for name in _ITEM_WORDS if (read := _plain(item.get(name)))), "")
        self.pieces.append(words)
        if not words and not media and item:
            self.unread.append(item)

    def _mention(self, name: str, identity: str) -> None:
        # The first of a message is how the bot was called, as a text message has it cut out.
        is_call = not self.has_mention and not "".join(self.pieces).strip()
        is_bot = identity == self._bot_id if identity else is_call and self._is_mentioned
        self.has_mention = True
        if not (is_bot or is_call):
            self.pieces.append(f"@{name.removeprefix('@')}" if name else "")
        is_opaque = identity.startswith("$")
        self.result.mentioned.append(
            AtUser(
                staff_id=None if is_opaque else identity.strip() or None,
                dingtalk_id=identity if is_opaque else "",
                name=name.removeprefix("@"),
                is_bot=is_bot,
            )
        )
