"""Who may write to the bot, and where."""

import pytest

from listener.admission import Admission, Denial, is_allowed


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


ALICE = Admission(("alice",), ("cid1",), {"cid2": ("bob",), "cid3": ("*",), "cid4": ()})


@pytest.mark.parametrize(
    ("staff_id", "conversation_id", "expected"),
    [
        ("alice", "cid1", None),
        ("bob", "cid1", Denial.SENDER),
        ("alice", "cid9", Denial.GROUP),
        ("bob", "cid9", Denial.GROUP),
        ("alice", "", Denial.GROUP),
        # A group with a list of its own is allowed, and its list is the one that counts.
        ("bob", "cid2", None),
        ("alice", "cid2", Denial.SENDER),
        (None, "cid3", None),
        ("alice", "cid4", Denial.SENDER),
    ],
)
def test_a_group_and_who_writes_in_it_must_both_be_allowed(staff_id, conversation_id, expected):
    assert ALICE.denial(staff_id, conversation_id, is_group=True) is expected


@pytest.mark.parametrize("groups", [(), ("*",), ("cid8", "*")])
def test_without_a_list_of_groups_the_allowed_may_write_in_all(groups):
    admission = Admission(("alice",), groups)
    assert admission.denial("alice", "cid9", is_group=True) is None
    assert admission.denial("bob", "cid9", is_group=True) is Denial.SENDER


def test_a_list_of_groups_says_nothing_of_private_chats():
    assert ALICE.denial("alice", "cid9", is_group=False) is None
    assert ALICE.denial("bob", "cid9", is_group=False) is Denial.SENDER
