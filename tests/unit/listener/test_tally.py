"""Numbers that add up."""

from listener.tally import MESSAGE_ACTIONS, MOST_DENIED_SENDERS, Histogram, Tally


def test_a_value_is_counted_under_the_first_bound_that_is_not_below_it():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.add(value)

    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 104.0


def test_every_kind_is_there_before_the_first_of_it():
    """So that a rate sees the first, and another thread never meets a dict that grows."""
    tally = Tally()
    for counts in (tally.frames, tally.messages, tally.reconnects):
        assert set(counts.values()) == {0}
    assert MESSAGE_ACTIONS.keys() <= tally.messages.keys()


def test_people_who_are_denied_are_counted_once_each_and_not_without_end():
    tally = Tally()
    for number in range(MOST_DENIED_SENDERS + 10):
        tally.denied(f"u{number}", at=1.0)
        tally.denied(f"u{number}", at=2.0)

    assert tally.denied_senders == MOST_DENIED_SENDERS
    assert tally.messages["message_denied"] == 2 * (MOST_DENIED_SENDERS + 10)
    assert tally.last_denied_at == 2.0
