"""Card buttons and events all the way: a real listener, real workers, and one that is killed."""

import json
import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from dingwire.cards import Cards, in_private
from dingwire.openapi import OpenApiClient
from tests.integration.worker_place import place
from tests.servers import wait_for

CARDS = "/v1.0/card/instances/callback"
HANDLERS = """
import json, os, pathlib, time

gate, runs = pathlib.Path(os.environ["GATE"]), pathlib.Path(os.environ["RUNS"])

def note(*facts):
    with runs.open("a") as file:
        file.write(json.dumps([os.getpid(), *facts]) + "\\n")

def pressed(action):
    note("card", action.out_track_id, list(action.action_ids), action.user_id, action.params)
    if action.params.get("wait"):
        while not gate.exists():
            time.sleep(0.02)
    if action.params.get("fail"):
        raise RuntimeError(action.params["fail"])
    return action.params.get("show")

async def happened(event):
    note("event", event.event_type, event.data)
"""


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        (tmp_path / "my_handlers.py").write_text(HANDLERS)
        yield somewhere


def _worker(here, name: str):
    return here.worker(
        f"-n {name}@%h",
        CARD_ACTION_HANDLER="my_handlers:pressed",
        EVENT_HANDLER="my_handlers:happened",
    )


def _press(here, **params: Any) -> str:
    content = {"cardPrivateData": {"actionIds": ["ok"], "params": params}}
    data = {"outTrackId": "t1", "userId": "alice", "content": json.dumps(content)}
    return str(here.simulator.push(CARDS, json.dumps(data)).push_id)


def _runs(here) -> list[list[Any]]:
    path = here.folder / "runs"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _until(condition, what: str) -> None:
    wait_for(condition, limit_s=90, what=what)


def _whoever_asks_is_told_who_they_are(here) -> None:
    here.simulator.say("let me in", person="bob")
    here.simulator.say("let me in, please", person="bob")
    _until(lambda: here.simulator.accepted, "a notice to who is denied")
    here.simulator.until_answered(here.simulator.say("/whoami", person="alice"), 60)

    notice, answer = (reply.text for reply in here.simulator.accepted)
    assert "bob" in notice
    assert "alice" in answer


def _a_button_changes_its_card(here) -> None:
    api = OpenApiClient(
        endpoint=here.simulator.endpoint,
        client_id="dingprocess",
        client_secret="hush-51d0",
        clock=lambda: datetime.now(UTC),
    )
    place = in_private("dingprocess", "alice")
    values = {"status": "open", "title": "Holidays"}
    Cards(api).create("t2", template_id="t.schema", place=place, values=values)
    api.close()
    here.simulator.click("t2", "ok", "alice", {"show": {"status": "approved"}})

    _until(lambda: here.simulator.cards["t2"].params["status"] == "approved", "the new card")
    assert here.simulator.cards["t2"].params["title"] == "Holidays"
    assert here.simulator.clicks[0].state == "unchanged"  # by the ack
    here.folder.joinpath("runs").unlink()


def test_handlers_are_called_once_and_a_dead_workers_press_is_taken_over(here):
    here.start("python -m listener", DINGTALK_ALLOWED_USERS="alice", DENIED_NOTICE="true")
    here.simulator.until_connected(1)
    first = _worker(here, "one")
    _whoever_asks_is_told_who_they_are(here)
    _a_button_changes_its_card(here)
    event = {
        "type": "EVENT",
        "headers": {
            "topic": "*", "messageId": "push1", "eventId": "e1", "eventType": "user_add_org",
        },
        "data": '{"userId": ["u1"]}',
    }  # fmt: skip
    for push_id in ("push1", "push2"):  # as DingTalk may push one again
        event["headers"] |= {"messageId": push_id}  # type: ignore[operator]
        here.simulator.raw(json.dumps(event))
    _until(lambda: _runs(here), "the event")
    assert _runs(here)[0][1:] == ["event", "user_add_org", {"userId": ["u1"]}]

    failing = _press(here, fail="salary 4711")
    _until(lambda: "push_failed" in first.log, "the failure")
    assert "salary 4711" not in first.log

    waiting = _press(here, wait=True)
    _until(lambda: len(_runs(here)) == 3, "the handler to begin")
    first.signal(signal.SIGKILL)
    second = _worker(here, "two")
    _until(lambda: len(_runs(here)) == 4, "another worker to take over")
    here.gate.touch()
    _until(lambda: "card_action_handled" in second.log, "the end of it")

    runs = _runs(here)
    assert [run[1] for run in runs] == ["event", "card", "card", "card"]
    assert runs[2][1:] == runs[3][1:] == ["card", "t1", ["ok"], "alice", {"wait": True}]
    assert runs[2][0] != runs[3][0]
    assert here.unfinished() == 0
    assert here.missed() == []

    told = here.run("celery", "-A", "worker", "trace", waiting)
    assert "received: action" in told.stdout
    assert "taken over by" in told.stdout
    assert "ended as SUCCESS" in told.stdout
    told = here.run("celery", "-A", "worker", "trace", failing)
    assert "ended as FAILURE" in told.stdout
    assert "RuntimeError" in told.stdout
    assert "celery -A worker late" not in told.stdout
