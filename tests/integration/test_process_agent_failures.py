"""Agents that fail, or ask for another run, in real workers with a real broker and store."""

import pytest

from tests.integration.worker_place import place
from tests.servers import wait_for
from worker.words import FAILED

AGENT = """
import os
from worker.agents import Retry

def note():
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    return len(open(os.environ["RUNS"]).readlines())

def busy_at_first(message, context):
    runs = note()
    if runs < 3:
        context.say(f"run {runs}")
        raise Retry(after_s=0.1)
    return f"answered at run {runs}"

def broken(message):
    raise ValueError(message.text)
"""


@pytest.fixture
def here(tmp_path, redis_url):
    (tmp_path / "failing.py").write_text(AGENT)
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


@pytest.mark.parametrize("options", ["-c 2", "-P prefork -c 2"], ids=["threads", "prefork"])
def test_an_agent_is_run_again_and_what_it_says_arrives_before_the_answer(here, options):
    here.worker(options, AGENT="failing:busy_at_first", AGENT_RETRIES="2")
    here.listener()
    here.simulator.say("hello")

    wait_for(lambda: len(here.simulator.accepted) >= 3, what="the answer")
    wait_for(lambda: here.unfinished() == 0, what="the end")

    said = [reply.text for reply in here.simulator.accepted]
    assert said == ["run 1", "run 2", "answered at run 3"]
    assert len(here.runs) == 3


def test_who_wrote_to_a_broken_agent_is_told_and_the_log_shows_none_of_it(here):
    worker = here.worker("-c 2", AGENT="failing:broken", BOT_LANGUAGE="en")
    here.listener()
    here.simulator.say("marked words")

    wait_for(lambda: here.simulator.accepted, what="the notice")
    wait_for(lambda: here.unfinished() == 0, what="the end")

    assert [reply.text for reply in here.simulator.accepted] == [FAILED.in_("en")]
    assert "failing.py" in worker.log
    assert "marked words" not in worker.log
    assert [missed["reason"] for missed in here.missed()] == ["agent_failed"]
