"""Tasks are Celery's own message format, apart from celery."""

from datetime import UTC, datetime

from celery import Celery

from contract.envelope import Envelope
from contract.routing import safe_kwargsrepr, task_id
from listener.task_message import answer_task

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
