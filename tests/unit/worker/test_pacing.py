"""Posts to a conversation wait for their time; who waits and for how long, all workers agree."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from contract.envelope import Envelope
from dingwire.errors import WebhookBusyError, WebhookThrottledError
from tests.unit.worker.answering_parts import envelope
from tests.unit.worker.shared_parts import AwayStore, Shared, opened
from worker.sending.pacing import PacedError, Pacing

TOO_FAST = WebhookThrottledError(130101, 60)
HERE, THERE = envelope(conversation_id="cid1"), envelope(conversation_id="cid2")


@pytest.fixture
def shared(tmp_path) -> Iterator[Shared]:
    with opened(tmp_path) as shared:
        yield shared


def worker(shared: Shared, **more: Any) -> Pacing:
    return Pacing(shared.store, sleep=shared.sleep, **more)


def post(pacing: Pacing, shared: Shared, to=HERE) -> None:
    pacing.wait(to, shared.store.admit)


def throttle(pacing: Pacing, to: Envelope) -> None:
    with pytest.raises(WebhookThrottledError), pacing.heeding(to):
        raise TOO_FAST


def test_nothing_is_paced_until_dingtalk_says_so(shared):
    pacing = worker(shared)

    for _ in range(50):
        post(pacing, shared)

    assert shared.slept == []


def test_once_it_does_no_worker_posts_to_that_conversation(shared):
    one, other = worker(shared), worker(shared)
    throttle(one, HERE)

    for pacing in (one, other):
        with pytest.raises(PacedError) as caught:
            post(pacing, shared)
        assert caught.value.retry_after_s == 60

    post(other, shared, THERE)
    shared.clock.advance(60)
    post(other, shared)


def test_after_that_there_are_20_a_minute_for_half_an_hour(shared):
    pacing = worker(shared)
    throttle(pacing, HERE)
    shared.clock.advance(60)
    for _ in range(20):
        post(pacing, shared)

    with pytest.raises(PacedError):
        post(pacing, shared)

    shared.clock.advance(1800)
    for _ in range(50):
        post(pacing, shared)


def test_a_short_wait_is_slept_through(shared):
    pacing = worker(shared)
    throttle(pacing, HERE)
    shared.clock.advance(58.5)

    post(pacing, shared)

    assert shared.slept == [1.5]


def test_a_number_paces_always(shared):
    pacing = worker(shared, replies_per_minute=3)
    for _ in range(3):
        post(pacing, shared)

    with pytest.raises(PacedError, match="60 s"):
        post(pacing, shared)
    post(pacing, shared, THERE)


def test_many_short_waits_are_not_slept_for_ever(shared):
    pacing = worker(shared)

    with pytest.raises(PacedError):
        pacing.wait(HERE, lambda _: 0.5)

    assert sum(shared.slept) == 2


def test_what_is_no_part_of_an_answer_waits_as_well(shared):
    pacing = worker(shared)
    throttle(pacing, HERE)

    with pytest.raises(PacedError):
        pacing.wait_unnoted(HERE)
    pacing.wait_unnoted(THERE)


def test_only_haste_holds_a_conversation_back(shared):
    pacing = worker(shared)
    with pytest.raises(WebhookBusyError), pacing.heeding(HERE):
        raise WebhookBusyError(-1)

    post(pacing, shared)


def test_a_conversation_without_an_id_is_not_paced(shared):
    """All of them would be one."""
    pacing, nowhere = worker(shared), envelope(conversation_id="")
    throttle(pacing, nowhere)

    post(pacing, shared, nowhere)


def test_another_bots_conversation_of_the_same_id_is_another_one(shared):
    pacing = worker(shared)
    throttle(pacing, HERE)

    post(pacing, shared, envelope(bot="another", conversation_id="cid1"))


def test_a_hold_is_logged_without_its_webhook(shared, caplog):
    caplog.set_level(logging.WARNING)

    throttle(worker(shared), HERE)

    (record,) = caplog.records
    assert vars(record)["action"] == "conversation_held_back"
    assert (vars(record)["errcode"], vars(record)["retry_in_s"]) == (130101, 60)
    assert str(HERE.session_webhook) not in str(vars(record))


def test_a_store_that_is_away_hurts_nobody_who_was_told_to_wait():
    pacing = Pacing(AwayStore())
    throttle(pacing, HERE)

    pacing.wait_unnoted(HERE)
