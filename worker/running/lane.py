"""The lane of commands that overtake: a consumer of its own beside the worker's pool.

Runs in the worker's main process, with threads and with prefork alike, so that whoever writes
``/stop`` is answered while agents have every slot. What is done with a command is in
``worker/running/command_parts.py``; here is how one leaves the broker: once that is done. The
connection is the lane's own, and is opened again for as long as the worker lives.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import kombu
from kombu.transport import virtual

from contract.routing import COMMAND
from contract.settings import SettingsError
from worker.outcome import Outcome
from worker.running.set_aside import SetAside, Stranger, stranger_in
from worker.store import StoreError

__all__ = ["CommandLane", "Tell", "Work"]

logger = logging.getLogger(__name__)

# A command takes a moment, unless DingTalk or the store is slow.
_AT_ONCE = 8
# How long an acknowledgement, a heartbeat or a stop may wait for the consumer to look up.
_LOOK_UP_S = 0.2
_BACK_AFTER_S = 5.0
# For what waits for the store to be put back on the broker, once it is told not to wait.
_LET_GO_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0


class Work(Protocol):
    """What is done with a command."""

    def work(self, task_id: str, data: dict[str, Any]) -> Outcome | None:
        """Bring it as far as it goes; None when it is a message for an agent."""

    def stop(self) -> None:
        """Give back what is unfinished; for a process that ends."""


class Tell(Protocol):
    """Makes the outcome of a task seen in Flower."""

    def __call__(self, task_id: str, outcome: Outcome, *, message_id: str, name: str) -> None:
        """Tell that a task of this name came, and how it ended."""


class CommandLane:
    """Takes from the queue ``commands`` until it is stopped."""

    def __init__(
        self,
        connect: Callable[[], kombu.Connection],
        queue: kombu.Queue,
        work: Work,
        *,
        pass_on: Callable[[str, dict[str, Any]], object],
        tell: Tell,
        observe: Callable[[Outcome], object] = lambda _: None,
        back_after_s: float = _BACK_AFTER_S,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            connect: Returns a connection of the lane's own, not yet opened.
            queue: ``commands``, as both sides declare it.
            work: What is done with each.
            pass_on: Publishes a message for an agent as one.
            tell: Makes an outcome seen.
            observe: Counts what was set aside.
            back_after_s: After how long one that could not be worked on goes back.
        """
        self._connect, self._queue, self._work = connect, queue, work
        self._pass_on, self._tell, self._observe = pass_on, tell, observe
        self._back_after_s = back_after_s
        self._aside = SetAside()
        self._stopping, self._ended = threading.Event(), threading.Event()
        # From the threads at work to the consumer's own, which alone may use its channel.
        self._settled: SimpleQueue[tuple[kombu.Message, bool]] = SimpleQueue()
        self._going_back: list[tuple[float, kombu.Message]] = []
        self._channel: Any = None
        self._in_hand = 0
        self._is_away = False

    def start(self) -> None:
        """Start taking commands."""
        threading.Thread(target=self._run, name="commands", daemon=True).start()

    def stop(self) -> None:
        """Take no more; what is in hand goes on."""
        self._stopping.set()

    def join(self, limit_s: float) -> None:
        """Wait until what was in hand is done; what is not within ``limit_s`` goes back."""
        self._stopping.set()
        if not self._ended.wait(limit_s):
            logger.warning("commands are unfinished; they go back", extra={"action": "drained"})
        self._work.stop()
        self._ended.wait(_LET_GO_S)

    # In the consumer's thread.

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                self._consume()
            except Exception as error:  # noqa: BLE001, each transport has errors of its own
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2) if self._is_away else _FIRST_PAUSE_S
                self._say_away(error)
                self._stopping.wait(pause_s)
        self._ended.set()

    def _consume(self) -> None:
        """Take commands until told to stop, or until the connection is lost."""
        with self._connect() as connection, _let_go_of_when_lost(connection):
            connection.connect()
            channel = self._channel = connection.channel()
            # What is in hand when this ends needs no putting back: the broker gives it out again,
            # or the store does, and kombu raises what it likes when it tries on a dead connection.
            if isinstance(channel, virtual.Channel):
                channel.do_restore = False
            # What was in hand on a connection that was lost is no business of this one.
            self._in_hand, self._going_back = 0, []
            consumer = kombu.Consumer(
                channel, [self._queue], on_message=self._take, prefetch_count=_AT_ONCE
            )
            with consumer:
                self._say_back()
                while not self._stopping.is_set():
                    self._look_up(connection)
            while self._in_hand:
                self._look_up(connection)

    def _look_up(self, connection: kombu.Connection) -> None:
        if not connection.connected:  # else kombu would open another one, without our consumer
            raise ConnectionError("the connection is lost")
        with suppress(TimeoutError):
            connection.drain_events(timeout=_LOOK_UP_S)
        if connection.supports_heartbeats and connection.heartbeat:
            connection.heartbeat_check()
        self._settle()

    def _settle(self) -> None:
        now = time.monotonic()
        while True:
            try:
                message, is_done = self._settled.get_nowait()
            except Empty:
                break
            if message.channel is not self._channel:
                continue
            if is_done:
                self._in_hand -= 1
                message.ack()
            else:
                self._going_back.append((now + self._back_after_s, message))
        for due_at, message in list(self._going_back):
            if now >= due_at or self._stopping.is_set():
                self._going_back.remove((due_at, message))
                self._in_hand -= 1
                message.requeue()

    def _take(self, message: kombu.Message) -> None:
        self._in_hand += 1
        at_work = partial(self._handle, message)
        threading.Thread(target=at_work, name="command", daemon=True).start()

    # In a thread of the command's own.

    def _handle(self, message: kombu.Message) -> None:
        is_done = False
        try:
            is_done = self._bring_on(message)
        except (StoreError, SettingsError) as error:
            _say_requeued(str(error))
        except Exception as error:  # noqa: BLE001, its text may quote a message
            _say_requeued(f"unexpected {type(error).__name__}")
        self._settled.put((message, is_done))

    def _bring_on(self, message: kombu.Message) -> bool:
        """Return whether the broker may forget it."""
        carried = _command_in(message)
        if carried is None:
            return self._set_aside(message)
        task_id, data = carried
        outcome = self._work.work(task_id, data)
        message_id = str(data.get("message_id") or "")
        if outcome is None:
            self._pass_on(task_id, data)
            logger.info(
                "no command of this bot, left to its agent",
                extra={
                    "action": "command_passed_on",
                    "message_id": message_id,
                    "task_id": task_id,
                },
            )
        elif not outcome.duplicate:  # whose first copy has told
            self._tell(task_id, outcome, message_id=message_id, name=COMMAND)
        # One that another worker has stays here until that has ended, well or by a death: then it
        # is obeyed by a lane again, and not when some agent's slot comes free.
        return outcome is None or not outcome.duplicate or outcome.state is not None

    def _set_aside(self, message: kombu.Message) -> bool:
        why = "not a command this release can use"
        stranger: Stranger | None = stranger_in(message)
        fields: dict[str, Any] = {"action": "message_set_aside", "size": len(message.body or b"")}
        if stranger is None:
            logger.error("dropped a message that is no task: %s", why, extra=fields)
            return True
        fields |= {"task_id": stranger.task_id, "message_id": stranger.message_id}
        outcome = self._aside.keep(stranger, why)
        if outcome is None:
            logger.info("dropped a copy of a message that is known: %s", why, extra=fields)
            return True
        logger.error("kept as a missed reply: %s", why, extra=fields)
        self._observe(outcome)
        self._tell(stranger.task_id, outcome, message_id=stranger.message_id, name=stranger.name)
        return True

    # Log lines.

    def _say_away(self, error: Exception) -> None:
        """Say it once an outage; its text may hold an address with a password."""
        if not self._is_away:
            logger.warning(
                "takes no commands until the broker is back: %s",
                type(error).__name__,
                extra={"action": "reconnecting", "queue": self._queue.name},
            )
        self._is_away = True

    def _say_back(self) -> None:
        logger.info("takes commands", extra={"action": "connected", "queue": self._queue.name})
        self._is_away = False


@contextmanager
def _let_go_of_when_lost(connection: kombu.Connection) -> Iterator[None]:
    """Spare a connection that is lost the polite end, which waits for an answer."""
    try:
        yield
    except Exception:
        connection.collect(socket_timeout=1)
        raise


def _say_requeued(why: str) -> None:
    logger.error(
        "cannot work on a command, it goes back: %s", why, extra={"action": "message_requeued"}
    )


def _command_in(message: kombu.Message) -> tuple[str, dict[str, Any]] | None:
    """Return a command's task id and envelope; None for whatever else it is."""
    try:
        task, task_id = message.headers["task"], message.headers["id"]
        args, named, _ = message.decode()
        is_ours = task == COMMAND and isinstance(task_id, str) and not args
        envelope = named["envelope"] if is_ours and set(named) == {"envelope"} else None
    except Exception:  # noqa: BLE001, anything may be in a foreign message
        return None
    return (task_id, envelope) if isinstance(envelope, dict) else None
