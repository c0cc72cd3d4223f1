"""Commands that overtake, through real processes: answered while agents have every slot."""

import pytest

from contract.broker import Broker
from tests.integration.worker_place import WorkerPlace, place
from tests.listening import empty
from tests.servers import wait_for


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def _until_runs(here: WorkerPlace, count: int) -> None:
    wait_for(lambda: len(here.runs) == count, what=f"{count} runs of the agent")


@pytest.mark.parametrize(
    ("kind", "pool"),
    [("redis", "threads"), ("redis", "prefork"), ("rabbitmq", "prefork"), ("embedded", "threads")],
)
def test_a_command_is_answered_while_agents_have_every_slot(here, request, kind, pool):
    """And while others wait on the broker before it."""
    if kind == "embedded":
        here.broker_url = "embedded://"
    elif kind == "rabbitmq":
        here.broker_url = request.getfixturevalue("rabbitmq_url")
        empty(Broker.from_url(here.broker_url, here.folder))
    here.listener()
    here.worker(f"-c 2 -P {pool}")
    asked = [here.simulator.say(f"number {n}", f"person{n}") for n in range(6)]
    _until_runs(here, 2)

    whoami = here.simulator.say("／WhoAmI", "bob")
    here.simulator.until_answered(whoami)

    (said,) = here.simulator.accepted
    assert "staff" in said.text
    assert len(here.runs) == 2
    here.gate.touch()
    here.simulator.until(lambda s: len(s.accepted) == 7, what="the answers of the agent")
    answered = {r.conversation_id for r in here.simulator.accepted}
    assert answered == {m.conversation_id for m in (*asked, whoami)}
