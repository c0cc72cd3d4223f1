"""A message that was pushed before is known, in both of its phases."""

import pytest

from listener.duplicates import Duplicates

KEY = ("ding1", "msg1")


class _Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> _Time:
    return _Time()


async def test_a_message_is_in_hand_and_then_done(time):
    duplicates = Duplicates(time)
    assert duplicates.in_hand(KEY) is None
    duplicates.begin(KEY)
    in_hand = duplicates.in_hand(KEY)
    assert in_hand is not None
    assert not duplicates.is_done(KEY)

    duplicates.finish(KEY, confirmed=True)

    assert await in_hand is True
    assert duplicates.in_hand(KEY) is None
    assert duplicates.is_done(KEY)


async def test_a_message_that_was_not_enqueued_is_new_again(time):
    duplicates = Duplicates(time)
    duplicates.begin(KEY)
    in_hand = duplicates.in_hand(KEY)
    assert in_hand is not None

    duplicates.finish(KEY, confirmed=False)

    assert await in_hand is False
    assert not duplicates.is_done(KEY)
    assert len(duplicates) == 0


async def test_another_bot_has_messages_of_its_own(time):
    duplicates = Duplicates(time)
    duplicates.begin(KEY)
    duplicates.finish(KEY, confirmed=True)

    assert not duplicates.is_done(("ding2", "msg1"))


async def test_after_half_an_hour_it_is_forgotten(time):
    duplicates = Duplicates(time)
    duplicates.begin(KEY)
    duplicates.finish(KEY, confirmed=True)

    time.now = 30 * 60 - 1
    assert duplicates.is_done(KEY)
    time.now = 30 * 60
    assert not duplicates.is_done(KEY)
    assert len(duplicates) == 0


async def test_memory_is_bounded_and_the_oldest_go_first(time):
    duplicates = Duplicates(time, limit=3)
    for number in range(10):
        duplicates.begin(("ding1", f"msg{number}"))
        duplicates.finish(("ding1", f"msg{number}"), confirmed=True)

    known = [n for n in range(10) if duplicates.is_done(("ding1", f"msg{n}"))]

    assert known == [7, 8, 9]
