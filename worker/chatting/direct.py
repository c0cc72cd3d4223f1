"""Asks the agent itself, as a worker would: no broker, no store, no DingTalk.

The commands are those of the bot, and the memory (``remembering.py``) is that of this conversation.
"""

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from contract.content import Attachment
from contract.envelope import Conversation, Envelope
from dingwire.replies import Reply
from worker.agents.attachments import Fetch
from worker.agents.base import Message
from worker.agents.cancelling import AgentStoppedError, Cancellation
from worker.agents.context import Context, Usage
from worker.agents.results import replies_of
from worker.agents.runner import (
    AgentCancelledError,
    AgentFailedError,
    AgentRetryError,
    AgentTimeoutError,
)
from worker.bots import Runner
from worker.chat_commands import ChatCommands
from worker.chatting.remembering import Remembering
from worker.chatting.screen import Screen
from worker.chatting.told import End, Said, Told, said_by
from worker.stopping import ConversationStatus, Stopped
from worker.words import Language

__all__ = ["Direct", "NothingWaits", "Person"]

_WEBHOOK_LIFE = timedelta(minutes=90)
_KINDS = {
    "picture": {"bmp", "gif", "jpeg", "jpg", "png", "webp"},
    "audio": {"amr", "m4a", "mp3", "ogg", "wav"},
    "video": {"mov", "mp4"},
}


class Person:
    """Who writes, and where."""

    def __init__(self, name: str, *, is_group: bool) -> None:
        """Prepare; ``name`` is nick and staff id."""
        self.name, self.is_group = name, is_group


class NothingWaits:
    """What is unfinished here: nothing, as the next message is written when one is done."""

    def stop(self, envelope: Envelope) -> Stopped:
        """Return that none was stopped."""
        return Stopped(running=0, waiting=0)

    def status(self, envelope: Envelope) -> ConversationStatus:
        """Return that there is none."""
        return ConversationStatus(())


@dataclass(frozen=True)
class _Turn:
    """A message that is answered, as it was written and as what answers it is given it."""

    envelope: Envelope
    message: Message
    runner: Runner


