"""The files of the attachments that agents ask for, and their end.

Each message has a folder of its own, made when the first file is asked for and removed when the
message is finished, however that was (``worker/asking.py``). A process that was killed leaves
its folders behind; another one's start finds that nobody holds them, and removes them.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from contract.content import Attachment
from contract.envelope import Envelope
from dingwire.errors import MediaError, MediaUnavailableError

__all__ = ["AttachmentFiles", "FilesOfMessage", "Source"]

logger = logging.getLogger(__name__)

# Younger ones may not be held yet by the process that makes them.
_YOUNG_S = 60.0

_FOLDER = "attachments"


class Source(Protocol):
    """The part of :class:`dingwire.media.MediaClient` that is used here."""

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
        """Fetch one file, or raise :class:`MediaError`."""


class AttachmentFiles:
    """Where a process keeps them."""

    def __init__(
        self,
        data_dir: Path,
        source_of: Callable[[Envelope], Source | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is written.

        Args:
            data_dir: What the folder of all of them is made in, at the first need.
            source_of: Finds who fetches for a message's bot; None when nobody can.
            monotonic: Counts seconds.
        """
        self._data_dir, self._source_of = data_dir, source_of
        self._monotonic = monotonic
        self._root: Path | None = None
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder all of them are in."""
        with self._lock:
            if self._root is None:
                self._root = _root_in(self._data_dir)
            return self._root

    def of(self, envelope: Envelope, *, within_s: float) -> "FilesOfMessage":
        """Return the files of one message, to be used as a context.

        Args:
            envelope: The message.
            within_s: How long its agent may run from now on.
        """
        end = self._monotonic() + within_s
        return FilesOfMessage(
            envelope,
            root=lambda: self.root,
            source=lambda: self._source_of(envelope),
            left_s=lambda: end - self._monotonic(),
        )

    def sweep(self) -> int:
        """Remove what processes left behind that were killed; return how many folders."""
        root = self._data_dir.absolute() / _FOLDER
        removed, folders = 0, list[Path]()
        # Of another user's folder nothing is known, and nothing is ours to remove.
        with contextlib.suppress(OSError):
            folders = list(root.iterdir())
        for folder in folders:
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        if removed:
            logger.info("folders of attachments removed that a killed process left behind",
                        extra={"action": "attachments_swept", "folders": removed})  # fmt: skip
        return removed


class FilesOfMessage:
    """The files of one message; from its end on there are none."""

    def __init__(
        self,
        envelope: Envelope,
        *,
        root: Callable[[], Path],
        source: Callable[[], Source | None],
        left_s: Callable[[], float],
    ) -> None:
        """Prepare; see :meth:`AttachmentFiles.of`."""
        self._bot, self._message_id = envelope.bot, envelope.message_id
        self._root, self._source, self._left_s = root, source, left_s
        self._lock = threading.Lock()
        self._folder: tuple[Path, int] | None = None
        self._got = dict[Attachment, Path]()
        self._fetching = dict[Attachment, threading.Lock]()
        self._number = 0
        self._is_over = False

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove all of them, those that an abandoned agent still fetches included."""
        with self._lock:
            self._is_over = True
            folder, self._folder = self._folder, None
        if folder is not None:
            path, descriptor = folder
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)

    def fetch(self, code: Attachment) -> Path:
        """Return the file of an attachment, fetched at the first call.

        Raises:
            MediaError: It cannot be had.
        """
        with self._lock:
            turn = self._fetching.setdefault(code, threading.Lock())
        with turn:
            if (path := self._got.get(code)) is None:
                path = self._got[code] = self._fetched(code)
        return path

    def _fetched(self, code: Attachment) -> Path:
        source = self._source()
        try:
            if source is None:
                raise MediaUnavailableError(
                    "this worker has no DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET"
                )
            path = source.download(
                code.download_code,
                robot_code=self._bot,
                kind=code.kind,
                to=self._place(),
                name=code.name or _named_by(code.media_type),
                within_s=self._left_s(),
            )
            self._check_open(path)
        except MediaError as error:
            logger.warning(
                "an attachment could not be fetched: %s",
                error.reason,
                extra={
                    "action": "attachment_failed",
                    "message_id": self._message_id,
                    "kind": code.kind,
                },
            )
            raise
        return path

    def _place(self) -> Path:
        """Return what the next file may be called."""
        with self._lock:
            if self._is_over:
                raise MediaUnavailableError("its message is finished")
            if self._folder is None:
                self._folder = _held_folder(self._root())
            self._number += 1
            return self._folder[0] / f"{self._number}"

    def _check_open(self, path: Path) -> None:
        with self._lock:
            if not self._is_over:
                return
        path.unlink(missing_ok=True)
        raise MediaUnavailableError("its message is finished")


def _root_in(data_dir: Path) -> Path:
    """Make the folder, in the system's own for such things where ``data_dir`` takes none."""
    folder = data_dir.absolute() / _FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return Path(tempfile.mkdtemp(prefix="celery-dingtalk-"))
    return folder


def _named_by(media_type: str) -> str:
    """Return a name whose ending says what it is."""
    return f"x.{media_type.rpartition('/')[2]}" if media_type else ""


def _held_folder(root: Path) -> tuple[Path, int]:
    """Make a folder of our own, and hold it until its descriptor is closed."""
    try:
        path = Path(tempfile.mkdtemp(dir=root))
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MediaUnavailableError(f"there is no place for it: {reason}") from None
    return path, descriptor


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that made it is gone: nobody holds it."""
    try:
        if time.time() - folder.lstat().st_mtime < _YOUNG_S:
            return False
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False
    finally:
        os.close(descriptor)
