"""``celery -A worker chat``: what a person at the terminal sees, and what a script gets.

Through the whole system it is tested in ``tests/integration/test_process_chat.py``.
"""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from contract.variables import AGENT_VARIABLES, VARIABLES
from dingwire.replies import Text
from dingwire.simulated import SimulatedChat, Written
from dingwire.simulator import SimulatorThread
from tests.servers import wait_for
from tests.unit.dingwire.local_server import running
from tests.unit.worker.answering_parts import envelope
from worker import words
from worker.chatting.remembering import Remembering
from worker.chatting.screen import Screen
from worker.chatting.session import Session
from worker.chatting.through import Through
from worker.chatting.told import Told
from worker.commands.chat import chat
from worker.store import Step, Store, Story
from worker.store.sql import SqlStore

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")

AGENTS = """
import asyncio, time
from worker.agents import AgentError, Retry, Image, Markdown, Usage


def plain(message):
    return f"{message.sender_nick} in {message.conversation}: {message.text}"


def stream(message, context):
    for word in message.text.split():
        yield word + " "
    yield Image(url="https://pictures.example/a.png")


def formatted(message):
    return [Markdown(text="# One"), "two"]


def silent(message):
    return None


def failing(message):
    raise AgentError("the model is away")


def broken(message):
    raise ValueError(message.text)


def odd(message):
    return 7


def telling(message, context):
    context.say("a moment")
    context.progress("searching")
    context.used(Usage("small", 3, 4))
    return "found"


def files(message):
    paths = [(each.kind, each.name, each.download()) for each in message.attachments]
    for *_, path in paths:
        path.write_bytes(path.read_bytes() * 2)
    return ", ".join(f"{kind} {name} {path.stat().st_size}" for kind, name, path in paths)


def remembering(message, context):
    return f"{len(context.history)} {[each.text for each in context.history][:1]}"


remembering.history_turns = 2


def breaking(message, context):
    yield "half of it"
    context.progress("thinking")
    raise AgentError("the model is away")


runs = []


def retrying(message):
    runs.append(message)
    if len(runs) < 3:
        raise Retry(0) from AgentError("answered 503")
    return f"at the {len(runs)}rd run"


async def waiting(message):
    print("thinking", flush=True)
    await asyncio.sleep(1000)


def slow(message):
    time.sleep(1000)
"""


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A folder with agents, and nothing of the environment left."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES | AGENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "chat_agents.py").write_text(AGENTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    sys.modules.pop("chat_agents", None)


@pytest.fixture
def agent(here, monkeypatch):
    return lambda name: monkeypatch.setenv("AGENT", f"chat_agents:{name}")


