"""The files people send and bots upload, and the codes, addresses and ids that stand for them.

Pure state; ``media`` is its HTTP face, ``world`` owns one.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from mimetypes import guess_type

__all__ = ["DownloadCode", "File", "FileStore", "Stored"]

UNKNOWN_TYPE = "application/octet-stream"
AUDIO_TYPES = {"amr": "audio/amr", "wav": "audio/wav", "ogg": "audio/ogg"}


@dataclass(frozen=True)
class File:
    """Something a person can send.

    Attributes:
        content: The bytes.
        name: With the ending that says what it is.
        media_type: What the storage calls it; by the name's ending when empty.
        duration_ms: Of sounds and films.
    """

    content: bytes = field(repr=False)
    name: str
    media_type: str = ""
    duration_ms: int = 4000

    @property
    def type_or_guess(self) -> str:
        """The media type, guessed when none was given."""
        ending = self.name.rpartition(".")[2].lower()
        guessed = AUDIO_TYPES.get(ending) or guess_type(self.name)[0]
        return self.media_type or guessed or UNKNOWN_TYPE


@dataclass
class DownloadCode:
    """The right to ask for an address of a file.

    ``robots`` are the client ids it is good for; ``None`` means any.
    """

    value: str = field(repr=False)
    file: File
    robots: set[str] | None
    expires_at_ms: int


@dataclass(frozen=True)
class Stored:
    """A file at a temporary address of the storage."""

    file: File
    signature: str = field(repr=False)
    expires_at_s: int


class FileStore:
    """Every file, by the words that lead to it."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.clear()

    def clear(self) -> None:
        """Forget all files."""
        self._codes: dict[str, DownloadCode] = {}
        self._stored: dict[str, Stored] = {}
        self._media: dict[str, File] = {}
        self.sent: dict[str, list[File]] = {}  # by message id, for the chat page

    def code(self, file: File, *, robots: set[str] | None, life_s: float) -> str:
        """A new download code for ``file``."""
        value = secrets.token_urlsafe(48)
        end_ms = self._now_ms() + round(life_s * 1000)
        self._codes[value] = DownloadCode(value, file, robots, end_ms)
        return value

    def grant(self, code: str, robot: str) -> None:
        """Make a code good for one more robot, which was just sent it."""
        known = self._codes.get(code)
        if known is not None and known.robots is not None:
            known.robots.add(robot)

    def find(self, code: str) -> DownloadCode | None:
        """A code that has not ended."""
        known = self._codes.get(code)
        return known if known is not None and self._now_ms() < known.expires_at_ms else None

    def expire_codes(self) -> None:
        """End every download code now."""
        for known in self._codes.values():
            known.expires_at_ms = self._now_ms()

    def store(self, file: File, *, life_s: float) -> tuple[str, Stored]:
        """Put a file at a new temporary address; returns its key there."""
        key = secrets.token_hex(16)
        end_s = (self._now_ms() + round(life_s * 1000)) // 1000
        stored = self._stored[key] = Stored(file, secrets.token_hex(14), end_s)
        return key, stored

    def stored(self, key: str) -> Stored | None:
        """What lies under a key of the storage, whether its address has ended or not."""
        return self._stored.get(key)

    def keep(self, file: File) -> str:
        """Keep what a bot uploads; returns its media id."""
        media_id = "@lA" + secrets.token_urlsafe(20)
        self._media[media_id] = file
        return media_id

    def media(self, media_id: object) -> File | None:
        """What was uploaded under a media id."""
        return self._media.get(media_id) if isinstance(media_id, str) else None
