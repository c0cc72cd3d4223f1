"""docs/agents.md: its examples run, and its tables name what there is."""

import asyncio
import dataclasses
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contract.content import Attachment, Mention, Quoted
from contract.envelope import Envelope
from contract.pushes import CardAction, OrgEvent
from dingwire.errors import MediaTooLargeError
from dingwire.messages import parse_bot_message
from worker.agents import Card, Context, Message, Said
from worker.agents import Quoted as QuotedMessage
from worker.agents.agent_settings import AgentSettingsError
from worker.agents.hooks import Hooks
from worker.agents.loading import load_agent
from worker.agents.loop import AgentLoop
from worker.agents.results import replies_of
from worker.agents.runner import AgentRetryError, AgentRunner
from worker.own_commands import LoadedCommand, judged

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")


def _part(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _examples(part: str) -> list[tuple[str, str]]:
    return re.findall(r"```python\n# (\w+)\.py\n(.*?)```", part, re.DOTALL)


def _module(part: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(dict(_examples(part))[name], f"{name}.py", "exec"), found)
    return found


PART = _part("What comes in")


def _message(tmp_path: Path, **fields: Any) -> Message:
    values = {"bot": "ding1", "message_id": "m1", "received_at": datetime.now(UTC), **fields}

    def fetch(code: Attachment) -> Path:
        if code.kind == "video":
            raise MediaTooLargeError("it has more than 20 MB")
        path = tmp_path / code.download_code
        path.write_bytes(b"12345")
        return path

    return Message.of(Envelope.model_validate(values), fetch)


EVERYTHING = {
    "text": "look",
    "attachments": (
        Attachment(kind="picture", download_code="c1"),
        Attachment(kind="picture", download_code="c2"),
        Attachment(kind="video", download_code="c3"),
    ),
    "quoted": Quoted(text="said before"),
    "mentions": (Mention(staff_id="u1"),),
}


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        (
            "my_agent",
            EVERYTHING,
            "look; your picture has 5 bytes; your picture has 5 bytes; I cannot open your video: "
            "it has more than 20 MB; about what you quoted: said before",
        ),
        ("my_agent", {}, "What can I do for you?"),
        ("my_async_agent", EVERYTHING, "2 pictures, 10 bytes"),
        ("my_async_agent", {}, "0 pictures, 0 bytes"),
    ],
)
def test_the_examples_do_what_they_say(tmp_path, name, fields, said):
    runner = AgentRunner(_module(PART, name)["answer"])

    assert runner.run(_message(tmp_path, **fields), limit_s=60) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain", "You wrote 5 characters"),
        ("asynchronous", "There are 30 seconds left"),
        ("generator", "One piece, and another"),
        ("async_generator", "said before\nhello"),
        ("counter", "Message 1 of this process"),
        ("Counter", "Message 1 of this process"),
    ],
)
def test_each_example_of_an_agent_is_one(tmp_path, in_a_module, name, said):
    in_a_module("What an agent is", "my_shapes")
    agent = load_agent(f"my_shapes:{name}").build()
    message = _message(tmp_path, text="hello")
    context: Context[None] = Context(
        message, history=[Said("user", "said before")], left_s=lambda: 30
    )

    assert AgentRunner(agent).run(message, context=context, limit_s=60) == said


@pytest.fixture
def in_a_module(monkeypatch, tmp_path):
    """Make an example importable, as the page tells to."""
    monkeypatch.syspath_prepend(tmp_path)
    names = list[str]()

    def write(part: str, name: str) -> None:
        names.append(name)
        source = dict(_examples(_part(part)))[name]
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("left_s", "ends"),
    [(60, "It is on page 3"), (5, "I did not get through all of it")],
    ids=["enough", "too little"],
)
def test_the_example_of_a_context_says_what_it_does(tmp_path, left_s, ends):
    said, shown = list[str](), list[str]()
    message = _message(tmp_path, text="where is it?")

    def run(name: str) -> Any:
        agent = _module(_part("The context"), "my_context")[name]
        context: Context[None] = Context(
            message, left_s=lambda: left_s, say=said.append, progress=shown.append
        )
        return AgentRunner(agent).run(message, context=context, limit_s=60)

    assert run("answer") == ends
    assert len(shown) == (3 if left_s == 60 else 0)
    assert run("async_answer") == "It is on page 3"
    assert said == ["One moment, I am looking it up"] * 2


def test_the_table_of_the_context_names_what_there_is():
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", _part("The context"), re.MULTILINE)
    ticked = [each for row in rows for each in re.findall("`([^`]+)`", row)]
    named = {re.split(r"\W", each.removeprefix("await "))[0] for each in ticked}
    there = {name for name in dir(Context(_message(Path()))) if not name.startswith("_")}
    assert named == there - {"close", "cancellation", "usage"}


