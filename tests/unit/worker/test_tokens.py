"""How many tokens a text is, about."""

import pytest

from worker.agents.tokens import estimated_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("four", 1),
        ("The quick brown fox jumps over the lazy dog.", 11),
        ("敏捷的棕色狐狸跳过了懒狗。", 13),
        ("速い茶色の狐", 6),
        ("빠른 갈색 여우", 7),
        ("Быстрая лиса", 6),
        ("🎉", 2),
        ("用 Celery 的 bot", 5),
    ],
)
def test_letters_are_counted_by_their_script(text, tokens):
    assert estimated_tokens(text) == tokens
