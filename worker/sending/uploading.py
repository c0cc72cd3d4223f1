"""Uploads what an answer holds before the answer is kept, so that any worker can send it.

Called by ``worker/answering.py``. What cannot be uploaded is no reason to lose an answer: it
becomes what is closest to it, and a line in the log.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from contract.envelope import Envelope
from dingwire.errors import MediaNotUploadedError, OpenApiError, OpenApiUnavailableError
from dingwire.replies import Media, Reply, Video
from dingwire.uploads import Api
from worker.sending.carrying import log_degraded

__all__ = ["ApiOf", "Uploader", "Uploading"]

ApiOf = Callable[[Envelope], Api | None]
"""Returns the API of a message's own bot; None without its credentials."""

_Held = TypeVar("_Held", bound=Media)


class Uploader(Protocol):
    """The part of :class:`dingwire.uploads.Uploads` that is used here."""

    def upload(self, api: Api, media: Media) -> str:
        """Upload; return the media id."""


class Uploading:
    """Shared by all threads of a process."""

    def __init__(self, uploads: Uploader, api_of: ApiOf) -> None:
        self._uploads, self._api_of = uploads, api_of

    def ready(self, replies: Sequence[Reply], envelope: Envelope) -> list[Reply]:
        """Return the replies as they can be kept; never raises for what an upload does."""
        return [self._ready(reply, envelope) for reply in replies]

    def _ready(self, reply: Reply, envelope: Envelope) -> Reply:
        if not isinstance(reply, Media):
            return reply
        try:
            if isinstance(reply, Video):
                cover = self._uploaded(reply.cover, envelope)
                reply = reply.model_copy(update={"cover": cover})
            return self._uploaded(reply, envelope)
        except (MediaNotUploadedError, OpenApiError) as error:
            log_degraded(reply, envelope, str(error))
            return reply.closest()

    def _uploaded(self, media: _Held, envelope: Envelope) -> _Held:
        if media.is_uploaded:
            return media
        api = self._api_of(envelope)
        if api is None:
            raise MediaNotUploadedError(
                "an upload needs DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"
            )
        try:
            media_id = self._uploads.upload(api, media)
        except OpenApiUnavailableError:
            media_id = self._uploads.upload(api, media)  # two copies of a file do no harm
        return media.uploaded(media_id)
