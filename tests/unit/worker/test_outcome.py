"""What a task reports: the same facts for Flower and for the log, and nothing anybody wrote."""

import json

import pytest
from celery.utils.saferepr import saferepr
from kombu.utils.json import dumps, loads

from worker.outcome import FinalState, Outcome, Told
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


def test_celery_shows_what_a_task_returns_as_it_is_and_a_backend_keeps_it_as_json():
    summary = {"state": "SUCCESS", "outcome": "posted", "agent_s": 0.25, "usage": [{"calls": 1}]}

    assert saferepr(Told(summary), 1024) == repr(summary)
    assert loads(dumps(Told(summary))) == summary
