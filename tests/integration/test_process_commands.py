"""Commands that overtake, through real processes: answered while agents have every slot."""

import pytest
from celery import Celery

from contract.broker import Broker
from contract.routing import COMMAND, task_id
from tests.integration.worker_place import WorkerPlace, place
from tests.listening import empty
from tests.servers import wait_for
from tests.watching import watching


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def _until_runs(here: WorkerPlace, count: int) -> None:
    wait_for(lambda: len(here.runs) == count, what=f"{count} runs of the agent")


def _said_to(here: WorkerPlace, person: str, text: str) -> str:
    """Say a command, and return what the bot says to it."""
    before = len(here.simulator.accepted)
    conversation = here.simulator.say(text, person).conversation_id
    here.simulator.until(lambda s: len(s.accepted) > before, what=f"an answer to {text}")
    (said,) = here.simulator.accepted[before:]
    assert said.conversation_id == conversation
    return str(said.text)


@pytest.mark.parametrize(
    ("kind", "pool"),
    [("redis", "threads"), ("redis", "prefork"), ("rabbitmq", "prefork"), ("embedded", "threads")],
)
def test_people_are_heard_while_agents_have_every_slot(here, request, kind, pool):
    """And while others wait on the broker, where nobody has seen them yet."""
    if kind == "embedded":
        here.broker_url = "embedded://"
    elif kind == "rabbitmq":
        here.broker_url = request.getfixturevalue("rabbitmq_url")
        empty(Broker.from_url(here.broker_url, here.folder))
    here.listener()
    here.worker(f"-c 2 -P {pool}", BOT_LANGUAGE="en")
    for number in range(6):
        here.simulator.say(f"number {number}", f"person{number}")
        _until_runs(here, min(number + 1, 2))

    assert "Answering a message of yours, for" in _said_to(here, "person0", "／Status")
    assert _said_to(here, "person0", "/停止") == "Stopped: 1 being answered, 0 waiting"
    assert _said_to(here, "person5", "/stop").startswith("Nothing is being answered just now")
    assert [reply.text for reply in here.simulator.accepted if "answer to" in reply.text] == []

    here.gate.touch()
    here.simulator.until(lambda s: len(s.accepted) == 7, what="the answers to the others")
    answered = {reply.text for reply in here.simulator.accepted[3:]}
    assert answered == {f"answer to number {number}" for number in (1, 2, 3, 4)}
    wait_for(lambda: here.unfinished() == 0, what="the end of what was stopped")


def test_flower_sees_a_command_and_what_it_stopped(here):
    here.listener()
    here.worker("-c 1", BOT_LANGUAGE="en")
    with watching(Celery("watcher", broker=here.broker_url, set_as_current=False)) as seen:
        asked = here.simulator.say("a question", "alice")
        _until_runs(here, 1)
        _said_to(here, "alice", "/stop")
        command = here.simulator.messages[-1]
        its, stopped = (task_id("dingprocess", m.message_id) for m in (command, asked))

        def told(id_: str) -> list[str]:
            return [each["type"] for each in seen if each.get("uuid") == id_]

        wait_for(lambda: "task-cancelled" in told(stopped), what="the end of the question")
        wait_for(lambda: told(its) == ["task-received", "task-succeeded"], what="the command's")

    (received,) = (e for e in seen if e["type"] == "task-received" and e["uuid"] == its)
    assert (received["name"], received["kwargs"]) == (
        COMMAND,
        f"{{'message_id': '{command.message_id}'}}",
    )
    assert "/stop" not in repr([each for each in seen if each.get("uuid") == its])
