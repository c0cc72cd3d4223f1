"""Agents that have something to do at the start and the end of the processes they run in."""

import pytest

from tests.integration.worker_place import place
from tests.servers import wait_for

AGENT = """
import os, pathlib
from worker.agents import AgentSettings, Context

folder = pathlib.Path(os.environ["GATE"]).parent

class GreetingSettings(AgentSettings, env_prefix="GREETING_"):
    word: str

class Agent:
    def __init__(self, settings: GreetingSettings):
        self.word = settings.word

    def note(self, what):
        with (folder / "hooks").open("a") as file:
            file.write(f"{what} {os.getpid()}\\n")

    def startup(self):
        if self.word == "fail":
            raise ConnectionError("token=SECRET")
        self.note("up")

    def __call__(self, message):
        return f"{self.word} {message.text} {os.getpid()}"

    async def shutdown(self):
        self.note("down")
"""


@pytest.fixture
def here(tmp_path, redis_url):
    (tmp_path / "greeting.py").write_text(AGENT)
    with place(tmp_path, redis_url) as somewhere:
        yield somewhere


def hooks(here) -> dict[str, set[str]]:
    file = here.folder / "hooks"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return {what: {pid for its, pid in lines if its == what} for what in ("up", "down")}


@pytest.mark.parametrize("options", ["-c 2", "-P prefork -c 2"])
def test_agents_start_before_the_first_message_and_shut_down_in_each_process(here, options):
    worker = here.worker(options, AGENT="greeting:Agent", GREETING_WORD="hello")
    processes = 2 if "prefork" in options else 1
    wait_for(lambda: len(hooks(here)["up"]) == processes, what="every startup")
    here.listener()

    here.simulator.say("there")
    wait_for(lambda: here.simulator.accepted, what="an answer")
    answer = here.simulator.accepted[0].text.split()
    code, _ = worker.terminate()

    assert code == 0
    assert answer[:2] == ["hello", "there"]
    assert answer[2] in hooks(here)["up"]
    assert hooks(here)["down"] == hooks(here)["up"]


@pytest.mark.parametrize("options", ["-c 2", "-P prefork -c 2"])
def test_a_worker_whose_agent_does_not_start_does_not_either(here, options):
    refused = here.run(
        *f"celery -A worker worker {options}".split(), AGENT="greeting:Agent", GREETING_WORD="fail"
    )

    assert refused.returncode == 1
    line = "cannot start the agent: AGENT='greeting:Agent': its startup raised ConnectionError at "
    assert refused.stderr.count(line) == 1
    assert "SECRET" not in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr


def test_wrong_settings_of_an_agent_are_named_like_ours(here):
    refused = here.run("celery", "-A", "worker", "worker", AGENT="greeting:Agent")

    assert refused.returncode == 2
    assert refused.stderr.strip() == "cannot read settings: GREETING_WORD: Field required"
