"""The official Node SDK meets the simulator; its hard-coded API base is patched at run time."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dingwire.simulator import SimulatorThread
from tests import node_sdk
from tests.servers import MissingServerError


@pytest.fixture(scope="session")
def modules() -> Path:
    """The folder with the SDK of tests/node/package.json."""
    try:
        return node_sdk.installed()
    except MissingServerError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run every test: {missing}")
        pytest.skip(str(missing))


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread(ping_first_s=0.05) as running:
        yield running


@pytest.fixture
def node_bot(modules: Path, simulator: SimulatorThread, tmp_path: Path) -> Iterator[None]:
    command = ["node", str(node_sdk.SOURCES / "echo.cjs"), str(modules), simulator.endpoint]
    with (tmp_path / "bot.log").open("wb") as output:
        bot = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            simulator.until_connected()
            yield
        finally:
            bot.kill()
            bot.wait()


@pytest.mark.usefixtures("node_bot")
def test_the_node_sdk_registers_receives_acks_and_answers(simulator):
    private = simulator.say("hello 你好", person="alice")
    assert simulator.until_answered(private) == "node: hello 你好"
    in_group = simulator.say("status", person="bob", group="Ops room")
    assert simulator.until_answered(in_group) == "node: status"
    simulator.until(lambda it: len(it.message_acks) == 2)

    assert [each.status for each in simulator.registrations] == [200]
    assert {each["type"] for each in simulator.connections[0].subscriptions} == {
        "EVENT",
        "CALLBACK",
    }
    assert [each.code for each in simulator.message_acks] == [200, 200]
    assert simulator.message_acks[0].data == {"response": {"errcode": 0, "errmsg": "ok"}}
    assert [each.accepted for each in simulator.replies] == [True, True]


@pytest.mark.usefixtures("node_bot")
def test_the_node_sdk_echoes_the_opaque_of_a_ping(simulator):
    simulator.until(lambda it: any(each.kind == "ping" for each in it.acks))

    ping = next(each for each in simulator.acks if each.kind == "ping")
    assert ping.code == 200
    assert ping.data_matches


@pytest.mark.usefixtures("node_bot")
def test_the_node_sdk_comes_back_with_a_new_ticket_after_a_cut(simulator):
    """It does not answer a disconnect, so only the cut ends the connection."""
    simulator.switch(disconnect_close_s=0.1)
    simulator.disconnect()
    simulator.until(lambda it: len(it.connections) == 2)

    assert len(set(simulator.tickets_seen)) == 2