def run(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(chat, list(arguments), input=typed)


def test_what_a_script_says_is_answered_on_stdout_and_nothing_else(here):
    result = run("--say", "hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "echo: hello\n", "")


@pytest.mark.parametrize("says", [[""], [" "], ["one", ""]], ids=["empty", "blank", "second"])
def test_a_script_that_says_nothing_is_told_so(here, says):
    result = run(*[part for text in says for part in ("--say", text)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "--say: there is nothing to say\n"


def test_who_says_it_and_where_is_for_the_caller_to_choose(agent):
    agent("plain")
    assert run("--say", "hi").stdout == "alice in private: hi\n"
    assert run("--say", "hi", "--as", "bob", "--group").stdout == "bob in group: hi\n"


def test_several_are_said_one_after_the_other(agent):
    agent("plain")
    result = run("--say", "one", "--say", "two")
    assert result.stdout == "alice in private: one\nalice in private: two\n"


def test_on_a_pipe_every_line_is_a_message(here):
    result = run(typed="one\n\n  two  \n")
    assert (result.exit_code, result.stdout) == (0, "echo: one\necho: two\n")


def test_pieces_are_one_text_and_other_replies_follow_it(agent):
    agent("stream")
    result = run("--say", "one two")
    assert result.stdout == "one two \n![](https://pictures.example/a.png)\n"


def test_a_stream_that_breaks_off_is_no_answer_to_a_script(agent):
    agent("breaking")
    result = run("--say", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("thinking\nno answer: agent_failed: the model is away\n")


def test_a_person_sees_pieces_as_they_come_and_their_names_once():
    out = io.StringIO()
    screen = Screen(out, out, is_terminal=True, quiet=False)

    screen.piece("one ")
    assert out.getvalue() == "bot> one "
    screen.note("thinking")
    screen.piece("two")
    screen.message("a moment")
    assert screen.end() == "one two"
    screen.piece("three\n")
    screen.drop()

    assert out.getvalue() == ("bot> one \n  … thinking\ntwo\nbot> a moment\nbot> three\n")


def test_each_reply_is_a_message_as_it_was_written(agent):
    agent("formatted")
    assert run("--say", "x").stdout == "# One\ntwo\n"


def test_silence_is_an_answer_of_nothing(agent):
    agent("silent")
    result = run("--say", "x")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no answer: the agent chose silence\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("failing", "agent_failed: the model is away"),
        ("broken", "agent_failed: ValueError"),
        ("odd", "agent_failed: returned int, which is neither text nor a reply"),
    ],
)
def test_what_failed_is_said_on_stderr_with_the_way_to_the_line(agent, name, why):
    agent(name)

    result = run("--say", "what alice wrote")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[0] == f"no answer: {why}"
    assert ("chat_agents.py" in result.stderr) == (name != "odd")
    assert "what alice wrote" not in result.stderr


def test_one_that_fails_does_not_keep_the_others(here, monkeypatch):
    monkeypatch.setenv("AGENT", "chat_agents:stopping")
    with (here / "chat_agents.py").open("a") as file:
        file.write("\ndef stopping(message):\n    return 1 / int(message.text) and 'well'\n")

    result = run("--say", "0", "--say", "1")

    assert (result.exit_code, result.stdout) == (1, "well\n")


def test_an_agent_that_takes_too_long_is_left(agent, monkeypatch):
    monkeypatch.setenv("AGENT_TIMEOUT_S", "0.2")
    agent("slow")

    result = run("--say", "x")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "no answer: agent_timeout: no reply within 0.2 s"


@pytest.mark.parametrize("retries", [1, 2])
def test_an_agent_is_run_again_as_often_as_it_may(agent, monkeypatch, retries):
    monkeypatch.setenv("AGENT_RETRIES", str(retries))
    agent("retrying")

    result = run("--say", "x")

    assert result.stderr.startswith("asks to be run again in 0 s: answered 503\n")
    if retries == 2:
        assert (result.exit_code, result.stdout) == (0, "at the 3rd run\n")
    else:
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no answer: agent_failed: answered 503\n" in result.stderr


def test_what_it_says_meanwhile_comes_first_and_what_it_does_is_told_beside(agent):
    agent("telling")
    result = run("--say", "x")
    assert (result.stdout, result.stderr) == ("a moment\nfound\n", "searching\n")


def test_files_go_with_the_first_message_as_copies(agent, here):
    agent("files")
    picture, report = here / "cat.png", here / "report.pdf"
    picture.write_bytes(b"12345")
    report.write_bytes(b"123")

    result = run("--say", "look", "--say", "more", "--file", str(picture), "--file", str(report))

    assert result.stdout == "picture cat.png 10, file report.pdf 6\n"
    assert picture.read_bytes() == b"12345"


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_machine_is_told_a_line_for_each_message(agent):
    agent("telling")

    first, second = rows(run("--json", "--say", "x", "--say", "y"))

    assert second.pop("seconds") >= 0
    assert second == {
        "message": "y",
        "outcome": "answered",
        "why": None,
        "replies": [{"kind": "text", "text": "a moment"}, {"kind": "text", "text": "found"}],
        "usage": [{"model": "small", "input_tokens": 3, "output_tokens": 4, "calls": 1}],
    }
    assert first["message"] == "x"


@pytest.mark.parametrize(
    ("name", "outcome", "code"), [("silent", "silent", 0), ("failing", "failed", 1)]
)
def test_a_machine_is_told_how_it_ended(agent, name, outcome, code):
    agent(name)
    result = run("--json", "--say", "x")
    assert (result.exit_code, rows(result)[0]["outcome"]) == (code, outcome)
    assert rows(result)[0]["replies"] == []


def test_what_was_said_is_remembered_as_far_as_the_agent_asks_and_new_forgets_it(agent):
    agent("remembering")

    result = run(typed="a\nb\nc\nd\n/new\ne\n")

    forgotten = words.FORGOTTEN.in_("both")
    assert result.stdout.splitlines() == [
        *("0 []", "2 ['a']", "4 ['a']", "4 ['b']"),
        *(forgotten, "0 []"),
    ]
    assert result.stderr == ""


def test_commands_are_known_as_people_write_them_and_left_to_the_agent_where_they_are_off(
    agent, monkeypatch
):
    agent("plain")
    assert run(typed="／Whoami\n").stdout.splitlines()[0].endswith(": alice")
    assert run(typed="/新会话\n").stdout == f"{words.NOTHING_TO_FORGET.zh}\n"
    monkeypatch.setenv("CHAT_COMMANDS", "off")
    assert run(typed="/new\n").stdout == "alice in private: /new\n"


def test_where_one_message_follows_the_other_there_is_none_to_stop(agent, monkeypatch):
    monkeypatch.setenv("BOT_LANGUAGE", "en")
    agent("plain")
    result = run("--say", "/stop", "--say", "/status")
    assert result.stdout.splitlines() == [words.NOTHING_TO_STOP.en, words.STATUS_NOTHING.en]


def test_a_machine_is_told_of_a_command_as_of_a_message(agent, monkeypatch):
    monkeypatch.setenv("BOT_LANGUAGE", "en")
    agent("plain")
    [row] = rows(run("--json", "--say", "/new"))
    assert (row["message"], row["outcome"]) == ("/new", "answered")
    assert row["replies"] == [{"kind": "text", "text": words.NOTHING_TO_FORGET.en}]


def test_commands_of_ones_own_run_in_the_place_of_the_agent(agent, here, monkeypatch):
    (here / "chat_commands_of_mine.py").write_text(
        "def left(message, context):\n"
        "    'Say what was said.'\n"
        "    return f'{message.text!r} {[each.text for each in context.history]}'\n"
        "def wrong(message):\n"
        "    return 1 / 0\n"
        "commands = {'/left': left, '/wrong': wrong}\n"
    )
    monkeypatch.setenv("COMMANDS", "chat_commands_of_mine:commands")
    agent("remembering")

    result = run(typed="a\n／Left over there\n/left\n/wrong\n/help\n")

    first, second, third, *rest = result.stdout.splitlines()
    assert (first, second) == ("0 []", "'over there' ['a', '0 []']")
    assert third.startswith("'' ['a', '0 []', '／Left over there', ")  # as in the chat
    assert "/left: Say what was said." in rest
    assert "no answer: agent_failed: ZeroDivisionError" in result.stderr
    sys.modules.pop("chat_commands_of_mine")


def test_commands_that_cannot_work_end_it_with_2(here, monkeypatch):
    monkeypatch.setenv("COMMANDS", "nowhere:commands")
    result = run("--say", "x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "COMMANDS='nowhere:commands': cannot import nowhere" in result.stderr


def test_how_much_is_remembered_is_for_the_operator_to_say(agent, monkeypatch):
    monkeypatch.setenv("HISTORY_TURNS", "1")
    agent("remembering")
    assert run(typed="a\nb\nc\n").stdout.splitlines() == ["0 []", "2 ['a']", "2 ['b']"]


def test_what_is_too_long_or_long_ago_is_left_out(agent, monkeypatch):
    agent("remembering")
    monkeypatch.setenv("HISTORY_TOKENS", "40")
    assert run(typed=f"{'a' * 400}\nb\nc\n").stdout.splitlines() == ["0 []", "0 []", "2 ['b']"]

    now = datetime(2026, 3, 1, tzinfo=UTC)
    memory = Remembering(turns=5, hours=2, tokens=None, clock=lambda: now)
    memory.add(envelope(text="hi"), [Text(content="hello")])
    memory.add(envelope(text="and?"), [])
    assert [each.text for each in memory.recalled()] == ["hi", "hello", "and?"]
    now += timedelta(hours=2)
    assert memory.recalled() == ()


def test_without_memory_nothing_is_remembered(agent):
    agent("plain")
    said = run(typed="hi\n/new\n").stdout.splitlines()
    assert said == ["alice in private: hi", words.NOTHING_TO_FORGET.in_("both")]


# What is wrong before anything is said.


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"AGENT": "nowhere:agent"}, "cannot load the agent: AGENT='nowhere:agent'"),
        ({"AGENT": "worker.agents.http:agent"}, "cannot load the agent: HTTP_AGENT_URL: Field"),
        ({"LATE_POLICY": "SECRET"}, "cannot read settings: LATE_POLICY: "),
    ],
)
def test_an_agent_or_settings_that_cannot_work_end_it_with_2(here, monkeypatch, variables, problem):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    result = run("--say", "x")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(problem)
    assert "SECRET" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--bot", "nobody"], "--bot nobody: there is one without a name"),
        (["--file", "nowhere.png"], "'nowhere.png' does not exist"),
        (["--through"], "--through: DINGTALK_OPENAPI_ENDPOINT names no simulated DingTalk of this"),
        (
            ["--through", "--file", "a.pdf"],
            "--file: in DingTalk only pictures come several at once",
        ),
    ],
    ids=["bot", "file", "through", "files through"],
)
def test_options_that_cannot_work_end_it_with_2(here, arguments, problem):
    (here / "a.pdf").write_bytes(b"1")
    result = run("--say", "x", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr.splitlines()[-1]


BOTS = [
    {"client_id": "one", "client_secret": "s", "agent": "chat_agents:plain"},
    {"client_id": "two", "client_secret": "s", "name": "sales", "agent": "chat_agents:formatted"},
]


@pytest.mark.parametrize(
    ("chosen", "answer"),
    [([], "alice in"), (["--bot", "two"], "# One"), (["--bot", "sales"], "# One")],
    ids=["first", "client id", "name"],
)
def test_of_several_bots_one_is_chosen(here, monkeypatch, chosen, answer):
    monkeypatch.setenv("DINGTALK_BOTS", json.dumps(BOTS))
    assert run("--say", "x", *chosen).stdout.startswith(answer)


def test_two_bots_with_one_agent_ask_each_its_own_server(here, monkeypatch):
    with running() as one, running() as two:
        one.answers({"reply": "one"})
        two.answers({"reply": "two"})
        bots = [
            {
                "client_id": name,
                "client_secret": "s",
                "agent": "worker.agents.http:agent",
                "agent_settings": {"url": server.url, "headers": {"X-Bot": name}},
            }
            for name, server in (("first", one), ("second", two))
        ]
        monkeypatch.setenv("DINGTALK_BOTS", json.dumps(bots))

        assert run("--say", "x").stdout == "one\n"
        assert run("--say", "x", "--bot", "second").stdout == "two\n"
    assert [each.headers["X-Bot"] for each in (*one.seen, *two.seen)] == ["first", "second"]


def test_the_agent_is_started_before_it_is_asked_and_shut_down_at_the_end(here, monkeypatch):
    (here / "started.py").write_text(
        "import click\n"
        "def startup(): click.echo('up', err=True)\n"
        "def shutdown(): click.echo('down', err=True)\n"
        "def answer(message): click.echo('asked', err=True)\n"
    )
    monkeypatch.setenv("AGENT", "started:answer")

    result = run("--say", "x")

    assert result.stderr.splitlines() == [
        "up",
        "asked",
        "no answer: the agent chose silence",
        "down",
    ]


def test_a_simulator_that_is_not_there_ends_it_with_1(here, monkeypatch):
    monkeypatch.setenv("DINGTALK_OPENAPI_ENDPOINT", "http://127.0.0.1:1")

    result = run("--through", "--say", "x")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "cannot reach a simulated DingTalk at http://127.0.0.1:1: no connection\n"
    )


