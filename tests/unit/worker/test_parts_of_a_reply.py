"""A reply in parts: each arrives once, in order, whatever stops the delivery in between."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.routing import task_id
from dingwire.errors import WebhookExpiredError, WebhookThrottledError, WebhookUnreachableError
from tests.servers import wait_for
from tests.unit.worker.answering_parts import LEASE_S, Desk, envelope
from worker.outcome import FinalState

LONG = "\n\n".join(f"paragraph {number}: " + "字" * 900 for number in range(12))
ID = task_id("robot1", "msg1")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def numbers(desk: Desk) -> list[str]:
    return [text.split(")")[0] + ")" for text in desk.webhook.posted]


def test_all_parts_are_posted_in_order_each_with_a_uuid_of_its_own(desk):
    outcome = desk.answer(desk.worker(desk.agent(LONG)))

    assert outcome.state is FinalState.SUCCESS
    assert numbers(desk) == ["(1/3)", "(2/3)", "(3/3)"]
    assert desk.webhook.uuids == [f"{ID}-1", f"{ID}-2", f"{ID}-3"]


def test_a_failure_in_the_middle_goes_on_with_the_part_that_is_missing(desk):
    worker = desk.worker(desk.agent(LONG))
    desk.webhook.at_post = lambda: desk.webhook.answers.extend(
        [WebhookUnreachableError("refused", False)] if desk.webhook.attempts == 2 else []
    )

    outcome = desk.answer(worker)
    outcome = desk.deliver_when_due(worker, outcome)

    assert outcome.state is FinalState.SUCCESS
    assert numbers(desk) == ["(1/3)", "(2/3)", "(3/3)"]
    assert len(desk.agent_calls) == 1


def test_a_worker_that_dies_after_the_first_part_leaves_the_rest_to_another(desk):
    def die() -> None:
        if desk.webhook.attempts == 2:
            raise KeyboardInterrupt  # as good as any way not to come back

    desk.webhook.at_post = die
    with pytest.raises(KeyboardInterrupt):
        desk.answer(desk.worker(desk.agent(LONG)))
    desk.webhook.at_post = lambda: None
    desk.clock.advance(LEASE_S)

    outcome = desk.answer(desk.worker(desk.agent(LONG), owner="another"))

    assert outcome.state is FinalState.SUCCESS
    assert numbers(desk) == ["(1/3)", "(2/3)", "(3/3)"]


def test_a_post_in_doubt_is_counted(desk, caplog):
    worker = desk.worker()
    desk.webhook.answers = [WebhookUnreachableError("cut off", True)]

    outcome = desk.answer(worker)

    doubts = [r for r in caplog.records if getattr(r, "action", "") == "reply_in_doubt"]
    assert [r.message_id for r in doubts] == ["msg1"]
    assert desk.deliver_when_due(worker, outcome).state is FinalState.SUCCESS


def test_a_takeover_from_a_worker_that_was_posting_is_counted(desk, caplog):
    def die() -> None:
        raise KeyboardInterrupt

    desk.webhook.at_post = die
    with pytest.raises(KeyboardInterrupt):
        desk.answer(desk.worker())
    desk.webhook.at_post = lambda: None
    desk.clock.advance(LEASE_S)

    desk.answer(desk.worker(owner="another"))

    doubts = [r for r in caplog.records if getattr(r, "action", "") == "reply_in_doubt"]
    assert len(doubts) == 1


def test_the_deadline_is_judged_before_every_part(desk):
    desk.webhook.at_post = lambda: desk.clock.advance(11 * 60)

    outcome = desk.answer(desk.worker(desk.agent(LONG)))

    assert (outcome.state, outcome.reason) == (FinalState.FLAGGED, "expired_at_send")
    assert numbers(desk) == ["(1/3)", "(2/3)"]
    missed = desk.missed()
    assert missed is not None
    assert missed.sent == 2


def test_a_handover_goes_on_with_the_parts_that_are_missing(desk):
    desk.webhook.at_post = lambda: desk.webhook.answers.extend(
        [WebhookExpiredError(300001)] if desk.webhook.attempts == 2 else []
    )
    desk.answer(desk.worker(desk.agent(LONG)))
    desk.webhook.at_post = lambda: None

    desk.answer(desk.worker(desk.agent("new"), hands_over=True), envelope(message_id="fresh"))

    first, second, third, new = desk.webhook.posted
    assert first.startswith("(1/3)")
    assert second.startswith("补发 · Late answer to:")
    assert "(2/3)" in second
    assert third.startswith("(3/3)")
    assert new == "new"


def test_a_rescue_goes_on_with_the_parts_that_are_missing(desk):
    desk.webhook.at_post = lambda: desk.webhook.answers.extend(
        [WebhookThrottledError(130101, 10_000)] if desk.webhook.attempts == 2 else []
    )

    outcome = desk.answer(desk.worker(desk.agent(LONG), policy="rescue"))

    assert outcome.state is FinalState.RESCUED
    assert numbers(desk) == ["(1/3)"]
    assert [text.split(")")[0] for *_, text in desk.proactive.sent] == ["(2/3", "(3/3"]


def test_a_process_that_ends_leaves_the_other_parts_to_another(desk):
    first = desk.worker(desk.agent(LONG))
    ending = threading.Thread(target=first._heartbeat.release_all)

    def end() -> None:
        ending.start()
        wait_for(lambda: first._heartbeat.is_ending, what="the end to begin")
        desk.webhook.at_post = lambda: None

    desk.webhook.at_post = end
    assert desk.answer(first).state is None
    ending.join(60)
    assert numbers(desk) == ["(1/3)"]

    outcome = desk.answer(desk.worker(desk.agent(LONG), owner="another"))

    assert outcome.state is FinalState.SUCCESS
    assert numbers(desk) == ["(1/3)", "(2/3)", "(3/3)"]
    assert len(desk.agent_calls) == 1
