"""What docs/scaling.md is reckoned from: costs of one message, and a rush met by the estimate."""

import pytest

from bench.rush import Rush, play
from bench.scaling import reckon


def _row(what: str, ours: float, broker: str = "redis") -> dict[str, object]:
    return {"what": what, "broker": broker, "ours": ours}


ROWS = [
    _row("processor time of a message: listener", 0.5),
    _row("processor time of a message: workers", 3.0),
    _row("processor time of a message: redis", 0.7),
    _row("processor time of a message: workers", 99.0, "rabbitmq"),
    _row("bytes of a message that waits on the broker", 2147.483648),
    _row("store: kept of a finished message, for a day", 1073.741824, "sqlite"),
]


def test_costs_become_what_one_carries_and_what_a_million_takes():
    told = reckon(ROWS)

    assert "| listener | 0.50 | 1,400 |" in told
    assert "| Redis, as broker and store | 0.70 | 1,000 |" in told
    # 100/s: a tenth of a core for Redis, 0.3 of one for workers; 10 s with 500 slots.
    assert "| 100 | 1 | 1 | 2 | 0.07 |" in told
    assert "| 1,000 | 1 | 5 | 20 | 0.7 |" in told
    assert "| processor time: worker process | 0.83 h |" in told
    assert "| memory of Redis while they wait | 2.0 GiB |" in told
    assert "| sqlite as the store, for the day it knows them | 1.0 GiB |" in told


def test_nothing_waits_where_there_are_slots_enough():
    story = play(Rush(quiet_per_s=1, busy_per_s=5, busy_s=60, agent_s=10, slots=50))

    assert (story.workers_before, story.most_workers) == (1, 1)
    assert (story.longest_wait_s, story.caught_up_after_s) == (0, 0)


@pytest.mark.parametrize("starts_in_s", [30, 60])
def test_a_rush_is_met_by_more_workers_and_waits_until_they_are_up(starts_in_s):
    rush = Rush(1, 20, busy_s=600, agent_s=10, slots=20, starts_in_s=starts_in_s)

    story = play(rush)

    # 20 messages/s of 10 s each fill ten workers of 20 slots.
    assert story.most_workers >= 10
    assert starts_in_s <= story.longest_wait_s < rush.busy_s
    assert 0 < story.caught_up_after_s < 2 * rush.busy_s
