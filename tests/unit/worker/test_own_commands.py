"""Commands of one's own are judged when a worker starts."""

import sys

import pytest

from worker.agents import Commands, Context
from worker.agents.agent_settings import AgentSettings
from worker.agents.base import AgentLoadError
from worker.own_commands import judged, load_commands
from worker.settings import WorkerSettings


def _answer(message):
    return "done"


def _named(*names, call=_answer, **more):
    commands = Commands()
    commands(*names, **more)(call)
    return commands


class Called:
    """Not what it is for."""

    def __call__(self, message):
        return "done"


class WithoutPrefix(AgentSettings):
    pass


def _without_prefix(message, context: Context[WithoutPrefix]):
    return "done"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (7, "is a int: name a mapping from names to callables, or worker.agents.Commands"),
        ({}, "there is no command in it"),
        (_named(), "_answer has no name"),
        ({"ticket": _answer}, "'ticket' must begin with / and go on"),
        ({"/": _answer}, "'/' must begin with / and go on"),
        ({"/open it": _answer}, "'/open it' must have no blanks"),
        ({3: _answer}, "a name is a text, not a int"),
        ({"/STOP": _answer}, "'/STOP' is a command of the bot itself"),
        (_named("/帮助"), "'/帮助' is a command of the bot itself"),
        ({"/a": _answer, "／A": _answer}, "two commands have the name '/a'"),
        ({"/a": "b"}, "/a is a str, which nobody can call"),
        ({"/a": lambda: None}, "/a cannot be called with one argument, the message"),
        ({"/a": Called}, "/a is a class: name an instance or a function"),
        ({"/a": _without_prefix}, "/a: WithoutPrefix has no prefix"),
    ],
    ids=lambda value: value if isinstance(value, str) else "named",
)
def test_what_could_never_work_is_refused(named, said):
    with pytest.raises(AgentLoadError) as caught:
        judged("mine:commands", named)
    assert str(caught.value).startswith(f"COMMANDS='mine:commands'{' ' if named == 7 else ': '}")
    assert said in str(caught.value)


def test_all_that_is_wrong_is_named_at_once():
    with pytest.raises(AgentLoadError) as caught:
        judged("mine:commands", {"a": _answer, "/b c": _answer})
    assert len(str(caught.value).splitlines()) == 2


def test_names_are_compared_as_people_type_them():
    (command,) = judged("mine:commands", {"／Ticket": Called()})
    assert command.names == ("/ticket",)
    assert command.command.help == "Not what it is for."


def test_each_bot_has_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_two_bots.py").write_text(
        "one = {'/one': lambda message: 'one'}\nboth = {'/both': lambda message: 'both'}\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    bots = (
        '[{"client_id": "a", "client_secret": "s", "commands": "of_two_bots:one"},'
        ' {"client_id": "b", "client_secret": "s"}]'
    )
    loaded = load_commands(WorkerSettings(bots=bots, commands="of_two_bots:both"))

    assert {spec: [each.names for each in own] for spec, own in loaded.items()} == {
        "of_two_bots:one": [("/one",)],
        "of_two_bots:both": [("/both",)],
    }


def test_every_variable_that_names_nothing_is_said():
    with pytest.raises(AgentLoadError, match="COMMANDS='nowhere:at_all': cannot import nowhere"):
        load_commands(WorkerSettings(commands="nowhere:at_all"))
