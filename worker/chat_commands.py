"""What people can tell the bot itself by a command in the chat; the agent never sees these.

Asked by ``worker/answering.py`` before the agent, and by the lane of commands that overtake
(``worker/running/command_parts.py``). What a built-in command answers is kept and delivered like
any other answer; a command of one's own runs in the place of the agent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from contract.commands import NAMES, BuiltIn, is_command_alone, name_and_words, normal
from contract.envelope import Conversation, Earlier, Envelope
from worker import words
from worker.bots import Bots, Runner, UnknownBotError
from worker.own_commands import LoadedCommand, OwnCommands
from worker.stopping import ConversationStatus, OpenMessage, Stopped
from worker.thinking.still_working import how_long
from worker.words import Language, Phrase, Voice

__all__ = ["ChatCommands", "Command"]

_HELP: dict[BuiltIn, tuple[str, Phrase]] = {
    BuiltIn.HELP: ("/帮助", words.HELP_HELP),
    BuiltIn.NEW: ("/新对话", words.HELP_NEW),
    BuiltIn.STOP: ("/停止", words.HELP_STOP),
    BuiltIn.STATUS: ("/状态", words.HELP_STATUS),
    BuiltIn.WHOAMI: ("/我是谁", words.HELP_WHOAMI),
}
"""The Chinese name that people are told of, and what the command does."""

# Of one person's messages, /status tells of so many.
_TOLD = 5


class Memory(Protocol):
    """The part of :class:`worker.memory.Memory` that is used here."""

    def forget(self, envelope: Envelope) -> int:
        """Forget what was said before a message; return how many turns that were."""


class Stopping(Protocol):
    """The part of :class:`worker.stopping.Stopping` that is used here."""

    def stop(self, envelope: Envelope) -> Stopped:
        """Stop what is unfinished in a conversation, and was written before a message."""

    def status(self, envelope: Envelope) -> ConversationStatus:
        """Return what is unfinished in the conversation of a message."""


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

    def __init__(
        self,
        bots: Bots,
        *,
        stopping: Stopping,
        memory: Memory | None = None,
        own: OwnCommands | None = None,
    ) -> None:
        """Prepare.

        Args:
            bots: Say whether the built-in ones are on.
            stopping: Stops what is unfinished in a conversation, and knows what is.
            memory: What was said before; None where nobody is to forget it.
            own: The bots' own; none, if left out.
        """
        self._bots, self._own = bots, own
        self._stopping, self._memory = stopping, memory
        self._does: dict[BuiltIn, Callable[[Envelope, Language], str]] = {
            BuiltIn.HELP: self._help,
            BuiltIn.NEW: self._new,
            BuiltIn.STOP: self._stop,
            BuiltIn.STATUS: self._status,
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
        if built_in is None or not self._is_on(envelope):
            return None
        return Command(built_in.value, built_in)

    def begun_anew(self, envelope: Envelope) -> Envelope:
        """Return what a message says behind the last ``/new`` that was merged into its turn.

        What was said before that is forgotten; a message without one is left as it is.
        """
        turn: tuple[Earlier | Envelope, ...] = (*envelope.earlier, envelope)
        found = [number for number, each in enumerate(turn) if self._is_new(each, envelope)]
        if not found or not envelope.earlier:
            return envelope
        behind = envelope.earlier[found[-1] + 1 :]
        if turn[found[-1]] is not envelope and self._memory is not None:
            self._memory.forget(envelope)
        return envelope.model_copy(update={"earlier": behind})

    def _is_new(self, part: Earlier | Envelope, envelope: Envelope) -> bool:
        name = normal(part.text)
        if part.attachments or NAMES.get(name) is not BuiltIn.NEW or not self._is_on(envelope):
            return False
        return self._own is None or not any(name in its.names for its in self._own.of(envelope))

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

    def _new(self, envelope: Envelope, language: Language) -> str:
        forgotten = self._memory is not None and self._memory.forget(envelope) > 0
        return (words.FORGOTTEN if forgotten else words.NOTHING_TO_FORGET).in_(language)

    def _stop(self, envelope: Envelope, language: Language) -> str:
        stopped = self._stopping.stop(envelope)
        if not (stopped.running or stopped.waiting):
            return words.NOTHING_TO_STOP.in_(language)
        return words.STOPPED.in_(language, running=stopped.running, waiting=stopped.waiting)

    def _status(self, envelope: Envelope, language: Language) -> str:
        """Tell of the person's own messages; of those of others no more than how many there are."""
        open_ = self._stopping.status(envelope).messages
        own = [each for each in open_ if each.is_own]
        lines = [_how_far(each, language) for each in own[:_TOLD]]
        if not own:
            lines.append(words.STATUS_NOTHING.in_(language))
        if len(own) > _TOLD:
            lines.append(words.STATUS_MORE.in_(language, count=len(own) - _TOLD))
        if len(open_) > len(own):
            lines.append(words.STATUS_OTHERS.in_(language, count=len(open_) - len(own)))
        return "\n".join(lines)


def _how_far(message: OpenMessage, language: Language) -> str:
    if message.running_s is None:
        return words.STATUS_WAITING.in_(language, position=message.position)
    return words.STATUS_RUNNING.in_(language, how_long=how_long(message.running_s))


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
