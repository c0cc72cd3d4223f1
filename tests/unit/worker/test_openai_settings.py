"""The settings of the agent that asks a language model."""

import subprocess
import sys
from pathlib import Path

import pytest

from contract.variables import AGENT_VARIABLES
from worker.agents.base import AgentLoadError
from worker.agents.openai import OpenAISettings

ROOT = Path(__file__).parents[3]
SECRET = "sk-hush-77"


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in OpenAISettings.model_fields:
        monkeypatch.delenv(f"OPENAI_{name.upper()}", raising=False)
    monkeypatch.setenv("OPENAI_MODEL", "qwen-plus")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def test_three_variables_will_do(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://models.example/v1/chat/completions")

    settings = OpenAISettings.load()

    assert settings.base_url == "https://models.example/v1"
    assert settings.key == SECRET
    assert settings.options == {"model": "qwen-plus"}
    assert "assistant" in settings.prompt
    assert settings.in_words == "qwen-plus at models.example"
    assert SECRET not in repr(settings)


def test_what_is_chosen_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_TEMPERATURE", "0")
    monkeypatch.setenv("OPENAI_MAX_TOKENS", "500")
    monkeypatch.setenv("OPENAI_EXTRA_BODY", '{"enable_thinking": false}')

    assert OpenAISettings.load().options == {
        "model": "qwen-plus",
        "temperature": 0,
        "max_tokens": 500,
        "extra_body": {"enable_thinking": False},
    }


def test_an_endpoint_of_ones_own_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hunter2@127.0.0.1:11434/v1/")

    settings = OpenAISettings.load()

    assert (settings.base_url, settings.key) == ("http://user:hunter2@127.0.0.1:11434/v1", "none")
    assert settings.in_words == "qwen-plus at 127.0.0.1:11434"


def test_the_prompt_may_stand_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "prompt.md").write_text("说中文。\n", encoding="utf-8")
    monkeypatch.setenv("OPENAI_SYSTEM_PROMPT_FILE", "prompt.md")
    assert OpenAISettings.load().prompt == "说中文。"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OPENAI_MODEL": ""}, "OPENAI_MODEL: Field required"),
        ({"OPENAI_API_KEY": ""}, "OPENAI_API_KEY: needed"),
        ({"OPENAI_API_KEY": "sk-…密"}, "OPENAI_API_KEY: has characters that no key has"),
        ({"OPENAI_API_KEY": "  "}, "OPENAI_API_KEY: needed"),
        ({"OPENAI_API_KEY": "sk-\nhush"}, "OPENAI_API_KEY: has characters that no key has"),
        ({"OPENAI_BASE_URL": "models.example"}, "OPENAI_BASE_URL: must start with https://"),
        ({"OPENAI_BASE_URL": "https:///v1"}, "OPENAI_BASE_URL: must start with https://"),
        ({"OPENAI_BASE_URL": "http://host:v1"}, "OPENAI_BASE_URL: cannot be read as an address"),
        ({"OPENAI_BASE_URL": "http://[::1/v1"}, "OPENAI_BASE_URL: cannot be read as an address"),
        ({"OPENAI_SYSTEM_PROMPT_FILE": "none.md"}, "OPENAI_SYSTEM_PROMPT_FILE: cannot be read"),
        (
            {"OPENAI_SYSTEM_PROMPT_FILE": ".", "OPENAI_TEMPERATURE": "9"},
            "OPENAI_TEMPERATURE: Input should be less",
        ),
        ({"OPENAI_EXTRA_BODY": "top_p=1"}, "OPENAI_EXTRA_BODY: not JSON"),
        ({"OPENAI_EXTRA_BODY": "[]"}, "OPENAI_EXTRA_BODY: Input should be a valid dict"),
        ({"OPENAI_TOOLS": "no_such:it"}, "OPENAI_TOOLS: 'no_such:it': cannot import no_such"),
        (
            {"OPENAI_MAX_TOKENS": "1", "OPENAI_MAX_COMPLETION_TOKENS": "1"},
            "OPENAI_MAX_COMPLETION_TOKENS: set this or",
        ),
    ],
    ids=[
        "model",
        "key",
        "pasted key",
        "blank key",
        "key of two lines",
        "address",
        "no host",
        "port",
        "bracket",
        "prompt file",
        "several",
        "extra",
        "no object",
        "tools",
        "limits",
    ],
)
def test_what_is_wrong_is_named_without_its_value(monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(AgentLoadError) as found:
        OpenAISettings.load()

    assert words in str(found.value)
    assert SECRET not in str(found.value)
    for name in variables.keys() - {"OPENAI_MAX_TOKENS"}:
        assert name in str(found.value)


def test_without_its_package_it_says_which_extra_to_install():
    program = (
        "import sys; sys.modules['openai'] = None\n"
        "from worker.agents.loading import load_agent\n"
        "load_agent('worker.agents.openai:agent')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "needs the package openai: pip install 'celery-dingtalk[openai]'" in done.stderr


def test_every_variable_is_known_as_one_of_ours():
    names = {f"OPENAI_{name}".upper() for name in OpenAISettings.model_fields}
    assert names == {each for each in AGENT_VARIABLES if each.startswith("OPENAI_")}
