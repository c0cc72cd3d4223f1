"""Two bots, one listener process and one worker process, each bot with an agent of its own."""

import pytest

from tests.integration.worker_place import place
from tests.servers import wait_for

LIMIT_S = 90
TOML = """\
[[channels_config.dingtalk.bots]]
name = "sales"
client_id = "dingsales"
client_secret = "hush-sales"
agent = "bots_agents:sales"

[[channels_config.dingtalk.bots]]
client_id = "dinghelp"
client_secret_env = "HELP_SECRET"
agent = "bots_agents:support"
"""
AGENTS = """
def sales(message):
    return f"sales to {message.text}"

async def support(message):
    return f"support to {message.text}"
"""


@pytest.fixture
def here(tmp_path, redis_url):
    with place(tmp_path, redis_url) as somewhere:
        (tmp_path / "bots.toml").write_text(TOML)
        (tmp_path / "bots_agents.py").write_text(AGENTS)
        yield somewhere


def _replies(here):
    return sorted(reply.text for reply in here.simulator.accepted)


def test_each_bot_answers_by_its_own_agent_and_api_and_a_message_to_both_twice(here):
    variables = {
        "DINGTALK_CONFIG": "bots.toml",
        "HELP_SECRET": "hush-help",
        "DINGTALK_CLIENT_ID": "",
        "DINGTALK_CLIENT_SECRET": "",
    }
    here.start("python -m listener", **variables)
    here.simulator.until_connected(2, LIMIT_S)
    here.worker(LATE_POLICY="rescue", **variables)

    here.simulator.say("one", "alice", to="dingsales")
    here.simulator.say("two", "alice", to="dinghelp")
    for to in ("dingsales", "dinghelp"):
        here.simulator.say("both", "alice", group="team", msgId="msg-both", to=to)

    wait_for(lambda: len(_replies(here)) == 4, limit_s=LIMIT_S, what="all answers")
    assert _replies(here) == ["sales to both", "sales to one", "support to both", "support to two"]

    here.simulator.fail_replies(None, errcode=300001, errmsg="the session is over")
    for to in ("dingsales", "dinghelp"):
        here.simulator.say("three", "alice", to=to)

    wait_for(lambda: len(here.simulator.proactive) == 2, limit_s=LIMIT_S, what="both rescues")
    sent = {
        send.client_id: (send.text, send.body["robotCode"]) for send in here.simulator.proactive
    }
    assert sent == {
        "dingsales": ("sales to three", "dingsales"),
        "dinghelp": ("support to three", "dinghelp"),
    }
