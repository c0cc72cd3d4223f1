"""What the bot says, in either language or both."""

import pytest

from worker.words import Phrase

PHRASE = Phrase("还要{n}秒", "{n} s more")


@pytest.mark.parametrize(
    ("language", "said"),
    [("zh", "还要5秒"), ("en", "5 s more"), ("both", "还要5秒 · 5 s more")],
)
def test_a_phrase_is_said_in_the_language_of_the_bot(language, said):
    assert PHRASE.in_(language, n=5) == said
