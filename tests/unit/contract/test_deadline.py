from datetime import UTC, datetime, timedelta

import pytest

from contract.deadline import POST_MARGIN, Timeliness, judge, promise, reply_deadline

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("deadline", "promise_at", "verdict"),
    [
        (NOW + SECOND, None, Timeliness.ON_TIME),
        (NOW + SECOND, NOW + SECOND, Timeliness.ON_TIME),
        (NOW + SECOND, NOW, Timeliness.ON_TIME),
        (NOW + SECOND, NOW - SECOND, Timeliness.LATE),
        (NOW, None, Timeliness.EXPIRED),
        (NOW - SECOND, NOW + SECOND, Timeliness.EXPIRED),
        (NOW - SECOND, NOW - SECOND, Timeliness.EXPIRED),
        (None, None, Timeliness.ON_TIME),
        (None, NOW - SECOND, Timeliness.LATE),
    ],
)
def test_a_reply_is_judged_by_its_deadline_first_and_its_promise_second(
    deadline, promise_at, verdict
):
    assert judge(NOW, deadline=deadline, promise_at=promise_at) is verdict


@pytest.mark.parametrize(
    ("offset_s", "verdict"), [(9, Timeliness.ON_TIME), (10, Timeliness.EXPIRED)]
)
def test_the_deadline_is_on_dingtalks_clock(offset_s, verdict):
    """DingTalk's clock is ahead of ours, so the webhook dies sooner than ours would say."""
    offset = timedelta(seconds=offset_s)
    assert judge(NOW, deadline=NOW + 10 * SECOND, clock_offset=offset) is verdict


def test_a_clock_of_ours_that_is_ahead_costs_no_time():
    late_here = judge(NOW, deadline=NOW - 5 * SECOND, clock_offset=-6 * SECOND)
    assert late_here is Timeliness.ON_TIME


def test_the_promise_is_on_our_clock():
    verdict = judge(
        NOW, deadline=NOW + 99 * SECOND, promise_at=NOW + SECOND, clock_offset=5 * SECOND
    )
    assert verdict is Timeliness.ON_TIME


def test_a_margin_is_kept_back_for_the_post():
    assert reply_deadline(NOW) == NOW - POST_MARGIN
    assert reply_deadline(NOW, margin=timedelta(0)) == NOW


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match=r"not -1\.0 s"):
        reply_deadline(NOW, margin=-SECOND)


def test_a_promise_counts_from_when_the_message_was_received():
    assert promise(NOW, 30) == NOW + timedelta(seconds=30)
    assert promise(NOW, None) is None
