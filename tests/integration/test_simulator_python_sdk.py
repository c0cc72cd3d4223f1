"""The official Python SDK meets the simulator: others' words on what a DingTalk is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dingwire.simulator import SimulatorThread

BOT = Path(__file__).with_name("simulator_sdk_bot.py")


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread(ping_first_s=0.05, card_ack_s=60, event_ack_s=60) as running:
        yield running


@pytest.fixture
def sdk_bot(simulator: SimulatorThread, tmp_path: Path) -> Iterator[Path]:
    log = tmp_path / "bot.log"
    environment = {**os.environ, "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint}
    with log.open("wb") as output:
        bot = subprocess.Popen(
            [sys.executable, str(BOT)], env=environment, stdout=output, stderr=output
        )
        try:
            simulator.until_connected()
            yield log
        finally:
            bot.kill()
            bot.wait()


@pytest.mark.usefixtures("sdk_bot")
def test_the_python_sdk_registers_receives_acks_and_answers(simulator):
    private = simulator.say("hello 你好", person="alice")
    assert simulator.until_answered(private) == "python: hello 你好"
    in_group = simulator.say("markdown please", person="bob", group="Ops room")
    assert simulator.until_answered(in_group) == "python: **bold**"
    simulator.until(lambda it: len(it.message_acks) == 2)

    (registered,) = simulator.registrations
    assert registered.status == 200
    assert registered.body["ua"].startswith("dingtalk-sdk-python/")
    assert simulator.tickets_seen == [registered.ticket]
    acks = {each.message_id: each for each in simulator.message_acks}
    assert set(acks) == {private.message_id, in_group.message_id}
    assert [each.code for each in acks.values()] == [200, 200]
    assert [each.accepted for each in simulator.replies] == [True, True]
    assert simulator.replies[1].body["markdown"]["title"] == "Title"
    assert "x-acs-dingtalk-access-token" not in simulator.replies[0].headers


@pytest.mark.usefixtures("sdk_bot")
def test_the_python_sdk_fetches_a_picture_takes_a_click_and_an_event(simulator):
    picture = simulator.say("", kind="picture", file=simulator.file(b"x" * 77, "x.png"))
    assert simulator.until_answered(picture, 60) == "python: 77 bytes"
    asked = simulator.say("card please", group="Ops room")
    assert simulator.until_answered(asked, 60) == "may I?"
    (card,) = simulator.cards.values()
    click = simulator.click(card.out_track_id, "approve", "bob")
    event = simulator.push_event("user_add_org", {"userId": ["u100"]})
    simulator.until(lambda _: click.state == "applied" and event.state == "done", 60)

    assert simulator.cards[card.out_track_id].params["status"] == "approve by bob"


@pytest.mark.usefixtures("sdk_bot")
def test_the_python_sdk_echoes_the_opaque_of_a_ping(simulator):
    simulator.until(lambda it: any(each.kind == "ping" for each in it.acks))

    ping = next(each for each in simulator.acks if each.kind == "ping")
    assert ping.code == 200
    assert ping.data_matches


@pytest.mark.usefixtures("sdk_bot")
def test_the_python_sdk_acks_a_disconnect_and_closes(simulator):
    simulator.disconnect()
    simulator.until(lambda it: it.connections[0].state == "closed")

    assert [each.kind for each in simulator.acks].count("disconnect") == 1
    assert simulator.connections[0].close_code == 1000
