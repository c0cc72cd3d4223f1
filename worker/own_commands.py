"""A bot's own commands, which ``COMMANDS`` names: loaded at start, judged, and run like agents.

``worker/running/process.py`` loads them once to refuse what could never work; ``worker/wiring.py``
builds what runs them, in each process that works.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract.commands import NAMES, normal
from contract.envelope import Envelope
from worker.agents.agent_settings import AgentSettings
from worker.agents.base import AgentLoadError, load_object
from worker.agents.commands import Commands, OwnCommand
from worker.agents.shape import NotAnAgentError, shape_of
from worker.bots import Bots, Runner, UnknownBotError
from worker.settings import WorkerSettings

__all__ = ["Loaded", "LoadedCommand", "OwnCommands", "judged", "load_commands"]

_VARIABLE = "COMMANDS"


@dataclass(frozen=True)
class LoadedCommand:
    """A command that can be called; ``names`` as they are compared."""

    command: OwnCommand
    names: tuple[str, ...]
    settings: AgentSettings | None = field(default=None, repr=False)


Loaded = Mapping[str, Sequence[LoadedCommand]]
"""The commands by ``module:name`` of where they are."""


def load_commands(settings: WorkerSettings) -> dict[str, tuple[LoadedCommand, ...]]:
    """Import the commands of all bots.

    Raises:
        AgentLoadError: Naming all that is wrong with them.
        AgentSettingsError: The settings of one are wrong.
    """
    found, faults = dict[str, tuple[LoadedCommand, ...]](), []
    for spec in dict.fromkeys(bot.commands for bot in settings.of_bots):
        try:
            if spec:
                found[spec] = judged(spec, load_object(_VARIABLE, spec))
        except AgentLoadError as error:
            faults.append(str(error))
    if faults:
        raise AgentLoadError("\n".join(faults))
    return found


def judged(spec: str, named: Any) -> tuple[LoadedCommand, ...]:
    """Return the commands in what ``COMMANDS`` names.

    Raises:
        AgentLoadError: As :func:`load_commands`.
    """
    if isinstance(named, Mapping):
        named = Commands.of(named)
    if not isinstance(named, Commands):
        raise AgentLoadError(
            f"{_VARIABLE}={spec!r} is a {type(named).__name__}: name a mapping from names to "
            "callables, or worker.agents.Commands"
        )
    commands = list(named)
    faults = [*_faults(commands), *_twice(commands)]
    if faults:
        raise AgentLoadError("\n".join(f"{_VARIABLE}={spec!r}: {fault}" for fault in faults))
    return tuple(_loaded(command) for command in commands)


def _loaded(command: OwnCommand) -> LoadedCommand:
    its = shape_of(command.call).settings
    names = tuple(normal(name) for name in command.names)
    return LoadedCommand(command, names, its.load() if its is not None else None)


def _faults(commands: Sequence[OwnCommand]) -> Iterator[str]:
    if not commands:
        yield "there is no command in it"
    for command in commands:
        if not command.names:
            yield f"{_called(command)} has no name"
        for name in command.names:
            if fault := _fault(name, command):
                yield fault
        yield from _of_call(command)


def _fault(name: object, command: OwnCommand) -> str:
    """Return what is wrong with a name; empty when nothing is."""
    if not isinstance(name, str):
        return f"a name is a text, not a {type(name).__name__}"
    compared = normal(name)
    if not compared.startswith("/") or compared == "/":
        return f"{name!r} must begin with / and go on"
    if len(compared.split()) > 1:
        return f"{name!r} must have no blanks: what stands behind the name is for the command"
    if compared in NAMES and not command.replaces:
        return f"{name!r} is a command of the bot itself: name it otherwise, or say replaces=True"
    return ""


def _of_call(command: OwnCommand) -> Iterator[str]:
    try:
        shape = shape_of(command.call)
    except NotAnAgentError as error:
        yield f"{_called(command)} {error}"
        return
    if shape.is_class:
        yield f"{_called(command)} is a class: name an instance or a function"
    elif shape.settings is not None and not shape.settings.model_config.get("env_prefix"):
        yield f"{_called(command)}: {shape.settings.__name__} has no prefix"


def _called(command: OwnCommand) -> str:
    return ", ".join(map(str, command.names)) or getattr(command.call, "__name__", "a command")


def _twice(commands: Sequence[OwnCommand]) -> Iterator[str]:
    names = [normal(name) for each in commands for name in each.names if isinstance(name, str)]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"two commands have the name {name!r}"


class OwnCommands:
    """The commands of all bots; shared by the threads of a process."""

    def __init__(
        self,
        bots: Bots,
        loaded: Loaded,
        *,
        runner: Callable[[Any, AgentSettings | None], Runner] | None = None,
    ) -> None:
        """Prepare.

        Args:
            bots: Say which are whose.
            loaded: From :func:`load_commands`.
            runner: Makes what runs one, of what is called and its settings; None where none is run.
        """
        self._bots, self._loaded = bots, loaded
        self._runners = {
            (spec, number): runner(each.command.call, each.settings)
            for spec, commands in loaded.items()
            for number, each in enumerate(commands)
            if runner is not None
        }

    def of(self, envelope: Envelope) -> Sequence[LoadedCommand]:
        """Return the commands of the bot that a message was written to."""
        return self._loaded.get(self._spec(envelope), ())

    def runner_of(self, envelope: Envelope, command: LoadedCommand) -> Runner:
        """Return what runs a command that is from :meth:`of`."""
        return self._runners[self._spec(envelope), list(self.of(envelope)).index(command)]

    def cancel_all(self) -> None:
        """End what can be ended; for a process that must end."""
        for runner in self._runners.values():
            runner.cancel_all()

    def _spec(self, envelope: Envelope) -> str:
        try:
            return self._bots.of(envelope).settings.commands or ""
        except UnknownBotError:
            return ""