class Direct:
    """A conversation with an agent of this process."""

    def __init__(
        self,
        runner: Runner,
        *,
        commands: ChatCommands,
        memory: Remembering,
        language_of: Callable[[Envelope], Language],
        person: Person,
        bot: str,
        screen: Screen,
        limit_s: float,
        retries: int,
        clock: Callable[[], datetime],
    ) -> None:
        """Prepare.

        Args:
            runner: Of the agent.
            commands: The bot's, built in and its own.
            memory: Of this conversation.
            language_of: In what the bot speaks of its own accord.
            person: Who writes.
            bot: What messages call the bot.
            screen: Shows what comes.
            limit_s: Longest an answer may take.
            retries: So often an agent may ask to be run again.
            clock: Ours, aware UTC.
        """
        self._runner, self._person, self._bot = runner, person, bot
        self._screen, self._limit_s, self._clock = screen, limit_s, clock
        self._commands, self._memory, self._language_of = commands, memory, language_of
        self._retries = retries

    def close(self) -> None:
        """End what still runs."""
        self._runner.cancel_all()

    def ask(self, text: str, files: Sequence[Path]) -> Told:
        """Obey a command, or run the agent; a KeyboardInterrupt stops it."""
        with tempfile.TemporaryDirectory(prefix="celery-dingtalk-") as folder:
            envelope, fetch = self._written(text, files, Path(folder))
            command = self._commands.find(envelope)
            if command is not None and command.built_in is not None:
                words = self._commands.obey(command.built_in, envelope, self._language_of(envelope))
                self._screen.message(words)
                return Told(End.ANSWERED, [Said("text", words)])
            message, runner = Message.of(envelope, fetch), self._runner
            if command is not None:
                message = replace(message, text=command.words)
                runner = self._commands.runner_of(envelope, command)
            return self._answered(_Turn(envelope, message, runner))

    def _answered(self, turn: _Turn) -> Told:
        cancellation, told = Cancellation(), Future[Told]()

        def run() -> None:
            try:
                told.set_result(self._run(turn, cancellation))
            except BaseException as error:  # noqa: BLE001, it is raised where it is waited for
                told.set_exception(error)

        # In the main thread Ctrl-C could strike anywhere in the runner.
        threading.Thread(target=run, name="chat", daemon=True).start()
        while True:
            try:
                return told.result()
            except KeyboardInterrupt:
                cancellation.cancel()

    def _run(self, turn: _Turn, cancellation: Cancellation) -> Told:
        began, before, usage = time.monotonic(), list[Said](), list[Usage]()
        why, end, replies = "", End.ANSWERED, list[Reply]()
        try:
            replies = self._replies(turn, cancellation, before, usage)
        except AgentTimeoutError:
            end, why = End.FAILED, f"agent_timeout: no reply within {self._limit_s:g} s"
        except AgentFailedError as error:
            end, why = End.FAILED, f"agent_failed: {error.detail}\n{error.frames}".rstrip()
        except (AgentStoppedError, AgentCancelledError):
            end, why = End.STOPPED, "stopped"
        said = [said_by(each) for each in replies]
        if end is End.ANSWERED:
            self._show(said, streamed=self._screen.end())
            self._memory.add(turn.envelope, replies)
            end = End.ANSWERED if said or before else End.SILENT
        else:
            self._screen.drop()
        told = [asdict(each) for each in usage]
        return Told(end, [*before, *said], why, time.monotonic() - began, told)

    def _replies(
        self,
        turn: _Turn,
        cancellation: Cancellation,
        before: list[Said],
        usage: list[Usage],
    ) -> list[Reply]:
        """Run the agent, and again when it asks for that, as often as it may."""
        stopped = threading.Event()
        cancellation.on_cancel(stopped.set)
        for runs in itertools.count(1):
            context = self._context(turn, cancellation, before)
            try:
                result = turn.runner.run(
                    turn.message, context=context, limit_s=self._limit_s, on_piece=self._piece
                )
                return replies_of(result)
            except AgentRetryError as again:
                if runs > self._retries:
                    raise
                self._screen.drop()
                self._screen.note(f"asks to be run again in {again.after_s:g} s: {again.detail}")
                if stopped.wait(again.after_s):
                    raise AgentStoppedError from None
            finally:
                context.close()
                usage += context.usage
        raise AssertionError("it counts for ever")

    def _context(self, turn: _Turn, cancellation: Cancellation, before: list[Said]) -> Context[Any]:
        until = time.monotonic() + self._limit_s
        return Context(
            turn.message,
            settings=turn.runner.settings,
            history=self._memory.recalled(),
            left_s=lambda: until - time.monotonic(),
            cancellation=cancellation,
            say=lambda reply: self._say(reply, before),
            progress=self._screen.note,
        )

    def _piece(self, piece: Any) -> None:
        # What is no text follows the text, as it does in a chat.
        if isinstance(piece, str):
            self._screen.piece(piece)

    def _say(self, reply: Any, before: list[Said]) -> None:
        try:
            replies = replies_of(reply)
        except AgentFailedError:
            raise TypeError("say() takes text or a reply") from None
        for each in map(said_by, replies):
            before.append(each)
            self._screen.message(each.text)

    def _show(self, said: Sequence[Said], *, streamed: str) -> None:
        """Show what was not yet seen; a text that was streamed is the first."""
        for each in said[1:] if streamed.strip() else said:
            self._screen.message(each.text)

    def _written(self, text: str, files: Sequence[Path], folder: Path) -> tuple[Envelope, Fetch]:
        """Return a message as the listener would send it, and what gives the files of it."""
        codes = tuple(
            Attachment(kind=_kind(path), name=path.name, size=path.stat().st_size,
                       download_code=str(number))
            for number, path in enumerate(files)
        )  # fmt: skip

        def fetch(code: Attachment) -> Path:
            """Give a copy: what an agent does to it is its own affair."""
            path = files[int(code.download_code)]
            return Path(shutil.copy(path, folder / f"{code.download_code}{path.suffix}"))

        now, name = self._clock(), self._person.name
        group = Conversation.GROUP if self._person.is_group else Conversation.PRIVATE
        envelope = Envelope(
            bot=self._bot,
            message_id=f"chat{uuid4().hex}",
            conversation_id="chat",
            conversation=group,
            conversation_title="chat" if self._person.is_group else "",
            sender_id=name,
            sender_staff_id=name,
            sender_nick=name,
            kind=_kind_of(text, codes),
            text=text,
            attachments=codes,
            created_at=now,
            received_at=now,
            deadline=now + _WEBHOOK_LIFE,
        )
        return envelope, fetch


def _kind(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    return next((kind for kind, endings in _KINDS.items() if ending in endings), "file")


def _kind_of(text: str, codes: Sequence[Attachment]) -> str:
    if not codes:
        return "text"
    return codes[0].kind if len(codes) == 1 and not text else "richText"
