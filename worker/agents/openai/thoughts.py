"""Takes a model's thoughts out of its answer, where the endpoint leaves them in.

Reasoning models write ``<think>…</think>`` first. Most endpoints tell that apart
(``reasoning_content``); vLLM without a reasoning parser, and older Ollama, do not.
"""

__all__ = ["Thoughtless"]

_OPEN, _CLOSE = "<think>", "</think>"


class Thoughtless:
    """The pieces of one answer without the thoughts at its beginning."""

    def __init__(self) -> None:
        self._held = ""  # what may be, or is, a part of the thoughts
        self._state = "before"  # then inside or after

    def piece(self, text: str) -> str:
        """Return what of a piece belongs to the answer; "" while that is not known."""
        if self._state == "after":
            return text
        self._held += text
        if self._state == "before":
            begun = self._held.lstrip()
            if not begun.startswith(_OPEN):
                return "" if _OPEN.startswith(begun) else self._release()
            self._state, self._held = "inside", begun[len(_OPEN) :]
        thoughts, end, answer = self._held.partition(_CLOSE)
        if not end:
            self._held = thoughts[-len(_CLOSE) :]
            return ""
        self._state, self._held = "before", ""  # blank lines may follow, in the next piece too
        return self.piece(answer) if answer.strip() else ""

    def rest(self) -> str:
        """Return what is left at the end; thoughts that never ended are none of the answer."""
        return "" if self._state == "inside" else self._release().rstrip()

    def _release(self) -> str:
        held, self._held, self._state = self._held, "", "after"
        return held.lstrip()
