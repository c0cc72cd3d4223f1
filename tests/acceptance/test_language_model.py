"""A language model behind the bot, with nothing but its three variables set.

The endpoint is played on this machine; its answers say how many turns it was told, and what the
first one was.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dingwire.simulator import SimulatorThread
from dingwire.simulator.records import Message
from tests.acceptance.conftest import redis_database
from tests.acceptance.deployment import MARKER, Deployment
from tests.openai_answers import Gate, Says
from tests.openai_double import KEY, MODEL, OpenAIDouble
from tests.servers import wait_for

TURNS = ("hello", "what is it?", "and how?", "why?", "thank you")


@pytest.fixture
def endpoint() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as double:
        yield double


def deployed(
    endpoint: OpenAIDouble, folder: Path, redis_url: str, simulator: SimulatorThread, **more: str
) -> Deployment:
    """Listener and two workers; no agent is named."""
    url = redis_database(redis_url, 13)
    variables: dict[str, Any] = {"REDIS_URL": url, "AGENT": "", **endpoint.variables, **more}
    deployment = Deployment(
        simulator, folder, broker_url=url, store_url=url, with_web=False, **variables
    )
    deployment.start()
    return deployment


def facts_of(deployment: Deployment, message: Message, step: str) -> dict[str, Any]:
    """What the story of a message tells of one of its steps."""
    shown = deployment.run("celery", "-A", "worker", "trace", message.message_id, "--json")
    [found] = [each["facts"] for each in json.loads(shown)["steps"] if each["step"] == step]
    return dict(found)


def test_five_turns_in_private_are_one_conversation_whichever_worker_answers(
    endpoint, tmp_path, redis_url, simulator
):
    deployment = deployed(endpoint, tmp_path, redis_url, simulator)
    try:
        said = list[Message]()
        for number, text in enumerate(TURNS):
            said.append(deployment.say(text, "alice"))
            deployment.until_answered(said)
            if number == 2:
                # From here on the other one answers, who has heard nothing of it so far.
                owner = facts_of(deployment, said[0], "taken")["owner"]
                first = deployment.worker_of(int(owner.rpartition(":")[2]))
                first.signal(signal.SIGTERM)
                first.wait(60)
        texts = [reply.text for reply in deployment.accepted(said)]

        assert texts == [
            f"turn {number}; first you said: {said[0].text}; now: {message.text}"
            for number, message in enumerate(said, start=1)
        ]
        assert [len(each.messages) for each in endpoint.asked] == [2, 4, 6, 8, 10]
        assert facts_of(deployment, said[-1], "taken")["owner"] != owner
        assert facts_of(deployment, said[-1], "agent_ended")["usage"] == [
            {"model": MODEL, "calls": 1, "input_tokens": 12, "output_tokens": 7}
        ]
    finally:
        deployment.stop()
    assert_nothing_private_in(deployment)


def test_a_groups_turns_grow_in_cards_and_a_person_can_stop_one(
    endpoint, tmp_path, redis_url, simulator
):
    card = {"THINKING": "card", "CARD_TEMPLATE_ID": "one.schema", "CARD_EVERY_S": "0.05"}
    deployment = deployed(endpoint, tmp_path, redis_url, simulator, **card, LOG_LEVEL="DEBUG")
    before = set(simulator.cards)

    def cards() -> list[Any]:
        return [each for key, each in simulator.cards.items() if key not in before]

    try:
        said = []
        for number, text in enumerate(TURNS, start=1):
            said.append(deployment.say(text, ("alice", "bob")[number % 2], group="model team"))
            wait_for(
                lambda: [each.state for each in cards()] == ["finished"] * len(said),
                what="the turn's card",
            )
        first = endpoint.asked[0].last
        assert first.endswith(f": {said[0].text}")
        assert [each.text for each in cards()] == [
            f"turn {number}; first you said: {first}; now: {asked.last}"
            for number, asked in enumerate(endpoint.asked, start=1)
        ]

        endpoint.script(Says("half of it and no more", gate=Gate()))
        deployment.say("go on for ever", "alice", group="model team")
        wait_for(lambda: len(endpoint.asked) == 6, what="the last question")
        simulator.say("/stop", "alice", group="model team")
        wait_for(lambda: endpoint.asked[5].is_over, what="the endpoint to be hung up on")
        assert endpoint.asked[5].was_left
    finally:
        deployment.stop()
    assert_nothing_private_in(deployment)


def assert_nothing_private_in(deployment: Deployment) -> None:
    logs = deployment.logs()
    for private in (MARKER, KEY, "first you said"):
        assert private not in logs
