"""In which language a message was written, as far as its letters tell: Chinese, or another.

The worker asks, for what the bot says of its own accord; and the listener, where it leaves the
words out of what it sends.
"""

import re
from collections.abc import Iterator
from typing import Literal
from unicodedata import normalize

from contract.envelope import Envelope

__all__ = ["WrittenIn", "written_in"]

WrittenIn = Literal["zh", "en"]
"""Chinese; or anything else, to whose writers English is said."""

_HAN = re.compile(r"[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

# What has letters and tells nothing of who writes: addresses, mentions, DingTalk's own names of
# emoji such as [微笑], and the ASCII name of a command at the start.
_NO_WORDS = re.compile(r"https?://[!-~]+|@\S+|\[[^\[\]\s]{1,6}\]|^\s*/[A-Za-z][!-~]*")


def written_in(envelope: Envelope) -> WrittenIn | None:
    """Return the language of a message; None when it does not show.

    The first of these that has words decides: what was written, the last of what was merged into
    it, what it quotes. Without words, Han characters in the name of a file, of the sender or of the
    group make it Chinese; other letters there say nothing, as many take a name in Latin ones.
    """
    for words in _words(envelope):
        if found := _told_by(words):
            return found
    return "zh" if any(map(_HAN.search, _names(envelope))) else None


def _words(envelope: Envelope) -> Iterator[str]:
    yield envelope.text
    yield from (each.text for each in reversed(envelope.earlier))
    if envelope.quoted is not None:
        yield envelope.quoted.text


def _names(envelope: Envelope) -> Iterator[str]:
    yield from (each.name for each in envelope.attachments)
    yield from (envelope.sender_nick, envelope.conversation_title)


def _told_by(words: str) -> WrittenIn | None:
    # Full-width letters, of a Chinese keyboard, are names of commands as well.
    left = _NO_WORDS.sub(" ", normalize("NFKC", words))
    if _HAN.search(left):
        return "zh"
    return "en" if any(map(str.isalpha, left)) else None
