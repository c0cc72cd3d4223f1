"""With ENVELOPE_KEY what was written, the webhook and the answer are in the store sealed only."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from contract.routing import task_id
from contract.sealing import IN_CLEAR, Sealer
from dingwire.errors import WebhookExpiredError, WebhookUnreachableError
from tests.unit.worker.answering_parts import SECRET_WORDS, SESSION, Desk, envelope
from worker.outcome import FinalState
from worker.store import Reason
from worker.turns import Burst, Turns

ONE = task_id("robot1", "msg1")
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SEALER = Sealer.from_setting(OLD)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def work(desk: Desk, worker, message=None, *, sealer: Sealer = SEALER):
    message = message or envelope()
    wire = sealer.seal(message.to_wire())
    return worker.work(task_id(message.bot, message.message_id), wire)


def in_the_store(desk: Desk) -> str:
    desk.store.close()  # so that all of it is in the one file
    return desk.file.read_bytes().decode("latin-1")


def test_a_sealed_message_is_answered(desk):
    heard: list[str] = []

    def agent(message):
        heard.append(message.text)
        return "hi"

    outcome = work(desk, desk.worker(agent, sealer=SEALER))

    assert outcome.state is FinalState.SUCCESS
    assert (heard, desk.webhook.posted) == ([SECRET_WORDS], ["hi"])


def test_nothing_private_is_in_the_store_in_clear(desk):
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=False)]
    worker = desk.worker(desk.agent("the private answer"), sealer=SEALER)

    outcome = work(desk, worker)

    assert outcome.retry_in_s is not None
    stored = in_the_store(desk)
    assert "msg1" in stored
    for private in (SECRET_WORDS, SESSION, "the private answer", "Alice in secret"):
        assert private not in stored


def test_without_a_key_all_of_that_is_there(desk):
    """Else the test above could not fail."""
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=False)]

    work(desk, desk.worker(desk.agent("the private answer")), sealer=IN_CLEAR)

    stored = in_the_store(desk)
    for private in (SECRET_WORDS, SESSION, "the private answer", "Alice in secret"):
        assert private in stored


def test_a_kept_answer_is_opened_for_its_next_attempt_by_another_worker(desk):
    desk.webhook.answers = [WebhookUnreachableError("no answer", ambiguous=False)]
    work(desk, desk.worker(desk.agent("the answer"), sealer=SEALER))
    desk.clock.advance(60)
    rotated = Sealer.from_setting(f"{NEW},{OLD}")

    desk.worker(owner="worker2", sealer=rotated).work(ONE, None)

    assert desk.webhook.posted == ["the answer"]


def test_a_kept_answer_is_handed_over_with_its_question(desk):
    desk.webhook.answers = [WebhookExpiredError(300001)]
    work(desk, desk.worker(desk.agent("the answer"), sealer=SEALER))
    fresh = envelope(message_id="fresh", deadline=desk.clock.now + timedelta(hours=1))

    work(desk, desk.worker(desk.agent("new"), hands_over=True, sealer=SEALER), fresh)

    assert desk.webhook.posted == [f"补发 · Late answer to: 「{SECRET_WORDS}」\nthe answer", "new"]


def test_an_answer_that_cannot_be_opened_holds_up_no_other(desk):
    desk.webhook.answers = [WebhookExpiredError(300001), WebhookExpiredError(300001)]
    work(desk, desk.worker(desk.agent("lost"), sealer=SEALER))
    desk.clock.advance(60)
    work(desk, desk.worker(desk.agent("kept")), envelope(message_id="kept"), sealer=IN_CLEAR)
    deadline = desk.clock.now + timedelta(hours=1)
    without_key = desk.worker(desk.agent("new"), hands_over=True)

    for number in (1, 2):
        fresh = envelope(message_id=f"fresh{number}", deadline=deadline)
        work(desk, without_key, fresh, sealer=IN_CLEAR)

    assert desk.webhook.posted == [
        f"补发 · Late answer to: 「{SECRET_WORDS}」\nkept",
        "new",
        "new",
    ]
    assert [missed.task_id for missed in desk.store.missed()] == [ONE]


def test_merged_messages_are_opened_all(desk):
    heard: list[str] = []
    merge = Turns(burst=Burst.MERGE)
    first = desk.worker(lambda _: "first", turns=merge, sealer=SEALER)
    later = [
        envelope(message_id=f"later{n}", text=f"text {n}", received_at=desk.clock.now)
        for n in (1, 2)
    ]

    def busy(_):
        for message in later:
            work(desk, first, message)
        return "first"

    work(desk, desk.worker(busy, turns=merge, sealer=SEALER))
    listening = desk.worker(lambda m: heard.append(m.text), turns=merge, sealer=SEALER)
    for due in [*desk.published]:
        listening.work(due.task_id, due.envelope)
    for due in desk.published[1:]:
        listening.work(due.task_id, due.envelope)

    assert heard == ["text 1\ntext 2"]


@pytest.mark.parametrize("mine", [IN_CLEAR, Sealer.from_setting(NEW)])
def test_what_this_worker_cannot_open_is_left_to_others_until_its_deadline(desk, mine):
    outcome = work(desk, desk.worker(sealer=mine))

    assert outcome.state is None
    assert outcome.retry_in_s == 5
    assert "ENVELOPE_KEY" in outcome.detail
    desk.clock.advance(6)
    desk.worker(desk.agent("by the other"), owner="other", sealer=SEALER).work(ONE, None)
    assert desk.webhook.posted == ["by the other"]


def test_what_nobody_could_open_in_time_is_kept_and_says_why(desk):
    desk.clock.advance(3600)

    outcome = work(desk, desk.worker(sealer=IN_CLEAR))

    assert (outcome.state, outcome.reason) == (FinalState.FAILURE, Reason.UNSUPPORTED_VERSION)
    assert "ENVELOPE_KEY is not set here" in outcome.detail
    assert desk.agent_calls == []
    assert [missed.task_id for missed in desk.store.missed()] == [ONE]