def test_something_else_that_answers_there_is_no_simulator(here, monkeypatch):
    with running() as server:
        for body in ("<html>", {"hello": 1}, [1]):
            server.answers(body)
            monkeypatch.setenv("DINGTALK_OPENAPI_ENDPOINT", server.url)
            result = run("--through", "--say", "x")
            assert (result.exit_code, result.stdout) == (1, "")
            assert "what answers there is no simulated DingTalk" in result.stderr


@pytest.fixture
def simulator(here, monkeypatch):
    with SimulatorThread() as running:
        monkeypatch.setenv("DINGTALK_OPENAPI_ENDPOINT", running.endpoint)
        yield running


def test_a_simulator_that_no_listener_is_connected_to_gives_no_answer(here, simulator, monkeypatch):
    store = SqlStore(f"sqlite:///{here}/chat.db")
    store.prepare()
    store.close()
    monkeypatch.setenv("STORE_URL", f"sqlite:///{here}/chat.db")

    result = run("--through", "--say", "x", "--as", "zoe")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == ("no answer: no listener is connected to the simulated DingTalk\n")
    assert [(each.person, each.text) for each in simulator.messages] == [("zoe", "x")]


def test_where_workers_have_never_been_it_says_so(here, simulator):
    result = run("--through", "--say", "x")
    assert result.exit_code == 1
    assert "nothing was ever remembered here" in result.stderr


