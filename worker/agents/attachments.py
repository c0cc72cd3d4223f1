"""A message's pictures, voice messages, videos and files, as an agent sees them.

Nothing is fetched before the agent asks. The file lies in a folder of the message's own and goes
with it: an agent that wants to keep one copies it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from contract.content import Attachment as Code
from dingwire.errors import MediaUnavailableError

__all__ = ["Attachment", "Fetch", "not_fetched"]

Fetch = Callable[[Code], Path]
"""Gets one, or returns the file it got before; raises :class:`dingwire.errors.MediaError`."""


def not_fetched(code: Code) -> Path:
    """Fetch nothing: for a message that no worker is working on."""
    raise MediaUnavailableError("there is no connection to DingTalk here")


@dataclass(frozen=True)
class Attachment:
    """One of them.

    ``kind`` is picture, audio, video or file. ``size`` (bytes), ``duration_ms`` and ``media_type``
    are what DingTalk tells before a download, which is little: None, None and "" are usual.
    """

    kind: str
    name: str = field(default="", repr=False)
    size: int | None = None
    duration_ms: int | None = None
    media_type: str = ""
    code: Code = field(default_factory=Code, repr=False, compare=False)
    fetch: Fetch = field(default=not_fetched, repr=False, compare=False)

    @classmethod
    def of(cls, code: Code, fetch: Fetch) -> "Attachment":
        """Return what an envelope carries, with the way to get it."""
        return cls(
            kind=code.kind,
            name=code.name,
            size=code.size,
            duration_ms=code.duration_ms,
            media_type=code.media_type,
            code=code,
            fetch=fetch,
        )

    def download(self) -> Path:
        """Return the file; it is gone when the message is finished.

        Blocks, for ``MEDIA_TIMEOUT_S`` at most. Called again, it returns the same file.

        Raises:
            MediaError: It cannot be had.
            RuntimeError: Called on an event loop, where it would stop every other agent.
        """
        if _is_on_a_loop():
            raise RuntimeError("in an async agent write: await attachment.adownload()")
        return self.fetch(self.code)

    async def adownload(self) -> Path:
        """Return the file, as :meth:`download` does, without blocking the event loop.

        Raises:
            MediaError: It cannot be had.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Path] = loop.create_future()

        def settle(path: Path | None, error: Exception | None) -> None:
            if future.done():  # the agent was cancelled
                return
            if error is not None:
                future.set_exception(error)
            elif path is not None:
                future.set_result(path)

        def work() -> None:
            path, failure = None, None
            try:
                path = self.fetch(self.code)
            except Exception as error:  # noqa: BLE001, it is raised where it is awaited
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, path, failure)

        # Not in the loop's own pool, which is small, and waited for when the process ends.
        threading.Thread(target=work, name="download", daemon=True).start()
        return await future


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
