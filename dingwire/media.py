"""Fetching what people send: a code becomes an address, the address a file.

The worker calls it when an agent asks for an attachment. The code is turned into a temporary
address of DingTalk's storage; that address came from outside, so it is checked, it is connected to
by the very machine that was checked, and what comes is bounded in size and time. No error shows the
address or the code. Source: docs/protocol.md, "Files".
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import requests
import urllib3.exceptions

from dingwire.errors import (
    MediaError,
    MediaNotAllowedError,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnavailableError,
    MediaWrongTypeError,
    OpenApiError,
    shown,
)
from dingwire.guarded import guarded_session
from dingwire.http import explained, proxies_for
from dingwire.media_hosts import MediaHosts
from dingwire.media_types import HEAD_BYTES, is_of_kind, suffix_of
from dingwire.openapi import Method
from dingwire.values import text

__all__ = ["Api", "MediaClient"]

DOWNLOAD_PATH = "/v1.0/robot/messageFiles/download"
USER_AGENT = "celery-dingtalk"
MAX_REDIRECTS = 3
_PIECE_BYTES = 64 * 1024
_CONNECT_S = 5.0
_SILENCE_S = 15.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MEGABYTE = 1024 * 1024


class Api(Protocol):
    """The part of :class:`dingwire.openapi.OpenApiClient` that is used here."""

    def call(
        self, method: Method, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call an API, or raise :class:`OpenApiError`."""


class MediaClient:
    """Fetches for one bot; one instance serves all threads of a process."""

    def __init__(
        self,
        api: Api,
        hosts: MediaHosts,
        *,
        max_bytes: int,
        timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is called.

        Args:
            api: Of the bot that was sent it.
            hosts: Where may be fetched from.
            max_bytes: Of one file.
            timeout_s: Longest one download may take.
            monotonic: Counts seconds.
        """
        self._api, self._hosts = api, hosts
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._monotonic = monotonic

    def download(
        self,
        code: str,
        *,
        robot_code: str,
        kind: str,
        to: Path,
        name: str = "",
        within_s: float | None = None,
    ) -> Path:
        """Fetch one file; return where it is: ``to``, with an ending that says what it is.

        Args:
            code: From the message.
            robot_code: Of the bot that was sent it.
            kind: picture, audio, video or file, which what comes must be.
            to: What to call it; the folder is there, the file is not. Nobody else may read it.
            name: The sender's name for it, whose ending it gets.
            within_s: Less time than usual, if so; zero or less is too late already.

        Raises:
            MediaUnavailableError: It did not come, or not in time.
            MediaRefusedError: DingTalk does not give it out.
            MediaNotAllowedError: It lies where we do not fetch from.
            MediaTooLargeError: It has too many bytes.
            MediaWrongTypeError: It is not of this kind.
        """
        limit_s = self._timeout_s if within_s is None else min(self._timeout_s, within_s)
        end = self._monotonic() + limit_s
        self._left_s(end)
        with self._opened(self._url(code, robot_code), end) as response:
            return self._save(response, end, kind=kind, to=to, name=name)

    def _url(self, code: str, robot_code: str) -> str:
        if not code:
            raise MediaRefusedError("DingTalk sent no code for it")
        body = {"downloadCode": code, "robotCode": robot_code}
        try:
            answer = self._api.call("POST", DOWNLOAD_PATH, body)
        except OpenApiError as error:
            # Not always DingTalk's word: our own pace and budget have one, too.
            reason = f"no address for it: {shown(error.code, code)!r}"
            if error.retryable:
                raise MediaUnavailableError(reason) from None
            raise MediaRefusedError(reason) from None
        url = text(answer.get("downloadUrl"))
        if not url:
            raise MediaUnavailableError("DingTalk gave no address")
        return url

    @contextmanager
    def _opened(self, url: str, end: float) -> Iterator[requests.Response]:
        """Ask at ``url``, and where it sends us, for as many times as it may."""
        for _ in range(MAX_REDIRECTS + 1):
            self._hosts.check(url)
            with (
                closing(guarded_session(USER_AGENT, self._hosts.addresses)) as session,
                closing(self._get(session, url, end)) as response,
            ):
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                url = _moved(url, response.headers.get("Location", ""))
        raise MediaUnavailableError(f"it was moved more than {MAX_REDIRECTS} times")

    def _get(self, session: requests.Session, url: str, end: float) -> requests.Response:
        left_s = self._left_s(end)
        try:
            return session.get(
                url,
                headers={"Accept-Encoding": "identity"},
                timeout=(min(_CONNECT_S, left_s), min(_SILENCE_S, left_s)),
                allow_redirects=False,
                proxies=proxies_for(url),
                stream=True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise MediaUnavailableError(explained(error).reason) from None

    def _save(
        self, response: requests.Response, end: float, *, kind: str, to: Path, name: str
    ) -> Path:
        if response.status_code != 200:
            reason = f"its storage answers HTTP {response.status_code}"
            if response.status_code in (401, 403, 404, 410):
                raise MediaRefusedError(reason)
            raise MediaUnavailableError(reason)
        content_type = response.headers.get("Content-Type", "")
        told = response.headers.get("Content-Length", "")
        if told.isascii() and told.isdigit() and int(told) > self._max_bytes:
            raise self._too_large()
        pieces = self._pieces(response, end)
        head = b""
        for piece in pieces:
            head += piece
            if len(head) >= HEAD_BYTES:
                break
        if not is_of_kind(kind, content_type, head[:HEAD_BYTES], name=name):
            main = shown(content_type.partition(";")[0])[:50]
            raise MediaWrongTypeError(f"it is no {kind}, but {main or 'something unnamed'!r}")
        path = to.with_name(to.name + suffix_of(name, content_type, head[:HEAD_BYTES]))
        try:
            _write(path, head, pieces)
        except OSError as error:
            path.unlink(missing_ok=True)
            reason = error.strerror or type(error).__name__
            raise MediaUnavailableError(f"it cannot be written: {reason}") from None
        except MediaError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _pieces(self, response: requests.Response, end: float) -> Iterator[bytes]:
        """Yield what comes as it comes, so that a trickle is not waited for."""
        got = 0
        while True:
            self._left_s(end)
            try:
                piece = response.raw.read1(_PIECE_BYTES, decode_content=False)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise MediaUnavailableError(explained(error).reason) from None
            if not piece:
                break
            got += len(piece)
            if got > self._max_bytes:
                raise self._too_large()
            yield piece
        told = response.headers.get("Content-Length", "")
        if told.isascii() and told.isdigit() and got != int(told):
            raise MediaUnavailableError("it broke off")

    def _too_large(self) -> MediaTooLargeError:
        most = self._max_bytes / _MEGABYTE
        return MediaTooLargeError(f"it has more than {most:g} MB, see MEDIA_MAX_MB")

    def _left_s(self, end: float) -> float:
        left_s = end - self._monotonic()
        if left_s <= 0:
            raise MediaUnavailableError("it did not come in time")
        return left_s


def _moved(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:  # its text shows the address
        raise MediaNotAllowedError("it was moved to an address that cannot be read") from None


def _write(path: Path, head: bytes, pieces: Iterator[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123, by its descriptor
        file.write(head)
        file.writelines(pieces)
