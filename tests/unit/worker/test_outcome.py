"""What a task reports: the same facts for Flower and for the log, and nothing anybody wrote."""

import json

import pytest

from worker.outcome import FinalState, Outcome
from worker.store import Reason


def test_flower_sees_words_and_numbers():
    outcome = Outcome(
        FinalState.FLAGGED, Reason.THROTTLED, 130101, "wait", facts={"attempts": 0, "age_s": 0.0}
    )

    assert repr(outcome.summary()) == (
        "{'state': 'FLAGGED', 'reason': 'throttled', 'errcode': 130101, 'detail': 'wait', "
        "'attempts': 0, 'age_s': 0.0}"
    )
    assert json.loads(json.dumps(outcome.summary())) == outcome.summary()


def test_what_is_not_known_is_left_out():
    assert Outcome(None, retry_in_s=1.5).summary() == {"retry_in_s": 1.5}


@pytest.mark.parametrize(
    ("outcome", "action"),
    [
        (Outcome(FinalState.SUCCESS), "reply_posted"),
        (Outcome(FinalState.FLAGGED), "reply_flagged"),
        (Outcome(FinalState.DROPPED), "reply_dropped"),
        (Outcome(FinalState.RESCUED), "reply_rescued"),
        (Outcome(FinalState.CANCELLED), "reply_cancelled"),
        (Outcome(FinalState.FAILURE), "reply_failed"),
        (Outcome(None, retry_in_s=1), "reply_retried"),
        (Outcome(None, duplicate=True), "duplicate_dropped"),
        (Outcome(FinalState.SUCCESS, duplicate=True), "duplicate_dropped"),
    ],
)
def test_each_end_has_its_word_in_the_log(outcome, action):
    assert outcome.action == action
