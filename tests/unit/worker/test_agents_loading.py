"""What ``AGENT`` may name, and what it says about a name that will not do."""

import sys
import traceback
from pathlib import Path

import pytest

from tests.unit.worker.answering_parts import envelope
from worker.agents.base import AgentLoadError, Message
from worker.agents.echo import agent as echo
from worker.agents.loading import load_agent

MESSAGE = Message.of(envelope(text="hello"))


@pytest.fixture
def module(monkeypatch, tmp_path):
    """Write a module into the working directory; forget it afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(body: str, name: str = "my_test_agent") -> None:
        file = Path(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_agent_of_a_fresh_start_echoes():
    assert load_agent("worker.agents.echo:agent").build() is echo
    assert echo(MESSAGE) == "echo: hello"
    assert echo(Message.of(envelope(text="", kind="picture"))) == "echo: [picture]"


def test_a_module_in_the_working_directory_is_found(module):
    module("def answer(message):\n    return message.text.upper()\n")
    assert load_agent("my_test_agent:answer").build()(MESSAGE) == "HELLO"


def test_a_module_in_a_package_and_an_attribute_further_down_are_found(module):
    module(
        "class Bot:\n    def answer(self, message):\n        return 'deep'\nbot = Bot()\n",
        "my_test_package.inner",
    )
    assert load_agent("my_test_package.inner:bot.answer").build()(MESSAGE) == "deep"


@pytest.mark.parametrize(
    "body",
    [
        "async def it(message): ...",
        "class C:\n    def __call__(self, message): ...\nit = C()",
        "it = lambda message, *rest, temperature=0.5: None",
        "def it(*messages): ...",
        "it = print",
        "def it(message): yield message.text",
        "async def it(message): yield message.text",
        "class C:\n    async def __call__(self, message): yield message.text\nit = C()",
    ],
)
def test_whatever_takes_one_argument_will_do(module, body):
    module(body)
    load_agent("my_test_agent:it")


@pytest.mark.parametrize("spec", ["", "echo", "echo:", ":agent", ":"])
def test_a_name_of_the_wrong_form_is_told_the_right_one(spec):
    with pytest.raises(AgentLoadError, match="write module:attribute, such as my_agent:answer"):
        load_agent(spec)


@pytest.mark.parametrize(
    ("body", "spec", "says"),
    [
        ("", "no_such_thing:it", "cannot import no_such_thing: put it in the working directory"),
        ("", "no_such.thing:it", "cannot import no_such.thing: put it in the working directory"),
        ("import no_such_thing", "my_test_agent:it", "it imports no_such_thing, which is not inst"),
        ("1/0", "my_test_agent:it", "importing my_test_agent raised ZeroDivisionError at /"),
        ("\n\n1/0", "my_test_agent:it", "/my_test_agent.py:3"),
        ("\ndef x(:", "my_test_agent:it", "importing my_test_agent raised SyntaxError at /"),
        ("\ndef x(:", "my_test_agent:it", "/my_test_agent.py:2"),
        ("import sys; sys.exit(3)", "my_test_agent:it", "my_test_agent raised SystemExit at /"),
        ("", "my_test_agent:it", "module my_test_agent has no it"),
        ("class A: ...\na = A()", "my_test_agent:a.b", "module my_test_agent has no a.b"),
        ("it = 'text'", "my_test_agent:it", "is a str, which nobody can call"),
        ("class it: ...", "my_test_agent:it", "is a class without __call__"),
        ("def it(): ...", "my_test_agent:it", "cannot be called with one argument, the message"),
        ("def it(a, b, c): ...", "my_test_agent:it", "nor with two, the message and its context"),
        ("def it(a, *, b): ...", "my_test_agent:it", "cannot be called with one argument"),
    ],
)
def test_each_mistake_is_named(module, body, spec, says):
    module(body)
    with pytest.raises(AgentLoadError) as caught:
        load_agent(spec)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"AGENT={spec!r}")


@pytest.mark.parametrize(
    "where", ["", "class it:\n def __init__(self):\n  "], ids=["module", "class"]
)
def test_an_agent_that_knows_what_it_lacks_says_so(module, where):
    lacks = "from worker.agents.base import AgentLoadError"
    call = "\n def __call__(self, m): ..." if where else ""
    module(f"{lacks}\n{where}raise AgentLoadError('it needs a sieve'){call}")
    with pytest.raises(AgentLoadError) as caught:
        load_agent("my_test_agent:it").build()
    assert str(caught.value) == "AGENT='my_test_agent:it': it needs a sieve"


def test_what_an_import_says_is_not_repeated(module):
    """It may hold a secret, as of a client that could not log in."""
    module("raise RuntimeError('token=SECRET')")
    with pytest.raises(AgentLoadError) as caught:
        load_agent("my_test_agent:it")
    shown = "".join(traceback.format_exception(caught.value))
    assert "raised RuntimeError at" in shown
    assert "SECRET" not in shown


def test_an_agent_sees_all_but_the_webhook_and_shows_nothing_private():
    message = Message.of(envelope(conversation="group", conversation_title="secret project"))

    assert message.conversation == "group"
    assert message.sender_nick == "Alice in secret"
    assert "secret" not in repr(message)
    assert "oapi" not in str(vars(message))
