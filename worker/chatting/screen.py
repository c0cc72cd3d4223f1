"""Shows a conversation: on a terminal with names before it, on a pipe nothing but what was said.

What the bot says goes to stdout, all else to stderr.
"""

import threading
from typing import IO

__all__ = ["Screen"]

_BOT = "bot> "
_BESIDE = "  … "


class Screen:
    """Where it is shown; called from any thread."""

    def __init__(self, out: IO[str], beside: IO[str], *, is_terminal: bool, quiet: bool) -> None:
        """Prepare.

        Args:
            out: For what the bot says.
            beside: For what is not said by it.
            is_terminal: Whether a person looks on.
            quiet: Show nothing that is said, as it is told in another form.
        """
        self._out, self._beside = out, beside
        self._name = _BOT if is_terminal else ""
        self._quiet = quiet
        self._lock = threading.Lock()
        self._is_open = False  # the last line has no end yet
        self._pieces = ""

    def piece(self, text: str) -> None:
        """Show a piece of the answer, after those before it; on a pipe not before :meth:`end`."""
        with self._lock:
            if self._name and not self._pieces:
                self._write(self._name)
            self._pieces += text
            if self._name:
                self._is_open = True
                self._write(text)

    def message(self, text: str) -> None:
        """Show a message of its own."""
        with self._lock:
            self._end_line()
            self._write(f"{self._name}{text}\n")

    def note(self, text: str) -> None:
        """Say something that the bot did not say."""
        with self._lock:
            self._end_line()
            self._beside.write(f"{_BESIDE if self._name else ''}{text}\n")
            self._beside.flush()

    def end(self) -> str:
        """End what came in pieces; return it."""
        with self._lock:
            self._end_line()
            if self._pieces and not self._name:
                self._write(f"{self._pieces}\n")
            shown, self._pieces = self._pieces, ""
            return shown

    def drop(self) -> None:
        """Break off what came in pieces: it is no answer."""
        with self._lock:
            self._end_line()
            self._pieces = ""

    def _end_line(self) -> None:
        if self._is_open:
            self._write("" if self._pieces.endswith("\n") else "\n")
        self._is_open = False

    def _write(self, text: str) -> None:
        if not self._quiet:
            self._out.write(text)
            self._out.flush()
