"""Where a long reply may be cut, and what a cut has to repeat.

Used by ``parts.py``. A text becomes small pieces that give it back when they are joined; each
says how good a cut before it is, and what the two parts around such a cut need: the end and the
beginning of a code block, or the head of a table. Only Markdown has those; plain text is shown as
it is.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["CLOSING_BYTES", "NO_CUT", "Border", "Cut", "Piece", "json_bytes", "pieces"]


class Border(IntEnum):
    """How good a cut is; the higher, the better."""

    WITHIN_A_LINE = 0
    LINE_OF_A_BLOCK = 1
    LINE = 2
    LIST_ITEM = 3
    PARAGRAPH = 4


@dataclass(frozen=True, slots=True)
class Cut:
    """What the part before a cut ends with, and the part after it begins with."""

    closing: str = ""
    opening: str = ""


NO_CUT = Cut()


@dataclass(frozen=True, slots=True)
class Piece:
    """A line with its end, or a stretch of a long one; ``size`` is its bytes in JSON."""

    words: str
    size: int
    border: Border
    cut: Cut = NO_CUT


_FENCE = re.compile(r"(?P<indent>[ \t]{0,12})(?P<mark>`{3,20}|~{3,20})(?P<info>[^`~\n]{0,80})\n?")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]")
_ROW = re.compile(r"[ \t]*\|")
_HEAD_END = re.compile(r"[ \t]*\|[ \t:|-]*-[ \t:|-]*\r?\n?")

# A closing line is a line end, up to 12 of indentation, a mark of 20; a tab or line end is 2 bytes.
CLOSING_BYTES = 2 + 2 * 12 + 20

_as_json = json.JSONEncoder(ensure_ascii=False).encode
_WORD_ENDS = " \t。！？；，、"
_JOINER = "\u200d"
_GLUE = frozenset(["\u200d", "\ufe0e", "\ufe0f", *map(chr, range(0x1F3FB, 0x1F400)), "\n"])
_LONGEST_GLUED = 16


def json_bytes(words: str) -> int:
    """Return how many bytes ``words`` are inside of a JSON string, sent as UTF-8."""
    return len(_as_json(words).encode("utf-8", "replace")) - 2


def pieces(text: str, *, largest: int, is_markdown: bool) -> Iterator[Piece]:
    """Take ``text`` apart; no piece is larger than ``largest`` bytes of JSON."""
    reader = _Reader(largest if is_markdown else 0)
    lines = text.split("\n")
    last = len(lines) - 1
    for number, line in enumerate(lines):
        words = line if number == last else f"{line}\n"
        border, cut = reader.read(words)
        size = json_bytes(words)
        if size <= largest:
            yield Piece(words, size, border, cut)
            continue
        for stretch in _stretches(words, largest):
            yield Piece(stretch, json_bytes(stretch), border, cut)
            border, cut = Border.WITHIN_A_LINE, reader.inside


class _Reader:
    """Goes through the lines and knows what each is part of."""

    def __init__(self, largest_opening: int) -> None:
        self._largest_opening = largest_opening  # 0 for plain text, which has no blocks
        self._fence = ""  # the mark of the code block that is open
        self._row = ""  # the line before, when it may be the head of a table
        self._after: Border | None = Border.PARAGRAPH  # what the line before makes of this border
        self.inside = NO_CUT  # of a cut between the line last read and the next one

    def read(self, line: str) -> tuple[Border, Cut]:
        """Return what a cut right before ``line`` is, and needs."""
        before = self.inside
        fence = _FENCE.fullmatch(line) if self._largest_opening else None
        if self._fence:
            return self._in_code(line, fence), before
        if fence:
            return self._start_code(line, fence), before
        if self._largest_opening and _ROW.match(line):
            return self._in_table(line), before
        was_in_table = bool(self._row) or self.inside is not NO_CUT
        self._row, self.inside = "", NO_CUT
        return self._plain(line, was_in_table), NO_CUT

    def _plain(self, line: str, was_in_table: bool) -> Border:
        after, self._after = self._after, None
        if not line.strip():
            # The blank line after a heading does not part it from its text.
            self._after = Border.LINE if after is Border.LINE else Border.PARAGRAPH
            return Border.LINE
        if _HEADING.match(line):
            self._after = Border.LINE
            return Border.PARAGRAPH
        if after is not None or was_in_table:
            return after or Border.PARAGRAPH
        return Border.LIST_ITEM if _ITEM.match(line) else Border.LINE

    def _start_code(self, line: str, fence: re.Match[str]) -> Border:
        after, self._after, self._row = self._after, None, ""
        self._fence = fence["mark"]
        bare = fence["indent"] + fence["mark"]
        opening = line.rstrip() if json_bytes(line) <= self._largest_opening else bare
        self.inside = Cut(bare, f"{opening}\n")
        return after or Border.PARAGRAPH

    def _in_code(self, line: str, fence: re.Match[str] | None) -> Border:
        if fence and fence["mark"].startswith(self._fence) and not fence["info"].strip():
            self._fence, self.inside, self._after = "", NO_CUT, Border.PARAGRAPH
            return Border.WITHIN_A_LINE  # or the next part would begin with empty code
        return Border.LINE_OF_A_BLOCK

    def _in_table(self, line: str) -> Border:
        after, self._after = self._after, None
        if self.inside is not NO_CUT:
            return Border.LINE_OF_A_BLOCK
        head, self._row = self._row, line
        if not head:
            return after or Border.PARAGRAPH
        if _HEAD_END.fullmatch(line):
            whole = head + line if line.endswith("\n") else f"{head}{line}\n"
            if json_bytes(whole) <= self._largest_opening:
                self.inside = Cut("", whole)
            return Border.WITHIN_A_LINE
        return Border.LINE_OF_A_BLOCK


def _stretches(line: str, largest: int) -> Iterator[str]:
    """Cut a long line at words, or at characters; every stretch has at least one of them."""
    start = 0
    while start < len(line):
        window = line[start : start + largest]
        end = _fitting(window, largest)
        if start + end < len(line):
            end = _word_end(window, end) or _whole_character(line, start, end)
        yield line[start : start + end]
        start += end


def _fitting(window: str, largest: int) -> int:
    """Return how many characters of ``window`` fit into ``largest`` bytes of JSON."""
    low, high = 1, len(window)
    while low < high:
        middle = (low + high + 1) // 2
        if json_bytes(window[:middle]) <= largest:
            low = middle
        else:
            high = middle - 1
    return low


def _word_end(window: str, end: int) -> int:
    """Return the end of the last word in the second half, 0 without one."""
    return max(window.rfind(mark, end // 2, end) for mark in _WORD_ENDS) + 1


def _whole_character(line: str, start: int, end: int) -> int:
    """Move ``end`` back to where no accent, skin tone or joined emoji is torn off."""
    for back in range(min(_LONGEST_GLUED, end - 1)):
        at = start + end - back
        if not _is_glued(line[at - 1], line[at]):
            return end - back
    return end


def _is_glued(before: str, after: str) -> bool:
    return before == _JOINER or after in _GLUE or unicodedata.combining(after) != 0
