"""Tasks are Celery's own message format, apart from celery."""

import json
from datetime import UTC, datetime

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from contract.content import Attachment, Quoted
from contract.envelope import Envelope
from contract.routing import safe_kwargsrepr, task_id
from contract.sealing import IN_CLEAR, Sealer
from listener.spool_file import SpoolFile
from listener.task_message import TaskMessage, answer_task

ENVELOPE = Envelope(
    bot="ding1",
    message_id="msg1",
    text="what was written",
    session_webhook="https://oapi.dingtalk.com/robot/sendBySession?session=abc",
    received_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_it_is_what_celery_would_have_written():
    """Compared header by header, so that a new one in a later Celery shows here."""
    ours = answer_task(ENVELOPE)
    celerys = Celery().amqp.as_task_v2(
        ours.task_id,
        "answer",
        (),
        {"envelope": ENVELOPE.to_wire()},
        argsrepr="()",
        kwargsrepr=safe_kwargsrepr("msg1"),
        origin=ours.headers["origin"],
    )

    assert ours.headers == celerys.headers
    assert ours.body == [list(celerys.body[0]), *celerys.body[1:]]


def test_its_id_is_the_messages_whoever_enqueues_it():
    assert answer_task(ENVELOPE).task_id == task_id("ding1", "msg1")


def test_neither_headers_nor_repr_show_what_was_written_or_the_webhook():
    task = answer_task(ENVELOPE)

    for shown in (str(task.headers), repr(task)):
        assert "written" not in shown
        assert "session" not in shown
        assert "msg1" in shown


@pytest.fixture
def sealed() -> TaskMessage:
    sealer = Sealer.from_setting(Fernet.generate_key().decode())
    return answer_task(ENVELOPE.model_copy(update={"text": "written " * 1000}), sealer)


def test_with_a_key_it_carries_nothing_in_clear_to_the_broker_or_the_disk(sealed):
    for carried in (json.dumps(sealed.body), sealed.to_json()):
        assert "written" not in carried
        assert "sendBySession" not in carried
        assert "msg1" in carried


@pytest.mark.parametrize("sealer", [IN_CLEAR, Sealer.from_setting(Fernet.generate_key().decode())])
def test_the_times_of_its_way_are_stamped_where_everybody_can_read_them(sealer):
    task = answer_task(ENVELOPE, sealer)
    now = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)

    task.stamp("spooled_at", now)
    task = TaskMessage.from_json(task.to_json())
    task.stamp("enqueued_at", now)

    envelope = Envelope.from_wire(task.envelope)
    assert (envelope.spooled_at, envelope.enqueued_at) == (now, now)


def test_what_the_disk_did_not_take_is_not_said_to_have_been_there():
    task = answer_task(ENVELOPE)
    task.stamp("spooled_at", datetime(2026, 1, 1, tzinfo=UTC))
    task.stamp("spooled_at", None)

    assert Envelope.from_wire(task.envelope).spooled_at is None


def test_a_sealed_one_is_as_large_as_its_token(sealed):
    """The bound on what waits in memory counts what is really there."""
    assert len(sealed.to_json()) * 0.9 < sealed.size < len(sealed.to_json()) * 1.1


def test_its_size_counts_what_came_beside_the_words():
    quoted = Quoted(text="said before " * 1000, attachments=(Attachment(download_code="c" * 500),))
    task = answer_task(ENVELOPE.model_copy(update={"quoted": quoted, "raw": {"a": ["b" * 3000]}}))

    assert len(task.to_json()) * 0.8 < task.size < len(task.to_json()) * 1.2


def test_the_disk_reports_a_sealed_message_that_did_not_fit(sealed, tmp_path):
    file = SpoolFile(tmp_path / "spool.sqlite3", max_bytes=8000)
    overflow = file.append([sealed])
    batch = file.head(10)
    file.close()

    assert overflow.dropped == 1
    assert batch is not None
    assert batch.is_report
    [lost] = batch.tasks[0].body[1]["report"]["messages"]
    assert (lost["bot"], lost["message_id"]) == ("ding1", "msg1")
