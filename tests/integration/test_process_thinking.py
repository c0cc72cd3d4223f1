"""Worker processes whose agent speaks into a card: one is killed, one is refused its card."""

import pytest

from tests.integration.worker_place import place
from tests.servers import wait_for

AGENT = """
import os, pathlib, time

gate, runs = pathlib.Path(os.environ["GATE"]), pathlib.Path(os.environ["RUNS"])

def answer(message):
    with runs.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    yield "first half"
    while not gate.exists():
        time.sleep(0.02)
    yield ", second half"
"""


@pytest.fixture
def here(tmp_path, redis_url):
    (tmp_path / "speaking.py").write_text(AGENT)
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def test_the_next_worker_finishes_the_card_of_a_killed_one_and_needs_none_itself(here):
    variables = {
        "AGENT": "speaking:answer",
        "THINKING": "card",
        "CARD_TEMPLATE_ID": "t.schema",
        "CARD_EVERY_S": "0.1",
    }

    def shown() -> list[str]:
        return [card.text for card in here.simulator.cards.values()]

    here.listener()
    killed = here.worker(**variables)
    here.simulator.say("hello")
    wait_for(lambda: shown() == ["first half"], limit_s=120, what="the first half on the card")
    killed.kill()
    other = here.worker(**variables)
    wait_for(lambda: len(here.runs) == 2, limit_s=120, what="the other worker to run the agent")
    here.gate.touch()
    other.until_logged("reply_posted")

    [card] = here.simulator.cards.values()
    assert (card.text, card.state) == ("first half, second half", "finished")
    assert card.params["flowStatus"] == "3"
    assert len(card.places) == 1
    assert here.simulator.replies == []
    assert here.missed() == []

    here.simulator.fail_api("/v1.0/card/*", times=None, kind="permission")
    here.simulator.say("hello again")
    wait_for(lambda: here.simulator.accepted, limit_s=120, what="the answer without a card")

    assert [reply.text for reply in here.simulator.accepted] == ["first half, second half"]
    assert "card_failed" in other.log
