"""docs/included-agents.md on language models: its example runs, its tables name what there is."""

import re
from pathlib import Path

import pytest

from tests.openai_double import OpenAIDouble
from tests.unit.worker.openai_parts import answer, message, settings
from worker.agents.openai import OpenAISettings
from worker.agents.openai import agent as OpenAIAgent  # noqa: N812, a class

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "included-agents.md").read_text(encoding="utf-8")
PART = PAGE.split("\n## A language model: openai\n")[1].split("\n## ")[0]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """The example's, as OPENAI_TOOLS names them."""
    [(name, text)] = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PART, re.DOTALL)
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    [named] = re.findall(r"^\$ OPENAI_TOOLS=(\S+) make run$", PART, re.MULTILINE)
    assert all(each.startswith(f"{name}:") for each in named.split(","))
    return tuple(named.split(","))


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ('use in_stock {"article": "A-1"}', "12"),
        ('use in_stock {"article": "C-3"}', "error: there is no such article"),
        (
            'use order {"article": "A-1", "pieces": 2}',
            '{"ordered":2,"article":"A-1","speed":"normal","for":"Alice"}',
        ),
    ],
    ids=["known", "unknown", "order"],
)
def test_a_model_can_use_the_tools_of_the_page(tools, wish, told):
    with OpenAIDouble() as endpoint:
        words, _ = answer(OpenAIAgent(settings(endpoint, tools=tools)), message(wish))
    assert words == f"the tool said {told}"


def test_every_variable_of_the_agent_is_explained():
    names = {f"OPENAI_{name}".upper() for name in OpenAISettings.model_fields}
    assert names == set(re.findall(r"`(OPENAI_[A-Z_]+)", PART))


def test_the_numbers_of_the_page_are_those_of_the_settings():
    shown = dict(re.findall(r"`(OPENAI_\w+)` \((\w+)\)", PART))
    fields = OpenAISettings.model_fields
    for name, value in shown.items():
        default = fields[name.removeprefix("OPENAI_").lower()].default
        assert str(default).lower() == value, name
    assert len(shown) == 5
