"""What stands in attachments, for a model: pictures as they are, text files in words.

Of everything else a model is told that it is there. Nothing here raises: what cannot be had is
told as well. Voice has been put into words by DingTalk and is the text of its message.
"""

import asyncio
import base64
import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dingwire.errors import MediaError
from worker.agents.attachments import Attachment
from worker.agents.openai.conversation import Shown

__all__ = ["Reader"]

_MOST_PICTURES = 8
_ENCODINGS = ("utf-8", "gb18030")
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# By what files begin with; bmp is not taken everywhere, and DingTalk hardly sends it.
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
}
_TEXTS = frozenset(
    {
        *("txt", "md", "markdown", "rst", "csv", "tsv", "log", "text", "srt", "vtt", "tex", "org"),
        *("json", "jsonl", "ndjson", "xml", "html", "htm", "svg", "yaml", "yml", "toml", "ini"),
        *("cfg", "conf", "env", "properties", "sql", "sh", "bat", "ps1", "py", "js", "ts", "jsx"),
        *("tsx", "css", "java", "kt", "c", "h", "cc", "cpp", "hpp", "cs", "go", "rs", "rb", "php"),
        *("swift", "scala", "lua", "r", "pl", "vue", "diff", "patch", "proto", "gradle"),
    }
)


@dataclass(frozen=True)
class Reader:
    """Reads for a model that takes pictures, or none.

    Attributes:
        takes_pictures: Whether it does.
        picture_bytes: The largest of them.
        text_bytes: How much of a text file it is shown; 0 is nothing.
    """

    takes_pictures: bool
    picture_bytes: int
    text_bytes: int

    async def read(self, attachments: Sequence[Attachment], *, has_words: bool) -> list[Shown]:
        """Return what to show of each, in order.

        Args:
            attachments: Fetched only as far as something of them is shown.
            has_words: Whether their message has a text: then of voice nothing is said.
        """
        pictures = [n for n, each in enumerate(attachments) if each.kind == "picture"]
        shown = set(pictures[:_MOST_PICTURES])
        return await asyncio.gather(
            *(
                self._one(each, has_words=has_words, is_shown=number in shown)
                for number, each in enumerate(attachments)
            )
        )

    async def _one(self, attachment: Attachment, *, has_words: bool, is_shown: bool) -> Shown:
        try:
            if attachment.kind == "picture" and self.takes_pictures and is_shown:
                return self._picture(await attachment.adownload())
            if attachment.kind == "file" and self.text_bytes and _is_text(attachment.name):
                return self._text(attachment.name, await attachment.adownload())
        except MediaError as error:
            return Shown(f"[{_called(attachment)}: it could not be fetched: {error.reason}]")
        except OSError:
            return Shown(f"[{_called(attachment)}: it could not be read]")
        if attachment.kind == "audio" and has_words:
            return Shown()
        return Shown(f"[{_called(attachment)}: you are not shown what is in it]")

    def _picture(self, path: Path) -> Shown:
        with path.open("rb") as file:
            content = file.read(self.picture_bytes + 1)
        kind = _kind_of(content)
        if len(content) > self.picture_bytes:
            return Shown("[picture: it is too large to be shown to you]")
        if not kind:
            return Shown("[picture: of a kind that cannot be shown to you]")
        return Shown(picture=f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")

    def _text(self, name: str, path: Path) -> Shown:
        with path.open("rb") as file:
            content = file.read(self.text_bytes)
            is_cut = bool(file.read(1))
        text = _decoded(content)
        if text is None:
            return Shown(f"[file {_plain(name)}: it is no text]")
        cut = f"\n[cut: only its first {self.text_bytes // 1024} KiB are shown]" if is_cut else ""
        return Shown(f"[file {_plain(name)}:]\n{text.rstrip()}{cut}\n[end of {_plain(name)}]")


def _kind_of(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _PICTURES.items() if content.startswith(mark)), "")


def _is_text(name: str) -> bool:
    _, dot, ending = name.lower().rpartition(".")
    return bool(dot) and ending in _TEXTS


def _decoded(content: bytes) -> str | None:
    """Return the text, of which the end may be cut off inside a character; None of no text."""
    mark = next((mark for mark in _MARKS if content.startswith(mark)), None)
    if mark is None and b"\x00" in content:
        return None
    for encoding in _ENCODINGS if mark is None else (_MARKS[mark],):
        try:
            return codecs.getincrementaldecoder(encoding)().decode(content)
        except UnicodeDecodeError:
            continue
    return None


def _called(attachment: Attachment) -> str:
    seconds = attachment.duration_ms
    length = f"of {seconds / 1000:g} s" if seconds is not None else ""
    return " ".join(filter(None, [attachment.kind, _plain(attachment.name), length]))


def _plain(name: str) -> str:
    return " ".join(name.split())
