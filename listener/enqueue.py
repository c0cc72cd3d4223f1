"""From the event loop to the broker: publishing happens in one thread beside it.

The thread takes all that waits, up to a batch, publishes it and wakes the waiters when the broker
has confirmed. While the broker is away the messages wait here, up to a bound, in order.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote, urlsplit

from contract.broker import Broker
from listener.backoff import Backoff
from listener.publisher import Publisher
from listener.task_message import TaskMessage

__all__ = ["EnqueueError", "Enqueuer", "TooManyWaitingError"]

logger = logging.getLogger(__name__)

WAITING_LIMIT = 10_000
BATCH = 200
IDLE_S = 10.0


class EnqueueError(Exception):
    """The message is not on the broker, as far as we know."""


class TooManyWaitingError(EnqueueError):
    """The broker is away, or too slow, and as many messages wait as may."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} messages wait for the broker, as many as may"


@dataclass(eq=False)
class _Pending:
    task: TaskMessage
    done: asyncio.Future[None]


class Enqueuer:
    """The way to the broker; :meth:`start` it in the event loop that uses it."""

    def __init__(
        self,
        broker: Broker,
        *,
        limit: int | None = None,
        batch: int = BATCH,
        delays: Sequence[float] | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            broker: Where to.
            limit: How many messages may wait.
            batch: How many are published before their confirms are waited for.
            delays: Between attempts to reach the broker; for tests.
        """
        self._broker, self._batch = broker, batch
        self._limit = WAITING_LIMIT if limit is None else limit
        self._publisher = Publisher(broker)
        self._backoff = Backoff(first_s=0.2, cap_s=5, delays=delays)
        self._changed = threading.Condition()
        self._waiting: deque[_Pending] = deque()
        self._in_hand: dict[str, list[_Pending]] = {}
        self._stopping = self._given_up = False

    def start(self) -> None:
        """Start the thread; it connects at once."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        # A daemon: a broker that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name="enqueue", daemon=True).start()

    async def enqueue(self, task: TaskMessage) -> None:
        """Return when the broker has confirmed the task.

        Raises:
            TooManyWaitingError: At once, when the bound is reached.
            EnqueueError: On stop, when the broker did not confirm in time.
        """
        pending = _Pending(task, self._loop.create_future())
        with self._changed:
            if self._stopping:
                raise EnqueueError("the listener is stopping")
            if self._count() >= self._limit:
                raise TooManyWaitingError(self._limit)
            self._waiting.append(pending)
            self._changed.notify()
        await pending.done

    async def stop(self, limit_s: float) -> int:
        """Flush, for ``limit_s`` at most; return how many messages were not confirmed."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), limit_s)
        with self._changed:
            self._given_up = True
            self._changed.notify()
            left = [*(p for ps in self._in_hand.values() for p in ps), *self._waiting]
            self._waiting.clear()
        for pending in left:
            if not pending.done.done():
                pending.done.set_exception(EnqueueError("the broker did not confirm in time"))
        return len(left)

    def _count(self) -> int:
        return len(self._waiting) + sum(map(len, self._in_hand.values()))

    # In the thread.

    def _run(self) -> None:
        while not self._given_up:
            try:
                if not self._publisher.is_open:
                    self._open()
                if not self._publish_next():
                    break
            except Exception as error:  # noqa: BLE001, whatever it is, the messages must wait for the broker
                self._publisher.close()
                self._put_back()
                self._pause(error)
        self._publisher.close()
        self._call_in_loop(self._ended.set)

    def _open(self) -> None:
        self._publisher.open()
        logger.info(
            "connected to the broker",
            extra={"action": "connected", "peer": "broker", "broker": self._broker.name},
        )

    def _publish_next(self) -> bool:
        """Publish one batch; False when all is done and nothing more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping, timeout=IDLE_S)
            if not self._waiting and self._stopping:
                return False
            for pending in list(islice(self._waiting, self._batch)):
                self._waiting.popleft()
                self._in_hand.setdefault(pending.task.task_id, []).append(pending)
            tasks = [ps[0].task for ps in self._in_hand.values()]
        if tasks:
            self._publish(tasks)
        else:
            self._publisher.tend()
        self._backoff.reset()
        return True

    def _publish(self, tasks: list[TaskMessage]) -> None:
        confirmed: list[_Pending] = []
        try:
            self._publisher.publish(tasks, lambda task: confirmed.extend(self._settle(task)))
        finally:
            self._call_in_loop(lambda: _wake(confirmed))

    def _settle(self, task: TaskMessage) -> list[_Pending]:
        with self._changed:
            return self._in_hand.pop(task.task_id, [])

    def _put_back(self) -> None:
        """In front of the others, in their order."""
        with self._changed:
            self._waiting.extendleft(reversed([p for ps in self._in_hand.values() for p in ps]))
            self._in_hand.clear()

    def _pause(self, error: Exception) -> None:
        delay_s = self._backoff.next_s()
        with self._changed:
            waiting = len(self._waiting)
        logger.warning(
            "the broker is away, messages wait for it",
            extra={
                "action": "reconnecting",
                "peer": "broker",
                "broker": self._broker.name,
                "reason": self._said(error),
                "waiting": waiting,
                "delay_s": round(delay_s, 2),
            },
        )
        with self._changed:
            self._changed.wait_for(lambda: self._given_up, timeout=delay_s)

    def _said(self, error: Exception) -> str:
        # kombu's error of a failed batch tells only by its cause what happened.
        text = str(error.__cause__ or error) or type(error).__name__
        password = urlsplit(self._broker.url).password or ""
        for secret in filter(None, (password, unquote(password))):
            text = text.replace(secret, "***")
        return text

    def _call_in_loop(self, callback: Callable[[], None]) -> None:
        # The loop may have ended already, when stopping took longer than its limit.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


def _wake(confirmed: list[_Pending]) -> None:
    for pending in confirmed:
        if not pending.done.done():
            pending.done.set_result(None)