@pytest.mark.parametrize("name", ["answer", "Weather"])
def test_the_example_of_settings_reads_them(tmp_path, in_a_module, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    in_a_module("Settings of its own", "my_settings")
    with pytest.raises(AgentSettingsError, match="WEATHER_API_KEY: Field required"):
        load_agent(f"my_settings:{name}")
    monkeypatch.setenv("WEATHER_API_KEY", "secret")
    monkeypatch.setenv("WEATHER_CITY", "Beijing")
    message = _message(tmp_path, text="and today?")

    def said(**tables: Any) -> Any:
        loaded = load_agent(f"my_settings:{name}", **tables)
        runner = AgentRunner(loaded.build(), settings=loaded.settings)
        return runner.run(message, limit_s=60)

    assert said(last={"city": "Hangzhou"}) == "It is fine in Beijing"
    assert said(first={"city": "Harbin"}) == "It is fine in Harbin"


def test_the_example_of_a_start_opens_and_closes(tmp_path, in_a_module):
    in_a_module("Start and end", "my_client")
    loaded, loop = load_agent("my_client:Answers"), AgentLoop()
    agent = loaded.build()
    hooks, runner = Hooks([(loaded, agent)], loop), AgentRunner(agent, loop=loop)
    message = _message(tmp_path, text="Open")

    hooks.start()
    assert runner.run(message, limit_s=60) == "Open? Yes"
    hooks.stop()
    assert runner.run(message, limit_s=60) == "closed"


def test_the_example_of_a_failure_asks_for_another_run(tmp_path):
    agent = _module(_part("When it fails"), "my_retry")["answer"]
    with pytest.raises(AgentRetryError) as raised:
        AgentRunner(agent).run(_message(tmp_path, text="hello"), limit_s=60)
    assert (raised.value.after_s, raised.value.detail) == (5, "the model is busy")


def test_the_example_of_answers_makes_them(tmp_path):
    runner = AgentRunner(_module(_part("What can be answered"), "my_agent")["answer"])
    report = replies_of(runner.run(_message(tmp_path, text="the report"), limit_s=60))

    assert [each.kind for each in report] == ["markdown", "image", "file", "action_card"]
    assert runner.run(_message(tmp_path, text="hi"), limit_s=60) == "Ask me for the report"


def test_the_example_of_a_stream_says_it_all_in_pieces(tmp_path):
    runner = AgentRunner(_module(_part("While it thinks"), "my_stream")["answer"])
    pieces: list[str] = []
    said = runner.run(_message(tmp_path, text="one two"), limit_s=60, on_piece=pieces.append)

    assert (said, pieces) == ("one two ", ["one ", "two "])


def test_the_example_of_commands_does_what_it_says(tmp_path):
    named = _module(_part("What the bot answers itself"), "my_commands")["commands"]
    ticket, left = judged("my_commands:commands", named)

    def told(command: LoadedCommand, text: str) -> Any:
        return AgentRunner(command.command.call).run(_message(tmp_path, text=text), limit_s=60)

    assert told(ticket, "it squeaks") == "Ticket opened: it squeaks"
    assert told(ticket, "") == "Write /ticket, and behind it what is wrong"
    assert told(left, "").endswith(" s")
    assert left.command.help == "Say how long this command may take."


def test_the_examples_of_handlers_take_what_is_pushed(tmp_path, capsys):
    examples = _module(_part("Card buttons and events"), "my_handlers")
    (card,) = replies_of(AgentRunner(examples["ask"]).run(_message(tmp_path), limit_s=60))
    assert isinstance(card, Card)
    (button,) = card.values["buttons"]
    facts = {"bot": "ding1", "client_id": "ding1", "received_at": datetime.now(UTC)}
    press = CardAction(**facts, push_id="p1", action_ids=(button["id"],), user_id="u1")
    event = OrgEvent(**facts, event_id="e1", event_type="user_add_org", data={"userId": ["u2"]})

    assert examples["pressed"](press) == {"status": "approved by u1"}
    asyncio.run(examples["happened"](event))
    assert "u2" in capsys.readouterr().out


def test_the_example_of_a_memory_knows_what_was_asked(tmp_path):
    runner = AgentRunner(_module(_part("Memory"), "my_reminded_agent")["answer"])
    said = [Said("user", "one"), Said("assistant", "That is question 1"), Said("user", "two")]

    def asked(text: str, *history: Said) -> str:
        message = _message(tmp_path, text=text)
        return str(runner.run(message, context=Context(message, history=history), limit_s=60))

    assert asked("one") == "That is question 1"
    assert asked("three", *said) == "That is question 3"
    assert asked("what was before?", *said) == "You asked: one; two"
    assert asked("what was before?") == "Nothing that I remember"


def test_every_example_is_run_here():
    names = ["my_shapes", "my_context", "my_settings", "my_client", "my_retry"]
    names += ["my_agent", "my_async_agent", "my_agent", "my_stream", "my_reminded_agent"]
    names += ["my_commands", "my_handlers"]
    assert [name for name, _ in _examples(PAGE)] == names


def test_every_field_of_a_message_is_named():
    fields = {each.name for each in dataclasses.fields(Message)}

    assert {name for name in fields if f"`{name}`" not in PART} == set()


def test_every_field_of_a_quote_and_a_mention_is_named():
    fields = {each.name for each in dataclasses.fields(QuotedMessage)} | set(Mention.model_fields)

    assert {name for name in fields if f"`{name}`" not in PART} == set()


def test_every_row_of_the_table_of_kinds_names_samples_of_that_kind():
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \|.*\| (`[^|]+) \|$", PART, re.MULTILINE)
    assert len(rows) == 10
    for kind, samples in rows:
        for name in re.findall(r"`([\w-]+)`", samples):
            path = ROOT / "tests" / "samples" / f"{name}.json"
            assert parse_bot_message(json.loads(path.read_text(encoding="utf-8"))).kind == kind


def test_every_sample_of_a_reply_is_named_by_the_protocol_page():
    protocol = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    part = protocol.split("## Replies\n")[1].split("\n\n|")[1]
    cells = [row.rpartition(" | ")[2] for row in part.splitlines()]
    named = {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}

    folder = ROOT / "tests" / "samples" / "replies"
    assert named == {path.stem for path in folder.glob("*.json")}


def test_every_sample_that_the_pages_name_exists_and_all_are_named():
    protocol = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    part = protocol.split("### Kinds\n")[1].split("\n## ")[0]
    cells = [row.rpartition(" | ")[2] for row in part.splitlines() if row.startswith("|")]
    named = {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}

    assert named == {path.stem for path in (ROOT / "tests" / "samples").glob("*.json")}
