"""What people can tell the bot itself by a command in the chat; the agent never sees these.

Asked by ``worker/answering.py`` before the agent, and by the lane of commands that overtake
(``worker/running/command_parts.py``). What a built-in command answers is kept and delivered like
any other answer; a command of one's own runs in the place of the agent.
"""

from collections.abc import Callable
from dataclasses import dataclass

from contract.commands import NAMES, BuiltIn, is_command_alone, name_and_words, normal
from contract.envelope import Conversation, Envelope
from worker import words
from worker.bots import Bots, Runner, UnknownBotError
from worker.own_commands import LoadedCommand, OwnCommands
from worker.words import Language, Phrase, Voice

__all__ = ["ChatCommands", "Command"]

_HELP: dict[BuiltIn, tuple[str, Phrase]] = {
    BuiltIn.HELP: ("/帮助", words.HELP_HELP),
    BuiltIn.WHOAMI: ("/我是谁", words.HELP_WHOAMI),
}
"""The Chinese name that people are told of, and what the command does."""


@dataclass(frozen=True)
class Command:
    """A command that was found in a message: a built-in one, or one of the bot's own.

    ``words`` is what stands behind the name of one's own.
    """

    name: str
    built_in: BuiltIn | None = None
    own: LoadedCommand | None = None
    words: str = ""


class ChatCommands:
    """Knows which messages are commands, and obeys those of the bot itself."""

    def __init__(self, bots: Bots, own: OwnCommands | None = None) -> None:
        """Prepare.

        Args:
            bots: Say whether the built-in ones are on.
            own: The bots' own; none, if left out.
        """
        self._bots, self._own = bots, own
        self._does: dict[BuiltIn, Callable[[Envelope, Language], str]] = {
            BuiltIn.HELP: self._help,
            BuiltIn.WHOAMI: _whoami,
        }

    def find(self, envelope: Envelope) -> Command | None:
        """Return the command that a message is; None when it is for the agent."""
        if envelope.earlier or envelope.error_code is not None:
            return None
        own = self._own_in(envelope)
        if own is not None:
            return own
        built_in = NAMES.get(normal(envelope.text)) if is_command_alone(envelope) else None
        if built_in is None or built_in not in self._does or not self._is_on(envelope):
            return None
        return Command(built_in.value, built_in)

    def _own_in(self, envelope: Envelope) -> Command | None:
        if self._own is None:
            return None
        name, rest = name_and_words(envelope.text)
        for command in self._own.of(envelope):
            if name in command.names:
                return Command(command.names[0], own=command, words=rest)
        return None

    def _is_on(self, envelope: Envelope) -> bool:
        try:
            return self._bots.of(envelope).settings.chat_commands
        except UnknownBotError:
            return False

    def runner_of(self, envelope: Envelope, command: Command) -> Runner:
        """Return what runs a command of the bot's own."""
        assert self._own is not None and command.own is not None  # noqa: S101, PT018, it was found
        return self._own.runner_of(envelope, command.own)

    def obey(self, command: BuiltIn, envelope: Envelope, language: Language) -> str:
        """Do what a built-in command says, and return what the bot answers."""
        return self._does[command](envelope, language)

    def _help(self, envelope: Envelope, language: Language) -> str:
        own = self._own.of(envelope) if self._own is not None else ()
        taken = {name for each in own for name in each.names}
        lines = [words.HELP_INTRODUCTION.in_(language)]
        built_in = (
            [each for each in self._does if each not in taken] if self._is_on(envelope) else []
        )
        for command in built_in:
            chinese, phrase = _HELP[command]
            name = Phrase(chinese, command.value, f"{command.value} {chinese}")
            lines.append(f"{name.in_(language)}: {phrase.in_(language)}")
        spoken = language.spoken if isinstance(language, Voice) else language
        for each in own:
            names, purpose = ", ".join(each.command.names), each.command.help_in(spoken)
            lines.append(f"{names}: {purpose}" if purpose else names)
        return "\n".join(lines)


def _whoami(envelope: Envelope, language: Language) -> str:
    """Say what a list of allowed people or groups has to hold."""
    is_group = envelope.conversation is Conversation.GROUP
    where = (words.GROUP if is_group else words.PRIVATE).in_(language)
    unknown = words.NOT_KNOWN.in_(language)
    facts: list[tuple[Phrase, str]] = [
        (words.NICK, envelope.sender_nick or unknown),
        (words.STAFF_ID, envelope.sender_staff_id or unknown),
        (words.CONVERSATION_ID, f"{envelope.conversation_id or unknown} ({where})"),
    ]
    return "\n".join(f"{name.in_(language)}: {value}" for name, value in facts)
