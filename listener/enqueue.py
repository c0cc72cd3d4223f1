"""From the event loop to the broker, or to the disk while the broker is away.

Publishing happens in one thread beside the event loop, spooling (``listener/spooling.py``) in
another. A message goes straight to the broker while nothing is on the disk, and behind what is
there otherwise. Either way it is settled once something has it that outlives this process.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from urllib.parse import unquote, urlsplit

from contract.broker_address import Broker
from listener.backoff import Backoff
from listener.offers import Offers
from listener.publisher import NotConfirmedError, new_publisher
from listener.spool import Batch, Spool
from listener.spooling import Spooling, spool_errors_said
from listener.task_message import TaskMessage
from listener.waiting import EnqueueError, Kept, Pending, Told, TooManyWaitingError, Waiting

__all__ = ["EnqueueError", "Enqueuer", "Kept", "Told", "TooManyWaitingError"]

logger = logging.getLogger(__name__)

WAITING_LIMIT, WAITING_LIMIT_BYTES = 10_000, 64 * 2**20
BATCH = 200
IDLE_S = 10.0
SETTLE_EVERY_S = 0.05
CLOSE_LIMIT_S = 0.5
OPEN_LIMIT_S = 10.0
SLOW_S = 5.0  # a broker that takes longer may be one that takes nothing


class Enqueuer:
    """The way to the broker; :meth:`start` it in the event loop that uses it."""

    def __init__(
        self,
        broker: Broker,
        spool: Spool,
        *,
        clock: Callable[[], datetime],
        batch: int = BATCH,
        delays: Sequence[float] | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            broker: Where to.
            spool: Where to while the broker is away; ours to open and close.
            clock: Aware UTC; stamps what goes to the broker or the disk.
            batch: How many are published before their confirms are waited for.
            delays: Between attempts to reach the broker; for tests.
        """
        self._broker, self._batch, self._clock = broker, batch, clock
        self._publisher = new_publisher(broker)
        self._backoff = Backoff(first_s=0.2, cap_s=5, delays=delays)
        self._spool = spool
        self._waiting = Waiting(limit=WAITING_LIMIT, limit_bytes=WAITING_LIMIT_BYTES)
        self._changed = threading.Condition(self._waiting.lock)
        self._spooling = Spooling(
            self._waiting,
            spool,
            clock=clock,
            spooled=self._spooled,
            changed=self._changed,
            batch=batch,
        )
        self._status: dict[str, TaskMessage] = {}
        self._offers = Offers()
        self._stopping = self._given_up = False
        # A RabbitMQ without memory or disk lets in whoever comes, and takes nothing.
        self._is_connected, self._took_the_last = False, True
        # After :meth:`stop`: how many messages the next process has to send.
        self.left_behind = 0

    def start(self) -> None:
        """Start the threads; one connects at once."""
        self._loop = asyncio.get_running_loop()
        self._published, self._closed = asyncio.Event(), asyncio.Event()
        # Daemons: a broker or a disk that hangs must not keep the process from ending.
        for name, work, ended in (
            ("spool", self._spooling.run, self._closed),
            ("enqueue", self._run, self._published),
        ):
            threading.Thread(
                target=self._run_to_the_end, args=(work, ended), name=name, daemon=True
            ).start()

    def _run_to_the_end(self, work: Callable[[], None], ended: asyncio.Event) -> None:
        try:
            work()
        finally:
            self._call_in_loop(ended.set)

    @property
    def is_broker_up(self) -> bool:
        """Whether there is a connection, and the broker took the last it was given.

        Of a broker that is given nothing, the connection is all there is to know.
        """
        return self._is_connected and self._took_the_last and self._spooling.works_s <= SLOW_S

    @property
    def is_spooling(self) -> bool:
        """Whether a message would go to the disk now, or behind one that is there."""
        return self._spooling.is_away or self._spool.backlog > 0

    @property
    def is_disk_failing(self) -> bool:
        """Whether the disk did not take the last that should have gone there."""
        return self._spooling.is_failing

    @property
    def waiting(self) -> int:
        """How many messages are in memory alone, unacknowledged."""
        return len(self._waiting)

    def tell(self, status: TaskMessage, about: str = "") -> None:
        """Publish a task when no message waits any more; the next one ``about`` it replaces it.

        With the broker away it is dropped: it is of no use later, and the disk is for messages.
        """
        with self._changed:
            self._status[about] = status
            self._changed.notify()

    def offer(self, task: TaskMessage) -> asyncio.Future[bool]:
        """Publish a task behind the messages, if the broker takes it; it never goes to the disk.

        The future says whether the broker has it; False at once while messages go to the disk.
        Cancel it when it took too long.
        """
        with self._changed:
            taken = self._offers.add(task)
            if self.is_spooling:
                self._offers.refuse()
            self._changed.notify()
        return taken

    def take(self, task: TaskMessage, told: Told) -> None:
        """Take a task, in the order of these calls; ``told`` is called when something has it.

        It is called with :class:`EnqueueError` on stop, when neither had it in time.

        Raises:
            TooManyWaitingError: Neither broker nor disk takes any.
            EnqueueError: The listener is stopping.
        """
        with self._changed:
            if self._stopping:
                raise EnqueueError("the listener is stopping")
            self._waiting.add(task, told)
            self._changed.notify()
            self._spooling.nudge()

    def accept(self, task: TaskMessage) -> asyncio.Future[Kept]:
        """Take a task as :meth:`take` does; the future tells where it got to, or fails."""
        kept: asyncio.Future[Kept] = self._loop.create_future()

        def told(outcome: Kept | EnqueueError) -> None:
            if kept.done():
                return
            if isinstance(outcome, EnqueueError):
                kept.set_exception(outcome)
            else:
                kept.set_result(outcome)

        self.take(task, told)
        return kept

    async def stop(self, limit_s: float) -> int:
        """Flush, for ``limit_s`` at most; return how many messages are lost with this process."""
        with self._changed:
            self._stopping = self._spooling.is_stopping = True
            self._changed.notify()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._published.wait(), limit_s)
        with self._changed:
            self._given_up = self._spooling.is_given_up = True
            self._changed.notify()
            self._spooling.nudge()
            self.left_behind = self._spool.backlog + len(self._waiting)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), CLOSE_LIMIT_S)
        with self._changed:
            left = self._waiting.take(self._waiting.first(len(self._waiting)))
        self.left_behind -= len(left)
        for pending in left:
            pending.tell(EnqueueError("nothing has the message"))
        return len(left)

    # In the publishing thread.

    def _run(self) -> None:
        self._spooling.opened.wait(OPEN_LIMIT_S)  # what is on the disk goes first
        while not self._given_up:
            try:
                if not self._publisher.is_open:
                    self._open()
                if not self._publish_next():
                    break
            except Exception as error:  # noqa: BLE001, whatever it is, the messages must not be lost to it
                self._publisher.close()
                self._offers.refuse()
                if self._pause(error):
                    break
        self._offers.close()
        self._publisher.close()

    def _open(self) -> None:
        with self._spooling.at_work():
            self._publisher.open()
        # Else what is on the disk shows whether it takes messages, too.
        if not self._spool.backlog:
            self._spooling.is_away = False
        self._is_connected = True
        logger.info(
            "connected to the broker",
            extra={"action": "connected", "peer": "broker", "broker": self._broker.name},
        )

    def _publish_next(self) -> bool:
        """Publish one batch; False when all is done and nothing more will come."""
        with self._changed:
            self._changed.wait_for(self._has_work, timeout=IDLE_S)
            is_done = self._stopping and not len(self._waiting) and not self._spool.backlog
            # Nothing may overtake what is on the disk, or on its way there.
            may_pass = not self._spool.backlog and not self._spooling.is_writing
            tasks = self._waiting.first(self._batch) if may_pass else []
        if tasks:
            self._publish(tasks)
        elif self._spool.backlog:
            self._drain()
        else:
            self._publisher.tend()
        self._publish_offers()
        self._publish_status()
        self._backoff.reset()
        self._spooling.is_away = False
        return not is_done

    def _has_work(self) -> bool:
        if self._spool.backlog or self._given_up or self._status or len(self._offers):
            return True
        return not self._spooling.is_writing and (len(self._waiting) > 0 or self._stopping)

    @contextmanager
    def _giving(self) -> Iterator[None]:
        """Learn whether the broker takes what it is given."""
        try:
            with self._spooling.at_work():
                yield
        except Exception:
            self._took_the_last = False
            raise
        self._took_the_last = True

    def _publish(self, tasks: list[TaskMessage]) -> None:
        confirmed: list[TaskMessage] = []
        settled_at = time.monotonic()
        self._stamp(tasks)

        def on_confirm(its: Sequence[TaskMessage]) -> None:
            nonlocal settled_at
            confirmed.extend(its)
            if time.monotonic() - settled_at > SETTLE_EVERY_S:
                self._settle(confirmed)
                settled_at = time.monotonic()

        try:
            with self._giving():
                self._publisher.publish(tasks, on_confirm)
        finally:
            self._settle(confirmed)

    def _settle(self, confirmed: list[TaskMessage]) -> None:
        with self._changed:
            taken = self._waiting.take(confirmed)
        self._wake(taken, Kept.BROKER)
        # The others took too long and are on the disk by now.
        spooled = {task.task_id for task in confirmed} - {p.task.task_id for p in taken}
        confirmed.clear()
        if spooled:
            with spool_errors_said():
                self._spool.forget(spooled)

    def _drain(self) -> None:
        batch = None
        with spool_errors_said():
            batch = self._spool.head(self._batch)
        if batch is None:
            return
        confirmed: list[TaskMessage] = []
        self._stamp(batch.tasks)
        try:
            with self._giving():
                self._publisher.publish(batch.tasks, confirmed.extend)
        finally:
            with spool_errors_said():
                self._spool.remove(batch, [task.task_id for task in confirmed])
            _say_drained(batch, confirmed)

    def _stamp(self, tasks: Sequence[TaskMessage]) -> None:
        now = self._clock()
        for task in tasks:
            task.stamp("enqueued_at", now)

    def _publish_offers(self) -> None:
        if len(self._offers):
            with self._giving():
                self._offers.publish(self._publisher.publish)

    def _publish_status(self) -> None:
        with self._changed:
            statuses, self._status = self._status, {}
        for status in statuses.values():
            with self._giving():
                try:
                    self._publisher.publish_fleeting(status)
                except NotConfirmedError as error:  # the queue of the messages may do better
                    logger.debug("status not reported", extra={"reason": str(error)})

    def _pause(self, error: Exception) -> bool:
        """Say that the broker is away, and wait a while; True when there is nothing to wait for."""
        self._is_connected = False
        delay_s = self._backoff.next_s()
        with self._changed:
            self._status.clear()
            # A connection that broke may be back at once; a second failure says more.
            self._spooling.is_away = self._backoff.attempts > 1
            self._spooling.nudge()
            waiting = len(self._waiting)
        logger.warning(
            "the broker is away, messages go to the disk",
            extra={
                "action": "reconnecting",
                "peer": "broker",
                "broker": self._broker.name,
                "reason": self._said(error),
                "waiting": waiting,
                "spooled": self._spool.backlog,
                "delay_s": round(delay_s, 2),
            },
        )
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=delay_s)
            if self._stopping:  # what waits goes to the disk meanwhile
                self._changed.wait_for(lambda: not len(self._waiting), timeout=delay_s)
            return self._stopping and not len(self._waiting)

    def _said(self, error: Exception) -> str:
        # kombu's error of a failed batch tells only by its cause what happened.
        text = str(error.__cause__ or error) or type(error).__name__
        password = urlsplit(self._broker.url).password or ""
        for secret in filter(None, (password, unquote(password))):
            text = text.replace(secret, "***")
        return text

    # From either thread.

    def _spooled(self, taken: list[Pending]) -> None:
        self._wake(taken, Kept.SPOOL)

    def _wake(self, taken: list[Pending], kept: Kept) -> None:
        def wake() -> None:
            for pending in taken:
                pending.tell(kept)

        if taken:
            self._call_in_loop(wake)

    def _call_in_loop(self, callback: Callable[[], None]) -> None:
        # The loop may have ended already, when stopping took longer than its limit.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


def _say_drained(batch: Batch, confirmed: list[TaskMessage]) -> None:
    """Tell of each message that it goes on, as of one that was never on the disk."""
    for task in confirmed:
        if batch.is_report:
            logger.info(
                "lost messages reported to the workers",
                extra={"action": "loss_reported", "task_id": task.task_id},
            )
        elif not task.is_message:
            logger.info(
                "card action enqueued from the spool",
                extra={
                    "action": "card_action_enqueued",
                    "push_id": task.body[1][task.argument].get("push_id"),
                    "task_id": task.task_id,
                    "queue": task.queue,
                },
            )
        else:
            envelope = task.envelope
            logger.info(
                "message enqueued from the spool",
                extra={
                    "action": "message_enqueued",
                    "message_id": envelope.get("message_id"),
                    "conversation_id": envelope.get("conversation_id"),
                    "task_id": task.task_id,
                    "queue": task.queue,
                },
            )
