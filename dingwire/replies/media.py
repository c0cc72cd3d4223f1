"""Pictures and files. DingTalk's API carries them, session webhooks do not.

An agent gives a path, bytes, or a media id of an earlier upload; the worker uploads the first two
(``dingwire/uploads.py``) before it keeps the answer, so what is kept names media ids only.
"""

from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dingwire.replies.fields import MediaId, Model, PictureAddress
from dingwire.replies.texts import Markdown, Text, linked

__all__ = ["Audio", "File", "Image", "Media", "Video"]

MAX_NAME_CHARS = 200
_DAY_S = 86_400


class Media(Model):
    """Something with content of its own, from exactly one source."""

    goes_by_webhook: ClassVar[bool] = False
    formats: ClassVar[frozenset[str]]
    """The endings of names that DingTalk takes."""

    media_id: MediaId | None = Field(default=None, repr=False)
    path: Path | None = Field(default=None, exclude=True, repr=False)
    data: bytes | None = Field(default=None, exclude=True, repr=False)
    name: str = Field(default="", max_length=MAX_NAME_CHARS, repr=False)

    @property
    def is_uploaded(self) -> bool:
        """Whether nothing is left to upload."""
        return self.path is None and self.data is None

    @property
    def ending(self) -> str:
        """What its name ends in, in small letters and without the dot."""
        return PurePath(self.name).suffix.lower().removeprefix(".")

    def uploaded(self, media_id: str) -> Self:
        """Return it with the id of its upload in place of its content."""
        return self.model_copy(update={"media_id": media_id, "path": None, "data": None})

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        path = data.get("path") if isinstance(data, dict) else None
        if isinstance(path, str | PurePath) and not data.get("name"):
            return {**data, "name": PurePath(path).name[-MAX_NAME_CHARS:]}
        return data

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        names = self._source_names()
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(names)}: {len(given)} were given")
        if self.data is not None and not self.data:
            raise ValueError("data: must not be empty")
        if not self.is_uploaded and self.ending not in self.formats:
            raise ValueError(f"name: must end in one of {', '.join(sorted(self.formats))}")
        return self

    def _source_names(self) -> tuple[str, ...]:
        return ("media_id", "path", "data")


class Image(Media):
    """A picture: ``url`` (which DingTalk must reach), ``path``, ``data`` or ``media_id``."""

    formats: ClassVar[frozenset[str]] = frozenset({"jpg", "jpeg", "gif", "png", "bmp"})
    kind: Literal["image"] = "image"
    url: PictureAddress | None = Field(default=None, repr=False)
    name: str = Field(default="picture.png", max_length=MAX_NAME_CHARS, repr=False)

    def _source_names(self) -> tuple[str, ...]:
        return (*super()._source_names(), "url")

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post: that of what is closest to it."""
        return self.closest().for_webhook()

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        shown = self.url or self.media_id
        return ("sampleImageMsg", {"photoURL": shown}) if shown else self.closest().proactively()

    def closest(self, caption: str = "") -> Text | Markdown:
        """Return what every way carries: it in Markdown, or words for it; its name without any."""
        shown, caption = self.url or self.media_id, caption or f"[{self.name}]"
        if not shown:
            return Text(content=caption)
        return Markdown(title=caption, text=f"!{linked('', shown)}")


class File(Media):
    """A document; ``name`` is what people see."""

    formats: ClassVar[frozenset[str]] = frozenset(
        {"doc", "docx", "xls", "xlsx", "ppt", "pptx", "zip", "pdf", "rar"}
    )
    kind: Literal["file"] = "file"

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post: that of what is closest to it."""
        return self.closest().for_webhook()

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        if not self.media_id:
            return self.closest().proactively()
        param = {"mediaId": self.media_id, "fileName": self.name, "fileType": self.ending}
        return "sampleFile", param

    def closest(self, caption: str = "") -> Text:
        """Return what every way carries: words for it; its name without any."""
        return Text(content=caption or f"[{self.name}]")

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if self.ending not in self.formats:
            raise ValueError(f"name: must end in one of {', '.join(sorted(self.formats))}")
        return self


class Audio(Media):
    """A voice message of ``duration_s`` seconds."""

    # The page on uploads has amr, mp3, wav, the one on messages ogg, amr.
    formats: ClassVar[frozenset[str]] = frozenset({"amr", "mp3", "wav", "ogg"})
    kind: Literal["audio"] = "audio"
    duration_s: float = Field(gt=0, le=_DAY_S, allow_inf_nan=False)

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post: that of what is closest to it."""
        return self.closest().for_webhook()

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        if not self.media_id:
            return self.closest().proactively()
        duration_ms = max(1, round(self.duration_s * 1000))
        return "sampleAudio", {"mediaId": self.media_id, "duration": str(duration_ms)}

    def closest(self, caption: str = "") -> Text:
        """Return what every way carries: words for it; how long it is without any."""
        return Text(content=caption or f"[🎤 {self.duration_s:g} s] {self.name}".strip())


class Video(Media):
    """A film of ``duration_s`` seconds; ``cover`` is the picture that is seen before it plays."""

    formats: ClassVar[frozenset[str]] = frozenset({"mp4"})
    kind: Literal["video"] = "video"
    duration_s: float = Field(gt=0, le=_DAY_S, allow_inf_nan=False)
    cover: Image
    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)

    def for_webhook(self) -> dict[str, Any]:
        """Return the body of a post: that of what is closest to it."""
        return self.closest().for_webhook()

    def proactively(self) -> tuple[str, dict[str, Any]]:
        """Return ``msgKey`` and the members of ``msgParam``."""
        if not self.media_id or not self.cover.media_id:
            return self.closest().proactively()
        param = {
            "duration": str(max(1, round(self.duration_s))),
            "videoMediaId": self.media_id,
            "videoType": "mp4",
            "picMediaId": self.cover.media_id,
        }
        size = {"width": self.width, "height": self.height}
        return "sampleVideo", param | {k: str(v) for k, v in size.items() if v is not None}

    def closest(self, caption: str = "") -> Text | Markdown:
        """Return what every way carries: its cover, and words for it, or how long it is."""
        words = caption or f"[🎬 {self.duration_s:g} s] {self.name}".strip()
        shown = self.cover.media_id
        return Markdown(text=f"{words}\n\n!{linked('', shown)}") if shown else Text(content=words)

    @model_validator(mode="after")
    def _has_its_own_cover(self) -> Self:
        if self.cover.url is not None:
            raise ValueError("cover: give a path, data or media_id: a url is not possible here")
        return self
