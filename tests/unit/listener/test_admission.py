"""Who may write to the bot."""

import pytest

from listener.admission import is_allowed


@pytest.mark.parametrize(
    ("staff_id", "allowed_users", "expected"),
    [
        ("alice", (), False),
        ("alice", ("bob",), False),
        ("alice", ("bob", "alice"), True),
        ("alice", ("*",), True),
        ("alice", ("bob", "*"), True),
        ("Alice", ("alice",), False),
        (None, ("alice",), False),
        (None, ("*",), True),
        ("", ("",), False),
        ("", ("*",), True),
        ("*", ("alice",), False),
    ],
)
def test_only_the_listed_are_let_in(staff_id, allowed_users, expected):
    assert is_allowed(staff_id, allowed_users) is expected