class SomeChat:
    """A simulator in which everything goes well, and the bot says nothing."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str, files: Any = ()) -> Written:
        self.said.append(text)
        return Written("m1", "cid1", 0, is_lost=False)

    def news(self, since: Written) -> list[tuple[str, str]]:
        return []

    def cards(self, since: Written) -> dict[str, str]:
        return {}


class SomeStore:
    """Tells ``story`` of every message."""

    def __init__(self, *story: Any) -> None:
        self._story = iter(story)

    def story(self, id_: str) -> Any:
        return next(self._story)


def asked(chat: SomeChat, store: SomeStore, pause: Any = lambda _: None, **more: Any) -> Told:
    screen = Screen(io.StringIO(), io.StringIO(), is_terminal=False, quiet=False)
    through = Through(
        cast("SimulatedChat", chat),
        store=cast("Store", store),
        screen=screen,
        pause=pause,
        **{"limit_s": 60, **more},
    )
    return through.ask("hello", [])


def story(outcome: str | None, **facts: Any) -> Story:
    steps = (Step("received"), Step("finished", facts)) if outcome else (Step("received"),)
    return Story("t1", "done" if outcome else "running", outcome, None, steps)


def test_ctrl_c_has_the_bot_stop_and_is_waited_for():
    chat, interrupts = SomeChat(), iter([True, False])

    def pause(_: float) -> None:
        if next(interrupts):
            raise KeyboardInterrupt

    told = asked(chat, SomeStore(None, story(None), story("CANCELLED", detail="by alice")), pause)

    assert chat.said == ["hello", "/stop"]
    assert (told.end, told.why) == ("stopped", "CANCELLED: by alice")


def test_ctrl_c_before_there_is_an_answer_ends_the_message_and_not_the_conversation():
    class Slow(SomeChat):
        def say(self, text: str, files: Any = ()) -> Written:
            if text == "one":
                raise KeyboardInterrupt
            return super().say(text, files)

    out = io.StringIO()
    screen = Screen(out, out, is_terminal=False, quiet=False)
    through = Through(
        cast("SimulatedChat", Slow()),
        store=cast("Store", SomeStore(story("SUCCESS"))),
        screen=screen,
        limit_s=60,
    )
    session = Session(through, screen, as_json=False)

    session.lead(["one", "two"])

    assert out.getvalue().splitlines() == [
        "no answer: not waited for any longer",
        "no answer: the agent chose silence",
    ]
    assert not session.is_well


def test_a_second_ctrl_c_leaves_it():
    def pause(_: float) -> None:
        raise KeyboardInterrupt

    told = asked(SomeChat(), SomeStore(None, None), pause)

    assert (told.end, told.why) == ("stopped", "not waited for any longer")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "no worker took the message within 0 s: may this person write, and is all well?"),
        (story(None), "not done within 0 s: `celery -A worker trace t1` tells more"),
    ],
    ids=["not taken", "not done"],
)
def test_what_takes_too_long_is_said_with_where_to_look(found, why):
    told = asked(SomeChat(), SomeStore(found), limit_s=0)
    assert told.end == "failed"
    assert told.why.startswith(why)


# In processes of its own, as it is typed.


def started(*arguments: str, folder: Path, **options: Any) -> "subprocess.Popen[bytes]":
    command = "from worker.commands.chat import chat; chat()"
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", **options.pop("env", {})},
        **options,
    )


def test_at_a_terminal_the_answer_is_stopped_by_ctrl_c_and_the_conversation_by_ctrl_d(here):
    main, side = pty.openpty()
    process = started(folder=here, stdin=side, stdout=side, stderr=side, start_new_session=True,
                      env={"AGENT": "chat_agents:waiting"}, preexec_fn=_own_terminal)  # fmt: skip
    os.close(side)
    seen = b""

    def shows(text: str) -> bool:
        nonlocal seen
        try:
            seen += os.read(main, 4096)
        except OSError:
            return True  # the end
        return text.encode() in seen

    def types(text: str) -> None:
        os.write(main, text.encode())

    try:
        wait_for(lambda: shows("you> "), what="the prompt")
        types("hello\n")
        wait_for(lambda: shows("thinking"), what="the agent to run")
        seen = b""
        types("\x03")
        wait_for(lambda: shows("you> "), what="the next prompt")
        assert b"no answer: stopped" in seen
        types("\x04")
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_help_on_the_page_is_what_the_command_says():
    shown = CliRunner().invoke(chat, ["--help"], prog_name="celery chat", terminal_width=80)
    [on_page] = re.findall(r"\$ celery -A worker chat --help\n(.*?)```", PAGE, re.DOTALL)
    assert on_page == shown.output
