"""The waits between attempts: they grow, have a cap, and differ from each other."""

from worker.sending.backoff import delay_s


def test_waits_double_up_to_a_minute():
    waits = [delay_s(attempts, spread=0) for attempts in (0, 1, 2, 3, 4, 5, 6, 7, 10_000)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_up_to_half_is_added():
    assert delay_s(3, spread=1) == 12
    assert delay_s(20, spread=1) == 90


def test_replies_that_failed_together_come_back_apart():
    assert len({delay_s(2) for _ in range(50)}) > 40
