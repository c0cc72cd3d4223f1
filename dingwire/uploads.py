"""Uploads of pictures, voice messages, films and files, for replies that hold them.

Called by ``worker/sending/uploading.py``. This is a call of DingTalk's old API: the token stands in
the address, which is never shown, and an error comes with HTTP 200. Source: docs/protocol.md,
"Uploads".
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from dingwire.api_faults import fault_of
from dingwire.errors import MediaNotUploadedError, OpenApiUnavailableError
from dingwire.http import NoAnswer, new_session, post_file
from dingwire.replies import Audio, Image, Media, Video
from dingwire.values import text

__all__ = ["Api", "Uploads", "upload_base"]

PATH = "/media/upload"
USER_AGENT = "celery-dingtalk"
MEGABYTE = 1024 * 1024
MAX_BYTES = {"image": 20 * MEGABYTE, "voice": 2 * MEGABYTE} | dict.fromkeys(
    ("video", "file"), 20 * MEGABYTE
)

_NEW_API = re.compile(
    r"^(?P<before>https?://(?:pre-)?)api(?P<after>\.dingtalk\.(?:com|io))(?![\w.-])"
)

_T = TypeVar("_T")


class Api(Protocol):
    """The part of :class:`dingwire.openapi.OpenApiClient` that is used here."""

    @property
    def endpoint(self) -> str:
        """Base of the new API."""

    def with_token(self, use: Callable[[str], _T], *, api: str | None = None) -> _T:
        """Run ``use`` with a token."""


def upload_base(endpoint: str) -> str:
    """Return the base of the old API that belongs to this one of the new.

    DingTalk's own have hosts of their own; anything else, such as the simulator, serves both.
    """
    return _NEW_API.sub(r"\g<before>oapi\g<after>", endpoint)


class Uploads:
    """Uploads for any bot; one instance serves all threads of a process."""

    def __init__(self, *, timeout_s: tuple[float, float] = (3.05, 60.0)) -> None:
        """Prepare; ``timeout_s`` is for connecting, and for each silence of the connection."""
        self._timeout_s = timeout_s
        self._session = new_session(USER_AGENT, connections=8)

    def upload(self, api: Api, media: Media, *, within_s: float = math.inf) -> str:
        """Upload the content of ``media``; return its media id.

        Args:
            api: Of the bot that will send it.
            media: Has a path or data.
            within_s: More than 0; no connecting and no silence takes longer.

        Raises:
            MediaNotUploadedError: It cannot be read, or DingTalk would not take it; nothing was
                sent.
            OpenApiError: See :meth:`dingwire.openapi.OpenApiClient.with_token`.
        """
        kind = _kind(media)
        content = _content(media, MAX_BYTES[kind])
        connect_s, silence_s = self._timeout_s

        def send(token: str) -> str:
            answer = post_file(
                self._session,
                upload_base(api.endpoint) + PATH,
                query={"access_token": token, "type": kind},
                # What it is called is told by the message; here only the ending counts.
                name=f"{kind}.{media.ending}",
                content=content,
                timeout_s=(min(connect_s, within_s), min(silence_s, within_s)),
            )
            if isinstance(answer, NoAnswer):
                raise OpenApiUnavailableError("unreachable", answer.reason)
            fault = fault_of(answer, token)
            if fault is not None:
                raise fault
            media_id = text((answer.body or {}).get("media_id"))
            if not media_id:
                raise OpenApiUnavailableError("no media_id", "HTTP 200 without one")
            return media_id

        return api.with_token(send, api=PATH)

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()


def _kind(media: Media) -> str:
    if isinstance(media, Image):
        return "image"
    if isinstance(media, Audio):
        return "voice"
    return "video" if isinstance(media, Video) else "file"


def _content(media: Media, most: int) -> bytes:
    content = media.data
    if content is None:
        content = _read(media.path or Path(), most)
    if not content:
        raise MediaNotUploadedError("it is empty")
    if len(content) > most:
        raise MediaNotUploadedError(f"it has more than {most // MEGABYTE} MB")
    return content


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        # Its own words hold the path.
        raise MediaNotUploadedError(f"cannot read it: {error.strerror}") from None
    except ValueError:
        raise MediaNotUploadedError("cannot read it: no file has such a name") from None
