"""What a task shows when it is published, and what it refuses.

In a process of its own, because importing the Celery app sets up logging for a whole process.
"""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

SCRIPT = """
    import json
    import traceback
    from types import SimpleNamespace
    from celery.exceptions import Reject
    from contract.routing import QUEUES
    from worker import tasks
    from worker.celery import app
    from worker.outcome import FinalState, Outcome
    from worker.store import DueMessage

    ENVELOPE = {"bot": "b", "message_id": "msg1", "text": "SECRET", "session_webhook": "SECRET"}

    def published():
        found = []
        with app.connection_for_read() as reading:
            for name in QUEUES:
                queue = app.amqp.queues[name](reading.default_channel)
                queue.declare()
                while message := queue.get(no_ack=True):
                    task = app.tasks[message.headers["task"]]
                    request = tasks.SafeRequest(message, app=app, task=task)
                    found.append({
                        "is_parsed_once": request.body is message.payload,
                        "parsed_as": request.content_type,
                        "queue": name,
                        "id": message.headers["id"],
                        "task": message.headers["task"],
                        "args": message.headers["argsrepr"],
                        "kwargs": message.headers["kwargsrepr"],
                        "retries": message.headers["retries"],
                        "body": message.payload[1],
                    })
        return found

    EVENT = {
        "bot": "b", "message_id": "event1", "task": "handle_event",
        "push": {"event_id": "event1", "sealed": "SECRET"},
    }
    tasks.publish(DueMessage("id3", "event1", True, EVENT))
    tasks.publish(DueMessage("id1", "msg1", False, ENVELOPE))
    tasks.publish(DueMessage("id2", "msg2", True, ENVELOPE, attempts=1002))
    tasks.answer.apply_async(kwargs={"envelope": ENVELOPE}, kwargsrepr="SECRET", argsrepr="SECRET")
    result = {"published": published()}
    try:
        tasks.answer.retry(exc=ValueError("x"))
    except TypeError as error:
        result["retry"] = str(error)
    class Faulty:
        def work(self, *_):
            raise ValueError("SECRET")

    class Pushes:
        def work(self, model, id_, push):
            result["handled"] = [model.__name__, id_, push]
            return Outcome(FinalState.SUCCESS)

    tasks.runtime = lambda **_: SimpleNamespace(answering=Faulty(), pushes=Pushes())
    # As an earlier release publishes what is due.
    tasks.answer.request_stack.push(SimpleNamespace(id="id3", hostname="one@here"))
    tasks.answer.run(envelope=EVENT)
    tasks._BACK_AFTER_S = 0
    try:
        request = SimpleNamespace(id="id1", hostname="one@here")
        tasks._work(SimpleNamespace(request=request), {})
    except Reject as error:
        result["fault"] = [error.requeue, traceback.format_exc()]
    print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Any:
    folder = str(tmp_path_factory.mktemp("data"))
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env=os.environ | {"BROKER_URL": "embedded://", "DATA_DIR": folder},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) | {"log": ran.stderr}


def test_what_has_no_answer_yet_goes_past_the_waiting_messages_with_its_envelope(result):
    (first,) = (m for m in result["published"] if m["id"] == "id1")
    assert (first["queue"], first["task"]) == ("turns", "answer")
    assert first["body"]["envelope"]["text"] == "SECRET"


def test_what_has_an_answer_goes_to_the_replies_under_the_same_id_and_carries_no_envelope(result):
    (second,) = (m for m in result["published"] if m["id"] == "id2")
    assert (second["queue"], second["task"]) == ("replies", "deliver")
    assert second["body"] == {"message_id": "msg2"}


def test_what_flower_sees_of_the_arguments_is_the_message_id_whatever_is_asked_for(result):
    assert len(result["published"]) == 4
    ids = ("msg1", "msg2", "event1")
    for message in result["published"]:
        assert message["args"] == "()"
        assert message["kwargs"] in {f"{{'message_id': '{id_}'}}" for id_ in ids}


def test_a_body_is_parsed_once_for_the_consumer_and_the_pool(result):
    for message in result["published"]:
        assert (message["is_parsed_once"], message["parsed_as"]) == (True, None)


def test_a_push_that_is_due_goes_to_its_own_task_as_it_came(result):
    (third,) = (m for m in result["published"] if m["id"] == "id3")
    assert (third["queue"], third["task"]) == ("events", "handle_event")
    assert third["body"] == {"event": {"event_id": "event1", "sealed": "SECRET"}}


def test_a_push_that_an_earlier_release_published_as_a_message_is_handled_as_what_it_is(result):
    assert result["handled"][:2] == ["OrgEvent", "id3"]
    assert result["handled"][2]["event_id"] == "event1"


def test_celerys_own_retry_is_refused(result):
    """It would publish the arguments in clear."""
    assert result["retry"] == "retries go through the store: release the lease with due_in_s"


def test_flower_is_told_how_often_a_delivery_was_tried_by_its_present_way(result):
    """Attempts of a rescue are counted from a thousand."""
    retries = {m["id"]: m["retries"] for m in result["published"]}
    assert (retries["id1"], retries["id2"]) == (0, 2)


def test_a_message_that_meets_a_fault_goes_back_and_the_faults_text_is_not_shown(result):
    """Celery would acknowledge the message, and show the text in Flower and in the log."""
    is_requeued, shown = result["fault"]
    assert is_requeued
    assert "unexpected ValueError" in result["log"]
    assert "in work" in result["log"], "where it was raised"
    assert "SECRET" not in shown + result["log"]
