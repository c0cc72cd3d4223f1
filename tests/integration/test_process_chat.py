"""``celery -A worker chat --through``: by the simulated DingTalk, a listener and a worker."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for

VARIABLES = {"AGENT": "through:answer", "THINKING": "card", "CARD_TEMPLATE_ID": "x.schema"}
AGENT = """
import pathlib, time
from worker.agents import AgentError

def answer(message):
    if message.text == "silence":
        return None
    if message.text == "fail":
        raise AgentError("the model is away")
    if message.text == "wait":
        pathlib.Path("waiting").touch()
        time.sleep(1000)
    if message.text.startswith("stream"):
        return pieces()
    if message.attachments:
        return f"{message.kind}: {message.attachments[0].download().stat().st_size} bytes"
    return [f"{message.sender_nick} in {message.conversation}: {message.text}", "and more"]

def pieces():
    yield "one "
    time.sleep(1.5)
    yield "two"
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory, redis_url):
    folder = tmp_path_factory.mktemp("chat")
    (folder / "through.py").write_text(AGENT, encoding="utf-8")
    with place(folder, redis_url) as somewhere:
        somewhere.worker(**VARIABLES)
        somewhere.listener()
        yield somewhere


COMMAND = ("-c", "from worker.commands.chat import chat; chat()", "--through")


def chat(here: WorkerPlace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return here.run("python", *COMMAND, *arguments, **VARIABLES)


def rows(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_all_that_the_bot_says_is_printed_and_how_it_ended_is_known(here, tmp_path):
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n12345")

    result = chat(
        here, *("--as", "bob", "--file", str(picture)),
        *("--say", "", "--say", "hello", "--say", "silence", "--say", "stream it"),
    )  # fmt: skip

    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        ["picture: 13 bytes", "Bob in private: hello", "and more", "one two"],
    )
    assert result.stderr == "no answer: the agent chose silence\n"


def test_a_failure_is_told_with_its_reason_and_the_next_is_said_all_the_same(here):
    result = chat(here, "--group", "--say", "fail", "--say", "hello")

    assert result.returncode == 1
    assert result.stdout.splitlines()[-2:] == ["Alice in group: hello", "and more"]
    assert result.stderr == "no answer: FAILURE: agent_failed: the model is away\n"


def test_a_machine_is_told_what_came_by_card(here):
    told = rows(chat(here, "--json", "--say", "stream it"))

    assert [(each["outcome"], each["replies"]) for each in told] == [
        ("answered", [{"kind": "card", "text": "one two"}])
    ]


def test_ctrl_c_has_the_bot_stop(here):
    process = subprocess.Popen(
        [sys.executable, *COMMAND, "--json", "--say", "wait", "--say", "hello", "--as", "carol"],
        env=here.environment(**VARIABLES),
        cwd=here.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for((here.folder / "waiting").exists, what="the agent to run")
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=120)
    finally:
        process.kill()

    first, second = map(json.loads, shown.splitlines())
    assert (first["message"], first["outcome"]) == ("wait", "stopped")
    assert (second["message"], second["outcome"]) == ("hello", "answered")
    assert process.returncode == 1
