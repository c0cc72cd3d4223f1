"""Which bytes are a picture, a voice message, a video; for ``dingwire/media.py``.

An object store calls most of what DingTalk keeps ``application/octet-stream``, so the first bytes
have a say as well.
"""

import mimetypes
import re

__all__ = ["HEAD_BYTES", "is_of_kind", "suffix_of"]

HEAD_BYTES = 32

# What a store calls things it knows nothing of.
_VAGUE = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-binary"})
_MAIN_TYPES = {"picture": "image", "audio": "audio", "video": "video"}
# Containers of either.
_BOTH = frozenset({"audio", "video"})
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<error")

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}$")
_SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"GIF8", ".gif"),
    (0, b"BM", ".bmp"),
    (8, b"WEBP", ".webp"),
    (4, b"ftypheic", ".heic"),
    (0, b"#!AMR", ".amr"),
    (0, b"ID3", ".mp3"),
    (8, b"WAVE", ".wav"),
    (0, b"OggS", ".ogg"),
    (4, b"ftypM4A", ".m4a"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".webm"),
    (0, b"%PDF-", ".pdf"),
)


def is_of_kind(kind: str, content_type: str, head: bytes, *, name: str = "") -> bool:
    """Whether something with this type and these first bytes can be of ``kind``.

    Args:
        kind: picture, audio, video or file.
        content_type: The header's value; "" without one.
        head: The first :data:`HEAD_BYTES`, or all of a shorter one.
        name: The file's own name, if it has one: a page is only taken for a file that is called so.
    """
    told = content_type.partition(";")[0].strip().lower()
    is_markup = told in {"text/html", "application/xhtml+xml"} or (
        told in _VAGUE and head.lstrip().lower().startswith(_MARKUP)
    )
    wanted = _MAIN_TYPES.get(kind)
    if wanted is None:
        is_page = name.lower().endswith((".html", ".htm", ".xml", ".xhtml", ".svg", ".plist"))
        return is_page or not is_markup
    if told in _VAGUE:
        return bool(head) and not is_markup
    main = told.partition("/")[0]
    return main == wanted or (main in _BOTH and wanted in _BOTH)


def suffix_of(name: str, content_type: str, head: bytes) -> str:
    """Return what the file's name should end in, such as ``.png``; "" when nothing tells."""
    if found := _SUFFIX.search(name):
        return found.group().lower()
    for at, sign, suffix in _SIGNS:
        if head[at : at + len(sign)] == sign:
            return suffix
    told = content_type.partition(";")[0].strip().lower()
    return "" if told in _VAGUE else mimetypes.guess_extension(told) or ""
