"""``celery -A worker chat``: talk to the agent in the terminal, or let a script do so.

Registered as a Celery sub-command in ``pyproject.toml``. Exit 0; 1 when a message got no answer, or
the simulator or the store cannot be reached; 2 for settings, the agent and options.
"""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import click

from contract import log
from dingwire.http import is_loopback
from dingwire.simulated import NotSimulatedError, SimulatedChat, kind_of
from worker.agents.base import AgentLoadError
from worker.agents.hooks import Hooks
from worker.agents.loop import AgentLoop
from worker.agents.runner import AgentRunner
from worker.bots import BotParts, Bots, load_agents
from worker.chat_commands import ChatCommands
from worker.chatting.direct import Direct, NothingWaits, Person
from worker.chatting.remembering import Remembering
from worker.chatting.screen import Screen
from worker.chatting.session import Session, typed
from worker.chatting.through import Through
from worker.chatting.told import Partner
from worker.commands.opening import fail, opened, read_settings
from worker.own_commands import OwnCommands, load_commands
from worker.settings import WorkerSettings
from worker.wiring import clock

__all__ = ["chat"]

# A message may wait for others, and be sent, beside the time that its agent takes.
_BESIDE_AGENT_S = 30.0


@click.command("chat")
@click.option(
    "--say",
    "says",
    metavar="TEXT",
    multiple=True,
    help="Say this, print the reply and end; may be given again.",
)
@click.option(
    "--file",
    "files",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    multiple=True,
    help="Goes with the first message; may be given again.",
)
@click.option(
    "--through",
    is_flag=True,
    help="Through listener, broker and workers, by a simulated DingTalk.",
)
@click.option(
    "--as", "name", metavar="NAME", default="alice", show_default=True, help="Who says it."
)
@click.option("--group", "is_group", is_flag=True, help="In a group, not in private.")
@click.option("--bot", "label", metavar="NAME", help="Which bot, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="For machines: a line for each message.")
def chat(
    says: tuple[str, ...],
    files: tuple[Path, ...],
    through: bool,
    name: str,
    is_group: bool,
    label: str | None,
    as_json: bool,
) -> None:
    """Talk to the agent, without DingTalk.

    A line is a message; Ctrl-C stops the answer, Ctrl-D ends, /help names the bot's commands. On a
    pipe every line is said.

    The agent runs in this process: no broker, no worker and no store is needed. With --through
    everything is: DINGTALK_OPENAPI_ENDPOINT names the simulated DingTalk, as beside `make run`.
    """
    if any(not text.strip() for text in says[1 if files else 0 :]):
        _refuse("--say: there is nothing to say")
    settings = read_settings()
    number = _number_of(settings, label)
    is_terminal = not says and sys.stdin.isatty() and sys.stdout.isatty()
    is_logging = "log_level" in settings.model_fields_set
    log.configure(settings.log_level if is_logging else "WARNING", settings.log_format)
    screen = Screen(sys.stdout, sys.stderr, is_terminal=is_terminal, quiet=as_json)
    person = Person(name, is_group=is_group)
    if through:
        _check_files(says, files)
        opening = _through(settings, number, person, screen, is_named=label is not None)
    else:
        opening = _direct(settings, number, person, screen)
    with opening as partner:
        session = Session(partner, screen, as_json=as_json)
        session.lead(says or typed(sys.stdin, is_terminal=is_terminal), files)
    if not session.is_well and not is_terminal:
        sys.exit(1)


def _number_of(settings: WorkerSettings, label: str | None) -> int:
    """Return which of the bots is meant."""
    bots = settings.of_bots
    names = [(bot.label, bot.client_id) for bot in bots]
    found = [number for number, known in enumerate(names) if label is None or label in known]
    if not found:
        known = ", ".join(bot.label for bot in bots if bot.label) or "one without a name"
        _refuse(f"--bot {label}: there is {known}")
    return found[0]


@contextmanager
def _direct(
    settings: WorkerSettings, number: int, person: Person, screen: Screen
) -> Iterator[Partner]:
    try:
        loaded, loop = load_agents(settings)[number], AgentLoop()
        agent = loaded.build()
        runner = AgentRunner(agent, settings=loaded.settings, loop=loop)
        hooks = Hooks([(loaded, agent)], loop)
        bot = settings.of_bots[number]
        parts = BotParts(bot, runner, openapi=None)
        bots = Bots([parts], default=parts)
        own = OwnCommands(
            bots,
            load_commands(bot),
            runner=lambda call, its: AgentRunner(call, settings=its, loop=loop),
        )
        hooks.start()
    except AgentLoadError as error:
        _refuse(*(f"cannot load the agent: {line}" for line in str(error).splitlines()))
    asked = bot.history_turns
    memory = Remembering(
        turns=runner.history_turns if asked is None else asked,
        hours=bot.history_hours,
        tokens=runner.history_tokens if bot.history_tokens is None else bot.history_tokens,
        clock=clock,
    )
    direct = Direct(
        runner,
        commands=ChatCommands(bots, stopping=NothingWaits(), memory=memory, own=own),
        memory=memory,
        language_of=bots.language_of,
        person=person,
        bot=bot.robot or "chat",
        screen=screen,
        limit_s=bot.agent_timeout_s,
        retries=bot.agent_retries,
        clock=clock,
    )
    try:
        with closing(direct):
            yield direct
    finally:
        own.cancel_all()
        hooks.stop()


@contextmanager
def _through(
    settings: WorkerSettings, number: int, person: Person, screen: Screen, *, is_named: bool
) -> Iterator[Partner]:
    bot, endpoint = settings.of_bots[number], settings.openapi_endpoint
    if not is_loopback(urlsplit(endpoint).hostname or ""):
        _refuse(
            "--through: DINGTALK_OPENAPI_ENDPOINT names no simulated DingTalk of this machine: "
            "beside `make run` it is set by `. .data/simulated.env`"
        )
    simulated = SimulatedChat(
        endpoint,
        person=person.name,
        is_group=person.is_group,
        to=bot.client_id if is_named else None,
    )
    with closing(simulated):
        try:
            simulated.check()
        except NotSimulatedError as error:
            fail(f"cannot reach a simulated DingTalk at {endpoint}: {error}")
        with opened(settings) as store:
            limit_s = bot.agent_timeout_s + _BESIDE_AGENT_S
            yield Through(simulated, store=store, screen=screen, limit_s=limit_s)


def _check_files(says: tuple[str, ...], files: tuple[Path, ...]) -> None:
    try:
        kind_of(says[0] if says else "", files)
    except ValueError as error:
        _refuse(f"--file: {error}")


def _refuse(*lines: str) -> NoReturn:
    """Say why, and end with 2."""
    for line in lines:
        click.echo(line, err=True)
    sys.exit(2)
