"""What people can ask the bot itself by a command in the chat; the agent never sees these.

Asked by ``worker/answering.py`` before the agent. The answer is kept and delivered like any other,
in its turn. One line in ``COMMANDS`` for each name of a command.
"""

from collections.abc import Callable, Mapping

from contract.envelope import Conversation, Envelope
from worker import words
from worker.words import Language, Phrase

__all__ = ["COMMANDS", "ChatCommands", "Command"]

Command = Callable[[Envelope, Language], str]
"""Returns the answer to a message that is nothing but the command."""


def whoami(envelope: Envelope, language: Language) -> str:
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


COMMANDS: Mapping[str, Command] = {"/whoami": whoami, "/我是谁": whoami}


class ChatCommands:
    """Knows which messages are commands; without state."""

    def __init__(self, commands: Mapping[str, Command] = COMMANDS) -> None:
        """Prepare; with none, every message is for the agent."""
        self._commands = commands

    def command_in(self, envelope: Envelope) -> str | None:
        """Return the command a message consists of; None when it is for the agent."""
        if envelope.earlier or envelope.attachments:
            return None
        name = envelope.text.strip().casefold()
        return name if name in self._commands else None

    def answer(self, command: str, envelope: Envelope, language: Language) -> str:
        """Return what the bot says; ``command`` is from :meth:`command_in`."""
        return self._commands[command](envelope, language)
