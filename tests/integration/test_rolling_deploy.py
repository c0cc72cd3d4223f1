"""A worker and a newer listener share the queue, as they do while a deploy rolls out."""

import contextlib
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from celery import Celery

from contract.broker import Broker
from contract.envelope import Envelope
from contract.routing import MESSAGES, task_id
from tests.integration.worker_place import WorkerPlace, place
from tests.listening import empty, envelopes_on
from tests.processes import Process
from tests.servers import free_port, wait_for
from tests.watching import watching
from worker.store import MissedReply, Store, open_store

LOGIN = ("admin", "correct-horse")
MARKED = "marked-8c1f"  # in every text; must show up nowhere


@pytest.fixture(params=["redis", "rabbitmq"])
def here(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[WorkerPlace]:
    with place(tmp_path, redis_url) as somewhere:
        if request.param == "rabbitmq":
            somewhere.broker_url = request.getfixturevalue("rabbitmq_url")
            empty(_broker(somewhere))
        yield somewhere


def _broker(here: WorkerPlace) -> Broker:
    return Broker.from_url(here.broker_url, here.folder)


def _publish(here: WorkerPlace, task: str, kwargs: dict[str, Any], identity: str) -> None:
    """Put a task on the queue as a listener of another release would."""
    broker = _broker(here)
    headers = {"lang": "py", "task": task, "id": identity, "kwargsrepr": "{}"}
    with broker.connection() as connection, connection.Producer() as producer:
        for queue in broker.queues():
            queue(connection.default_channel).declare()
        body = [[], kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        producer.publish(body, headers=headers, correlation_id=identity, routing_key=MESSAGES)


def _envelope(here: WorkerPlace, person: str) -> dict[str, Any]:
    """What a listener makes of a message; nobody else has it."""
    here.simulator.say(f"hello {MARKED}", person)
    found: list[Envelope] = []

    def is_found() -> bool:
        found.extend(envelopes_on(_broker(here)))
        return bool(found)

    wait_for(is_found, what="the listener to enqueue")
    return found[0].to_wire()


def _identity(envelope: dict[str, Any]) -> str:
    return task_id(envelope["bot"], envelope["message_id"])


@contextlib.contextmanager
def _store(here: WorkerPlace) -> Iterator[Store]:
    store = open_store(here.store_url)
    with contextlib.closing(store):
        yield store


def _missed(here: WorkerPlace, id_: str) -> MissedReply | None:
    with _store(here) as store:
        return store.find_missed(id_)


def _until_missed(here: WorkerPlace, id_: str) -> MissedReply:
    wait_for(lambda: _missed(here, id_), what=f"{id_} to be kept")
    missed = _missed(here, id_)
    assert missed is not None
    return missed


def _nothing_private(here: WorkerPlace, worker: Process, events: object) -> None:
    for shown in (worker.log, str(events)):
        assert MARKED not in shown
        assert "sendBySession" not in shown


def test_a_field_of_a_later_release_does_not_keep_a_message_from_its_answer(here):
    """And the field is still there after a worker that does not know it has died."""
    listener = here.listener()
    envelope = _envelope(here, "alice") | {"mood": {"of": "a later release"}}
    listener.terminate()
    first = here.worker()
    _publish(here, "answer", {"envelope": envelope}, _identity(envelope))
    wait_for(lambda: here.runs, what="the agent to be run")

    with _store(here) as store:
        (unfinished,) = store.unfinished()
    first.kill()
    second = here.worker()
    here.gate.touch()
    second.until_logged("reply_posted")

    assert unfinished.envelope["mood"] == {"of": "a later release"}
    assert [r.text for r in here.simulator.accepted] == [f"answer to hello {MARKED}"]
    assert here.missed() == []
    assert MARKED not in second.log


def test_what_a_worker_cannot_work_on_is_kept_and_shown_and_not_told(here):
    listener = here.listener()
    later = _envelope(here, "alice") | {"version": 2, "words": [f"again {MARKED}"]}
    verse, hinted = _envelope(here, "bob"), _envelope(here, "carol")
    listener.terminate()
    here.gate.touch()
    card = str(uuid.uuid4())
    port = str(free_port())
    web = here.start("python -m worker.web", PORT=port, FLOWER_BASIC_AUTH=":".join(LOGIN))
    web.until_logged("Connected to ")
    app = Celery("watcher", broker=_broker(here).url, set_as_current=False)
    with watching(app) as events:
        worker = here.worker()

        _publish(here, "answer", {"envelope": later}, _identity(later))
        _publish(here, "answer_in_verse", {"envelope": verse}, str(uuid.uuid4()))
        _publish(here, "handle_card_swipe", {"action": {"said": MARKED}}, card)
        hint = {"envelope": hinted, "hint": MARKED}
        _publish(here, "answer", hint, _identity(hinted))
        ids = {"version": _identity(later), "task": _identity(verse), "card": card}
        ids["argument"] = _identity(hinted)
        kept = {name: _until_missed(here, id_) for name, id_ in ids.items()}
        wait_for(
            lambda: len([e for e in events if e["type"] == "task-failed"]) == 4,
            what="four failures",
        )

    assert {reply.reason for reply in kept.values()} == {"unsupported_version"}
    assert {reply.state for reply in kept.values()} == {"FAILURE"}
    assert "version 2" in kept["version"].detail
    assert kept["version"].envelope == later
    assert "'answer_in_verse'" in kept["task"].detail
    assert kept["task"].envelope == verse
    assert kept["card"].envelope["task"]["kwargs"] == {"action": {"said": MARKED}}
    assert kept["argument"].detail == "its arguments are not known to this release"
    assert kept["argument"].envelope == hinted
    assert {reply["task_id"] for reply in here.missed()} == set(ids.values())
    with _store(here) as store:
        assert store.unfinished() == []

    names = {"version": "answer", "task": "answer_in_verse", "card": "handle_card_swipe"}
    for case, id_ in ids.items():
        page = f"http://127.0.0.1:{port}/api/task/info/{id_}"
        answer = requests.get(page, auth=LOGIN, timeout=10)
        assert answer.status_code == 200, f"{case} is not in Flower: {answer.text}"
        shown = answer.json()
        assert (shown["name"], shown["state"]) == (names.get(case, "answer"), "FAILURE")
        assert "unsupported_version" in shown["exception"]
    assert here.runs == []
    _nothing_private(here, worker, events)


def test_a_task_without_a_message_is_never_given_to_the_agent(here):
    """Neither when an operator asks for it: the agent would answer nothing, to nobody."""
    here.gate.touch()
    card = str(uuid.uuid4())
    worker = here.worker()
    _publish(here, "handle_card_swipe", {"action": {"said": MARKED}}, card)
    _until_missed(here, card)

    shown = here.run("celery", "-A", "worker", "late", "show", card)
    asked = here.run("celery", "-A", "worker", "late", "rerun", card)
    worker.until_logged("reply_failed")

    assert shown.returncode == 0, shown.stderr
    assert asked.returncode == 0, asked.stderr
    assert MARKED not in shown.stdout
    assert _until_missed(here, card).reason == "unsupported_version"
    assert here.runs == []
    _nothing_private(here, worker, "")


def test_with_a_key_a_task_without_a_message_is_kept_sealed(here):
    from cryptography.fernet import Fernet

    card = str(uuid.uuid4())
    here.worker(ENVELOPE_KEY=Fernet.generate_key().decode())
    _publish(here, "handle_card_swipe", {"action": {"said": MARKED}}, card)

    assert MARKED not in repr(_until_missed(here, card).envelope)


def test_a_copy_of_what_another_worker_has_answered_changes_nothing(here):
    """A newer worker was quicker."""
    listener = here.listener()
    here.gate.touch()
    worker = here.worker()
    message = here.simulator.say(f"hello {MARKED}")
    worker.until_logged("reply_posted")
    listener.terminate()
    envelope = {"bot": "dingprocess", "message_id": message.message_id, "text": MARKED}
    wait_for(lambda: here.unfinished() == 0, what="the message to be finished")

    _publish(here, "answer_in_verse", {"envelope": envelope}, str(uuid.uuid4()))
    worker.until_logged("message_set_aside")

    assert here.missed() == []
    said = [json.loads(line) for line in worker.log.splitlines() if "message_set_aside" in line]
    assert [re.sub(r":.*", "", line["message"]) for line in said] == [
        "dropped a copy of a message that is known"
    ]
