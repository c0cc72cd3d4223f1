"""What an agent may know and do beside the message: time, memory, settings, and a word in between.

Made by ``worker/asking.py`` for each run of an agent. An author who tests an agent makes one with
nothing but the message: it has all the time there is, and what is said goes nowhere.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from worker.agents.attachments import Attachment
from worker.agents.base import Message
from worker.agents.cancelling import Cancellation

__all__ = ["AgentError", "Context", "Retry", "Said", "Usage"]

S = TypeVar("S")

_NO_LIMIT_S = float("inf")


@dataclass(frozen=True)
class Said:
    """One utterance of the memory; ``at`` is aware UTC."""

    role: Literal["user", "assistant"]
    text: str = field(repr=False)
    sender_nick: str = field(default="", repr=False)
    sender_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Usage:
    """What was used of one model: tokens, and how many calls of it they were.

    None is what nobody told, which is not zero.
    """

    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    calls: int = 1


class AgentError(Exception):
    """Raised by an agent that cannot answer: it has failed, and the text says why.

    Operators read it, in the log, in Flower and in ``late``: it must hold no secret, and nothing
    that anybody wrote. Of any other exception only the type is shown.
    """


class Retry(Exception):  # noqa: N818, it is asked for, and no error of the agent's
    """Raised by an agent: run me again.

    Within the deadline, and at most ``AGENT_RETRIES`` times; after that the agent has failed: of
    one that was raised ``from`` an :class:`AgentError`, for that reason.
    """

    def __init__(self, after_s: float = 1.0) -> None:
        """Ask for another run.

        Args:
            after_s: In how many seconds; 0 or more.

        Raises:
            ValueError: It is negative, or no number.
        """
        if not 0 <= after_s < float("inf"):
            raise ValueError("after_s must be 0 or more seconds")
        super().__init__(after_s)
        self.after_s = after_s


class _MessageLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds what says which message it is about to what the author adds."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}


class Context(Generic[S]):
    """Of one run of an agent; from its end on, what the agent says is dropped.

    ``deadline`` is the last moment a reply can be posted, aware UTC on DingTalk's clock, None
    without one. ``history`` is what was said before, oldest first; empty when memory is off.
    ``settings`` are the agent's own, None of an agent that names none. ``logger`` says of which
    message each line is.
    """

    def __init__(
        self,
        message: Message,
        *,
        settings: S | None = None,
        history: Sequence[Said] = (),
        left_s: Callable[[], float] = lambda: _NO_LIMIT_S,
        cancellation: Cancellation | None = None,
        say: Callable[[Any], object] = lambda _: None,
        progress: Callable[[str], object] = lambda _: None,
        log_fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare.

        Args:
            message: What the agent answers.
            settings: The agent's own.
            history: What was said before the message.
            left_s: Seconds until the agent must be done; may be negative.
            cancellation: Calls the run off.
            say: Sends a message now, and blocks until it is sent.
            progress: Shows what the agent does just now; neither blocks nor raises.
            log_fields: What the logger adds to each line.
        """
        self.message, self.deadline = message, message.deadline
        self.history = tuple(history)
        self.settings: S = settings  # type: ignore[assignment]  # None of an agent without
        self.cancellation = cancellation or Cancellation()
        fields = {
            "message_id": message.message_id,
            "conversation_id": message.conversation_id,
            **(log_fields or {}),
        }
        self.logger = _MessageLogger(logging.getLogger("agent"), fields)
        self._left_s, self._say, self._progress = left_s, say, progress
        self._usage: list[Usage] = []
        self._is_over = False

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The message's pictures, voice messages, videos and files."""
        return self.message.attachments

    def remaining_s(self) -> float:
        """Return the seconds until the deadline or the agent's time limit; never negative."""
        return max(0.0, self._left_s())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more: stopped, out of time, or the process ends."""
        return self._is_over or self.cancellation.is_cancelled

    def say(self, reply: Any) -> None:
        """Send a message now, before the answer; blocks until it is sent.

        What DingTalk makes of it raises nothing: it is tried again, then logged.

        Args:
            reply: Text, or any reply.

        Raises:
            TypeError: It is neither.
            RuntimeError: Called on an event loop, where it would stop every other agent.
        """
        if _is_on_a_loop():
            raise RuntimeError("in an async agent write: await context.asay(...)")
        self._say_now(reply)

    async def asay(self, reply: Any) -> None:
        """Send a message now, as :meth:`say` does, without blocking the event loop.

        Raises:
            TypeError: As :meth:`say`.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            if done.done():  # the agent was cancelled
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def work() -> None:
            failure = None
            try:
                self._say_now(reply)
            except Exception as error:  # noqa: BLE001, it is raised where it is awaited
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, failure)

        # Not in the loop's own pool, which is small, and waited for when the process ends.
        threading.Thread(target=work, name="say", daemon=True).start()
        await done

    def _say_now(self, reply: Any) -> None:
        if not (self._is_over or self.cancellation.is_cancelled):
            self._say(reply)

    def progress(self, text: str) -> None:
        """Tell what is being done just now; shown as ``THINKING`` and ``STILL_WORKING_S`` say.

        Neither blocks nor raises.
        """
        if not self._is_over and text.strip():
            self._progress(text)

    def used(self, usage: Usage) -> None:
        """Add to what the story of the message and the metrics tell of it."""
        if not self._is_over:
            self._usage.append(usage)

    @property
    def usage(self) -> tuple[Usage, ...]:
        """What was used so far."""
        return tuple(self._usage)

    def close(self) -> None:
        """End it: called by the worker when the run is over, however it ended."""
        self._is_over = True


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
