"""Uploads what an answer holds before the answer is kept, so that any worker can send it.

Called by ``worker/asking.py``. What cannot be uploaded, or not in time, is no reason to lose an
answer: it becomes what is closest to it, and a line in the log.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from contract.envelope import Envelope
from dingwire.errors import MediaNotUploadedError, OpenApiError, OpenApiUnavailableError
from dingwire.replies import Media, Reply, Video
from dingwire.uploads import Api
from worker.sending.carrying import log_degraded
from worker.sending.simpler import simpler
from worker.words import Language

__all__ = ["ApiOf", "Uploader", "Uploading"]

ApiOf = Callable[[Envelope], Api | None]
"""Returns the API of a message's own bot; None without its credentials."""

_Held = TypeVar("_Held", bound=Media)

# All uploads of one answer, which is not kept meanwhile.
_MOST_S = 120.0


class Uploader(Protocol):
    """The part of :class:`dingwire.uploads.Uploads` that is used here."""

    def upload(self, api: Api, media: Media, *, within_s: float) -> str:
        """Upload; return the media id."""


class Uploading:
    """Shared by all threads of a process."""

    def __init__(
        self,
        uploads: Uploader,
        api_of: ApiOf,
        *,
        language_of: Callable[[Envelope], Language] = lambda _: "both",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._language_of = language_of
        self._uploads, self._api_of, self._monotonic = uploads, api_of, monotonic

    def ready(
        self, replies: Sequence[Reply], envelope: Envelope, *, spare_s: float | None
    ) -> list[Reply]:
        """Return the replies as they can be kept; never raises for what an upload does.

        Args:
            replies: Of the agent.
            envelope: Names the bot.
            spare_s: Left until the deadline, of which half is for the sending; when it is over,
                the answer is for later. None without one.
        """
        limit_s = _MOST_S if spare_s is None or spare_s <= 0 else min(_MOST_S, spare_s / 2)
        end = self._monotonic() + limit_s
        return [self._ready(reply, envelope, end) for reply in replies]

    def _ready(self, reply: Reply, envelope: Envelope, end: float) -> Reply:
        if not isinstance(reply, Media):
            return reply
        try:
            if isinstance(reply, Video):
                cover = self._uploaded(reply.cover, envelope, end)
                reply = reply.model_copy(update={"cover": cover})
            return self._uploaded(reply, envelope, end)
        except (MediaNotUploadedError, OpenApiError) as error:
            log_degraded(reply, envelope, str(error))
            return simpler(reply, self._language_of(envelope))

    def _uploaded(self, media: _Held, envelope: Envelope, end: float) -> _Held:
        if media.is_uploaded:
            return media
        api = self._api_of(envelope)
        if api is None:
            raise MediaNotUploadedError(
                "an upload needs DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"
            )
        try:
            media_id = self._upload(api, media, end)
        except OpenApiUnavailableError:
            media_id = self._upload(api, media, end)  # two copies of a file do no harm
        return media.uploaded(media_id)

    def _upload(self, api: Api, media: Media, end: float) -> str:
        left_s = end - self._monotonic()
        if left_s <= 0:
            raise MediaNotUploadedError("no time was left for it")
        return self._uploads.upload(api, media, within_s=left_s)
