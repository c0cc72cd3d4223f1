"""Small files for those who name none: what a person sends when a test only says the kind."""

import struct
import zlib
from functools import cache

from dingwire.simulator.filestore import File

__all__ = ["sample"]

WIDTH, HEIGHT = 96, 64


@cache
def sample(kind: str) -> File:
    """A file that fits a ``msgtype``."""
    match kind:
        case "audio":
            return File(_silence(), "voice.amr")
        case "video":
            return File(_film(), "film.mp4", duration_ms=5000)
        case "file":
            return File(_document(), "a.pdf")
        case _:
            return File(_picture(), "picture.png")


def _picture() -> bytes:
    """A PNG of a sky over a field."""
    rows = b"".join(
        b"\0" + bytes(part for _ in range(WIDTH) for part in _colour(row)) for row in range(HEIGHT)
    )
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _colour(row: int) -> tuple[int, int, int]:
    return (90 + row, 150 + row, 235) if row < HEIGHT * 2 // 3 else (80, 160 - row, 80)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _silence() -> bytes:
    """Four seconds of AMR frames that carry no sound."""
    return b"#!AMR\n" + (b"\x04" + b"\0" * 12) * 200


def _film() -> bytes:
    """The first box of an MP4, which is all that tells one."""
    return struct.pack(">I", 24) + b"ftypisom" + struct.pack(">I", 512) + b"isommp41"


def _document() -> bytes:
    """A PDF of one empty page."""
    objects = (
        b"1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\n"
    )
    return b"%PDF-1.4\n" + objects + b"trailer<</Root 1 0 R>>\n%%EOF\n"
