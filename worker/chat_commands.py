"""What people can tell the bot itself by a command in the chat; the agent never sees these.

Asked by ``worker/answering.py`` before the agent, and by the lane of commands that overtake
(``worker/running/command_parts.py``). The answer is kept and delivered like any other. One line in
:meth:`ChatCommands.__init__` for each command.
"""

from collections.abc import Callable
from dataclasses import dataclass

from contract.commands import NAMES, BuiltIn, is_command_alone, normal
from contract.envelope import Conversation, Envelope
from worker import words
from worker.words import Language, Phrase

__all__ = ["ChatCommands", "Command"]

_HELP: dict[BuiltIn, tuple[str, Phrase]] = {
    BuiltIn.HELP: ("/帮助", words.HELP_HELP),
    BuiltIn.WHOAMI: ("/我是谁", words.HELP_WHOAMI),
}
"""The Chinese name that people are told of, and what the command does."""


@dataclass(frozen=True)
class Command:
    """A command that was found in a message."""

    name: str
    built_in: BuiltIn


class ChatCommands:
    """Knows which messages are commands, and obeys those of the bot itself."""

    def __init__(self) -> None:
        self._does: dict[BuiltIn, Callable[[Envelope, Language], str]] = {
            BuiltIn.HELP: self._help,
            BuiltIn.WHOAMI: _whoami,
        }

    def find(self, envelope: Envelope) -> Command | None:
        """Return the command that a message is; None when it is for the agent."""
        if not is_command_alone(envelope):
            return None
        built_in = NAMES.get(normal(envelope.text))
        if built_in is None or built_in not in self._does:
            return None
        return Command(built_in.value, built_in)

    def obey(self, command: BuiltIn, envelope: Envelope, language: Language) -> str:
        """Do what a command says, and return what the bot answers."""
        return self._does[command](envelope, language)

    def _help(self, _: Envelope, language: Language) -> str:
        lines = [words.HELP_INTRODUCTION.in_(language)]
        for command in self._does:
            chinese, phrase = _HELP[command]
            name = Phrase(chinese, command.value, f"{command.value} {chinese}")
            lines.append(f"{name.in_(language)}: {phrase.in_(language)}")
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
