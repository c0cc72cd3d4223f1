"""People who are denied are told once an hour whom to name, by their own webhook alone."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from contract.envelope import Conversation, Envelope
from contract.report import Denied, read_report
from contract.sealing import IN_CLEAR, Sealer
from dingwire.errors import WebhookNotAllowedError
from tests.unit.worker.answering_parts import START, WEBHOOK, Clock, envelope
from worker.denials import Denials
from worker.store.sql import SqlStore

KEY = "T3BlbiBzZXNhbWUsIG9wZW4gc2VzYW1lLCBvcGVuISE="


class Notifier:
    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.error: Exception | None = None

    def notify(self, envelope, words):
        if self.error:
            raise self.error
        self.posted.append((envelope.session_webhook, words.for_webhook()))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notifier():
    return Notifier()


@pytest.fixture
def denials(tmp_path, clock, notifier):
    store = SqlStore(f"sqlite:///{tmp_path}/store.db", clock_ms=clock.ms)
    store.prepare()
    yield Denials(
        store,
        notifier,
        clock=clock,
        sealer=Sealer.from_setting(KEY),
        language_of=lambda _, told: "zh" if told == "zh" else "en",
    )
    store.close()


def denied(message: Envelope, *, reason="sender", sealer: Sealer = IN_CLEAR, **more) -> Denied:
    report = Denied(reason=reason, envelope=sealer.seal(message.to_wire()), **more)
    found = read_report(report.to_wire())
    assert isinstance(found, Denied)
    return found


def test_a_person_learns_the_staff_id(denials, notifier):
    assert denials.tell(denied(envelope()))

    ((url, body),) = notifier.posted
    assert url == WEBHOOK
    assert "Your staff id is staff1" in body["text"]["content"]
    assert "at" not in body


def test_it_is_said_in_the_language_that_the_listener_saw(denials, notifier):
    denials.tell(denied(envelope(), written_in="zh"))

    ((_, body),) = notifier.posted
    assert "您的员工 id 是 staff1" in body["text"]["content"]


def test_in_a_group_the_person_is_mentioned_and_learns_the_groups_id(denials, notifier):
    message = envelope(conversation=Conversation.GROUP, conversation_id="cidGroup")
    denials.tell(denied(message, reason="group"))

    ((_, body),) = notifier.posted
    assert "cidGroup" in body["text"]["content"]
    assert body["at"]["atUserIds"] == ["staff1"]


def test_each_person_is_told_once_an_hour(denials, notifier, clock):
    assert denials.tell(denied(envelope()))
    assert not denials.tell(denied(envelope(message_id="msg2")))
    assert denials.tell(denied(envelope(sender_staff_id="staff2")))
    clock.advance(3601)
    later = envelope(message_id="msg3", deadline=clock.now + timedelta(minutes=20))
    assert denials.tell(denied(later))
    assert len(notifier.posted) == 3


@pytest.mark.parametrize(
    "more",
    [
        {"sender_staff_id": None},
        {"session_webhook": None},
        {"deadline": START - timedelta(seconds=1)},
    ],
)
def test_who_cannot_be_told_is_not(denials, notifier, more):
    assert not denials.tell(denied(envelope(**more)))
    assert notifier.posted == []


def test_a_sealed_webhook_is_opened(denials, notifier):
    assert denials.tell(denied(envelope(), sealer=Sealer.from_setting(KEY)))
    assert notifier.posted[0][0] == WEBHOOK


def test_a_webhook_that_is_not_allowed_is_logged_and_forgotten(denials, notifier, caplog):
    caplog.set_level(logging.INFO)
    notifier.error = WebhookNotAllowedError("elsewhere.example")
    assert not denials.tell(denied(envelope()))
    assert [vars(r)["action"] for r in caplog.records] == ["notice_failed"]
