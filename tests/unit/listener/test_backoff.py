"""Delays double, stay under their cap, and never end."""

from hypothesis import given
from hypothesis import strategies as st

from listener.backoff import Backoff


def _backoff(jitter: float = 1.0, **options) -> Backoff:
    return Backoff(first_s=1, cap_s=60, jitter=lambda: jitter, **options)


def test_delays_double_up_to_the_cap():
    backoff = _backoff()

    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_takes_off_up_to_half():
    assert _backoff(jitter=0).next_s() == 0.5


def test_a_healthy_moment_starts_over():
    backoff = _backoff()
    for _ in range(5):
        backoff.next_s()

    backoff.reset()

    assert backoff.next_s() == 1


def test_given_delays_are_used_as_they_are_the_last_for_ever():
    backoff = _backoff(jitter=0, delays=[0, 3])

    assert [backoff.next_s() for _ in range(4)] == [0, 3, 3, 3]


@given(st.integers(0, 100_000), st.floats(0, 1))
def test_it_never_gives_up_and_never_waits_longer_than_the_cap(attempts, jitter):
    backoff = _backoff(jitter=jitter)
    backoff.attempts = attempts

    assert 0.5 <= backoff.next_s() <= 60
