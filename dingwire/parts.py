"""A reply too long for one message, as several that follow each other.

The worker's delivery calls it before it posts. Pure, and the same reply is always split alike, so
that a delivery that failed halfway goes on with the part that is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dingwire.borders import CLOSING_BYTES, NO_CUT, Cut, Piece, json_bytes, pieces
from dingwire.replies import MAX_BODY_BYTES, TITLE_CHARS, Markdown, Reply, Text
from dingwire.replies.fields import json_size

__all__ = ["split"]

MSG_UUID_CHARS = 64  # kept free for it; a task id has 36
LEAST_ROOM_BYTES = 400


def split(reply: Reply, *, limit_bytes: int = MAX_BODY_BYTES) -> list[Reply]:
    """Return ``reply`` as messages that fit, in the order they are to be sent.

    A reply that fits comes back alone and unchanged, and so does one that is neither text nor
    Markdown: those were refused when they were made, had they been too large. Others are cut
    between paragraphs, list items, lines, words or characters, the best there is in the second half
    of a part, and each part begins with its number, as in "(1/3)". A code block that is cut is
    closed and opened again with its language, a table gets its head again. Blank lines at a cut are
    left out. Only the first part mentions anybody.

    Args:
        reply: What to say.
        limit_bytes: The most that one post may have, JSON, mentions and a ``msgUuid`` included,
            and the most that the parameters of a proactive message may.

    Raises:
        ValueError: If ``limit_bytes`` leaves no room for words.
    """
    if not isinstance(reply, Text | Markdown):
        return [reply]
    words = _words(reply)
    room = limit_bytes - _overhead(reply)
    size = json_bytes(words)
    if size <= room:
        return [reply]
    if isinstance(reply, Markdown) and len(reply.title) > TITLE_CHARS:
        short = reply.model_copy(update={"title": reply.title[:TITLE_CHARS]})
        return split(short, limit_bytes=limit_bytes)
    # There are never more parts than bytes.
    room -= json_bytes(_number(size, size, reply))
    if room < LEAST_ROOM_BYTES:
        raise ValueError(f"limit_bytes leaves no room for words: {limit_bytes}")
    parts = list(_parts(words, room, is_markdown=isinstance(reply, Markdown)))
    # A message of blanks says nothing, and may be refused.
    parts = [part for part in parts if part.strip()] or parts[:1]
    count, rest = len(parts), reply.without_mentions()
    return [
        _like(
            reply if number == 1 else rest,
            _number(number, count, reply) + part if count > 1 else part,
        )
        for number, part in enumerate(parts, start=1)
    ]


def _words(reply: Text | Markdown) -> str:
    return reply.content if isinstance(reply, Text) else reply.text


def _like(reply: Text | Markdown, words: str) -> Text | Markdown:
    return reply.model_copy(update={"content" if isinstance(reply, Text) else "text": words})


def _overhead(reply: Text | Markdown) -> int:
    """Return the bytes of a post, or of a proactive message's parameters, without its words."""
    empty = _like(reply, "")
    posted = {**empty.for_webhook(), "msgUuid": "0" * MSG_UUID_CHARS}
    return max(json_size(posted), json_size(empty.proactively()[1]))


def _number(number: int, count: int, reply: Text | Markdown) -> str:
    # Markdown needs a blank line, or a heading, list or table after it would not be one.
    return f"({number}/{count})" + ("\n" if isinstance(reply, Text) else "\n\n")


@dataclass
class _Part:
    """The part that is being filled."""

    cut: Cut  # before it
    pieces: list[Piece]
    size: int

    def best_cut(self, following: Piece, room: int) -> int:
        """Return how many pieces the part keeps, now that ``following`` does not fit."""
        best, best_border = len(self.pieces), following.border
        size = self.size
        for number in range(len(self.pieces) - 1, 0, -1):
            size -= self.pieces[number].size
            if size < room // 2:
                break
            if self.pieces[number].border > best_border:
                best, best_border = number, self.pieces[number].border
        return best

    def shown(self, end: Cut) -> str:
        """Return its words, when ``end`` is the cut after it."""
        words = "".join(piece.words for piece in self.pieces)
        if end.closing:
            return f"{self.cut.opening}{words.removesuffix(chr(10))}\n{end.closing}"
        if not self.cut.opening:
            # Code may begin with blank lines; elsewhere they are nothing to see.
            words = words.lstrip("\n")
        return self.cut.opening + (words.rstrip("\n") or words[:1])


def _parts(words: str, room: int, *, is_markdown: bool) -> Iterator[str]:
    largest = room // 4
    if is_markdown:
        room -= CLOSING_BYTES
    part = _Part(NO_CUT, [], 0)
    for piece in pieces(words, largest=largest, is_markdown=is_markdown):
        while part.size + piece.size > room:
            keep = part.best_cut(piece, room)
            moved = part.pieces[keep:]
            end = moved[0].cut if moved else piece.cut
            part.pieces = part.pieces[:keep]
            yield part.shown(end)
            opening = json_bytes(end.opening)
            part = _Part(end, moved, opening + sum(p.size for p in moved))
        part.pieces.append(piece)
        part.size += piece.size
    yield part.shown(NO_CUT)
