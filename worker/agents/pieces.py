"""The pieces of a reply that an agent yields, and the reply they are together.

Used by ``worker/agents/runner.py``, which decides how long it may take.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

__all__ = ["OnPiece", "Pieces"]

OnPiece = Callable[[Any], object]
"""Told of a piece: text, or a reply of its own."""


class Pieces:
    """Collects what one agent yields; the ``with`` block is the time in which it is wanted.

    After it, what an agent still yields is not told to anybody, and closes it.
    """

    def __init__(self, on_piece: OnPiece) -> None:
        self._on_piece = on_piece
        self._texts: list[str] = []
        self._replies: list[Any] = []
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True

    def of(self, result: Any) -> Any:
        """Return ``result``, or all that it yields when it is an iterator."""
        if not isinstance(result, Iterator):
            return result
        try:
            for piece in result:
                if self._is_over:
                    break
                self._take(piece)
        finally:
            if (close := getattr(result, "close", None)) is not None:
                close()
        return self._whole

    async def awaited(self, result: AsyncIterator[Any]) -> Any:
        """Return all that an async iterator yields."""
        try:
            async for piece in result:
                if self._is_over:
                    break
                self._take(piece)
        finally:
            if (close := getattr(result, "aclose", None)) is not None:
                await close()
        return self._whole

    def _take(self, piece: Any) -> None:
        if piece is None or (isinstance(piece, str) and not piece):
            return
        if isinstance(piece, str):
            self._texts.append(piece)
        else:
            self._replies.append(piece)
        self._on_piece(piece)

    @property
    def _whole(self) -> Any:
        """The joined texts; what else was yielded follows them, in order."""
        text = "".join(self._texts)
        if not self._replies:
            return text
        return [text, *self._replies] if text else self._replies
