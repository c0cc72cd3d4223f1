"""`make run` shows its addresses when a message can really be taken."""

import json
import os
from datetime import datetime

import pytest
from honcho.printer import Message

from scripts.run import READY_WORDS, _Console, make_plan
from worker.settings import MODEL_AGENT


@pytest.mark.parametrize(
    ("line", "is_ready"),
    [
        ("INFO listener.connection: connected to DingTalk  action=connected peer=dingtalk", True),
        ("WARNING reconnecting to DingTalk  action=reconnecting peer=dingtalk attempt=1", False),
        ("INFO listener.enqueue: connected to the broker  action=connected peer=broker", False),
    ],
)
def test_a_listener_is_ready_once_it_is_connected_to_dingtalk(line, is_ready):
    """Else the first "hello" meets nobody and is lost."""
    console = _Console()
    when = datetime(2026, 1, 1)  # noqa: DTZ001, honcho's are naive

    console.write(Message("line", f"{line}\n".encode(), when, "listener", None))

    assert ("listener" not in console.waiting_for) is is_ready
    assert set(READY_WORDS) == {"listener", "worker"}


@pytest.mark.parametrize(
    ("variables", "agent"),
    [
        ({}, "worker.agents.echo:agent"),
        ({"AGENT": "my_agent:answer", "OPENAI_MODEL": "m"}, "my_agent:answer"),
        ({"OPENAI_MODEL": "qwen-plus", "OPENAI_API_KEY": "sk-hush"}, f"{MODEL_AGENT}   qwen-plus"),
    ],
    ids=["echo", "own", "model"],
)
def test_it_is_said_who_answers(tmp_path, monkeypatch, variables, agent):
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    banner = make_plan(os.environ).banner

    assert f"  agent       {agent}\n" in banner
    assert "sk-hush" not in banner


def test_several_bots_stand_in_a_column(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("sales", "helpdesk")
    bots = [
        {"client_id": f"ding{name}", "client_secret": "s", "name": name, "allowed_users": ["*"]}
        for name in names
    ]
    monkeypatch.setenv("DINGTALK_BOTS", json.dumps(bots))
    lines = make_plan(os.environ).banner.splitlines()

    shown = [line.split("write to it")[0] for line in lines if "write to it" in line]
    assert [line.split() for line in shown] == [["bot", name] for name in names]
    assert len({len(line) for line in shown}) == 1
