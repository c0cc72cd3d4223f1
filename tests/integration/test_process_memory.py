"""What was said outlives the worker that said it, sealed, until an operator has it forgotten."""

import json
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet

from tests.integration.worker_place import place
from tests.servers import wait_for

LIMIT_S = 90
AGENT = """
import json

async def answer(message, context):
    said = [f"{said.sender_nick or 'bot'}: {said.text}" for said in context.history]
    return json.dumps([message.conversation_id, len(said), *said[:1]])
"""


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        (tmp_path / "reminded.py").write_text(AGENT)
        yield somewhere


def test_another_worker_is_reminded_and_a_forgotten_conversation_is_gone(here):
    variables = {
        "AGENT": "reminded:answer",
        "HISTORY_TURNS": "5",
        "ENVELOPE_KEY": Fernet.generate_key().decode(),
    }

    def said(text: str, group: str | None) -> list[Any]:
        before = len(here.simulator.accepted)
        here.simulator.say(text, "alice", group=group)
        wait_for(lambda: len(here.simulator.accepted) > before, limit_s=LIMIT_S, what="the answer")
        return list(json.loads(here.simulator.accepted[-1].text))

    here.start("python -m listener", **variables)
    here.simulator.until_connected(1, LIMIT_S)
    first = here.worker(**variables)
    for group in (None, "team"):
        assert said("MARKED one", group)[1:] == [0]
    wait_for(lambda: here.unfinished() == 0, limit_s=LIMIT_S, what="the end of both messages")
    first.kill()
    here.worker(**variables)

    private, in_group = said("two", None), said("two", "team")
    assert private[1:] == in_group[1:] == [2, "Alice: MARKED one"]
    assert "MARKED" not in everything_in(here.store_url)

    forgotten = here.run("celery", "-A", "worker", "forget", in_group[0], "--json", **variables)
    assert forgotten.returncode == 0, forgotten.stderr
    assert json.loads(forgotten.stdout)["forgotten"] == 2
    assert said("three", "team")[1:] == [0]
    assert said("three", None)[1] == 4


def everything_in(url: str) -> str:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        hashes = [key for key in client.scan_iter("*") if client.type(key) == "hash"]
        assert any(":said:" in key for key in hashes)
        return str([client.hgetall(key) for key in hashes])
