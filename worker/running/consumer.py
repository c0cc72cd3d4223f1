"""Celery's consumer, made silent about bodies and careful with what it does not know.

Celery logs the whole body of a message it cannot use, which here holds a session webhook and what
somebody wrote, and rejects it, which would lose messages whenever the listener is a release
ahead. Named in ``celeryconfig.py``.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery.exceptions import CPendingDeprecationWarning
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import OperationalError
from kombu.transport import virtual

from contract.rabbitmq_broker import NoAnswerError
from contract.routing import safe_kwargsrepr
from contract.settings import SettingsError
from worker.outcome import Outcome
from worker.running.set_aside import SetAside, Stranger, stranger_in
from worker.running.waking import Waking
from worker.store import StoreError
from worker.telling import events, metrics

__all__ = ["Consumer"]

logger = logging.getLogger(__name__)

_BACK_AFTER_S = 5.0
# So long events wait for each other: one message to the broker for many of them, where Celery sends
# one or two for every task. Flower is that much behind.
EVENTS_EVERY_S = 0.25
# Beyond so many they do not wait.
_EVENTS_AT_ONCE = 500

# Said at every reconnection about a setting that celeryconfig.py sets on purpose.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

# Declares 28 delay queues on RabbitMQ; what must wait, waits in the store.
_UNNEEDED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CeleryConsumer):
    """Takes messages; those it cannot use are kept where an operator sees them."""

    # Celery's; its stubs leave them out.
    connection_errors: tuple[type[BaseException], ...]
    connection: Any
    event_dispatcher: Any
    hub: Any
    pool: Any
    task_consumer: Any
    timer: Any

    _are_events_due = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waking = Waking()
        events.begin(lambda: self.event_dispatcher)

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc, valid-type]
        """Celery's steps without one that is not needed."""

        default_steps = [  # noqa: RUF012, Celery's own shape
            step for step in CeleryConsumer.Blueprint.default_steps if step != _UNNEEDED
        ]

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let the lost connection go without a word to its broker.

        Celery closes it, and kombu would put unacknowledged messages back through it; on Redis
        that raises what Celery does not expect and ends the worker, agents and all. They need no
        putting back: the broker gives them out again, and a claim drops the copy of what is still
        worked on.
        """
        if isinstance(exc, NoAnswerError):
            logger.error(
                "takes no messages: %s",
                exc,
                extra={"action": "broker_silent", "queue": exc.queue},
            )
        # Not its public name, which would connect again first, and end the worker when it cannot.
        transport = getattr(self.connection, "_connection", None)
        if isinstance(transport, virtual.Transport):
            for channel in transport.channels or ():
                channel.do_restore = False
        super().on_connection_error_after_connected(exc)

    def connect(self) -> Any:
        """Connect; what tasks told of themselves until then goes by the new connection."""
        connection = super().connect()
        self._carry_events_over()
        return connection

    def on_send_event_buffered(self) -> None:  # type: ignore[override]
        """Have events sent in a moment, with those that come until then; from any thread."""
        if not self._are_events_due and self.hub:
            self._are_events_due = True
            self.event_dispatcher.buffer_limit = _EVENTS_AT_ONCE
            self.hub.call_soon(self._send_events_later)

    def _send_events_later(self) -> None:
        self.timer.call_after(EVENTS_EVERY_S, self._flush_events)

    def _flush_events(self) -> None:
        self._are_events_due = False
        super()._flush_events()  # type: ignore[misc]

    def shutdown(self) -> None:
        """Send the last events, then shut down."""
        if self.event_dispatcher and self.connection:  # else the broker is away
            with suppress(Exception):  # as it may be by now, which does not keep us from ending
                self._flush_events()
        super().shutdown()

    def _carry_events_over(self) -> None:
        """Put what waits to be sent where the next connection's dispatcher finds it."""
        dispatcher = self.event_dispatcher
        if dispatcher is None:
            return
        with dispatcher.mutex:  # threads go on telling, and send when there is much
            for group, buffer in dispatcher._group_buffer.items():
                waiting = list(buffer)
                if waiting:
                    dispatcher._outbound_buffer.append((waiting, f"{group}.multi"))
                    del buffer[: len(waiting)]

    def register_with_event_loop(self, hub: Any) -> None:
        """Have the event loop look at what it waits for, and be woken."""
        super().register_with_event_loop(hub)
        self._waking.register(hub)
        channel = self.task_consumer.channel
        if isinstance(channel, virtual.Channel):
            self._heed_tasks_of_before(channel.qos)

    def _heed_tasks_of_before(self, qos: Any) -> None:
        """Have no more messages taken at once than slots are free.

        A channel does not know of those that an earlier connection brought and that are worked on
        still: it would take up to eight where one slot is free, and keep them from other workers.
        """
        by_channel = qos.can_consume_max_estimate

        def free() -> int:
            slots: int = self.pool.num_processes - len(state.reserved_requests)
            room = by_channel()
            return max(0, slots if room is None else min(room, slots))

        qos.can_consume_max_estimate = free

    def call_soon_ack(self, p: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Acknowledge, unless the message's connection is gone by now.

        Celery catches what a living connection raises; the remains of a lost one raise
        ``AttributeError``, which would end the event loop.
        """

        def on_its_channel(*inner: Any, **named: Any) -> Any:
            try:
                return p(*inner, **named)
            except AttributeError:
                logger.info("cannot acknowledge on a lost connection; the copy will be dropped")

        promised = super().call_soon_ack(  # type: ignore[misc]
            on_its_channel, *arguments, **options
        )
        # A slot is free, which another message may be waiting for.
        if len(state.reserved_requests) >= self.pool.num_processes // 2:
            self._waking.wake()
        return promised

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Any], None]:
        """Return Celery's handler, which a malformed task cannot bring down.

        Celery's own raises out of its event loop on some, and the message would end one worker
        after the other.
        """
        handle: Callable[[Any], None] = super().create_task_handler(*arguments, **options)

        def handle_any(message: Any) -> None:
            try:
                if self._takes_arguments(message):
                    handle(message)
                else:
                    self._set_aside(message, "its arguments are not known to this release")
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                self._set_aside(message, f"malformed task: {type(error).__name__}")

        return handle_any

    def _takes_arguments(self, message: Any) -> bool:
        """Whether a task that is known can be called as the message wants; Celery drops others."""
        try:
            task: Any = self.app.tasks[message.headers["task"]]
            args, kwargs, _ = message.payload
        except Exception:  # noqa: BLE001, Celery finds the same and says so to us
            return True
        try:
            task.__header__(*args, **kwargs)
        except TypeError:
            return False
        return True

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Handle a task this release does not know."""
        name = str((message.headers or {}).get("task", ""))
        self._set_aside(message, f"task {name!r} is not known to this release")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Handle a message that is no task."""
        self._set_aside(message, "not a Celery task")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Handle a task whose arguments or headers Celery refuses."""
        self._set_aside(message, f"invalid task: {type(exc).__name__}")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Handle a body that cannot be decoded."""
        self._set_aside(message, f"cannot be decoded: {type(exc).__name__}")

    def _set_aside(self, message: Any, why: str) -> None:
        stranger = stranger_in(message)
        fields: dict[str, Any] = {
            "action": "message_set_aside",
            "task_id": stranger.task_id if stranger else (message.headers or {}).get("id"),
            "size": len(message.body or b""),
        }
        if stranger is None:
            logger.error("dropped a message that is no task: %s", why, extra=fields)
            message.ack_log_error(logger, self.connection_errors)
            return
        fields["message_id"] = stranger.message_id
        try:
            outcome = _aside.keep(stranger, why)
        except (StoreError, SettingsError) as error:
            logger.warning(
                "cannot keep a message this release does not know, left to others: %s",
                error,
                extra=fields,
            )
            # Not at once, or this worker would take it again and again.
            back = {"requeue": True}
            self.timer.call_after(
                _BACK_AFTER_S, message.reject_log_error, (logger, self.connection_errors), back
            )
            return
        if outcome is None:
            logger.info("dropped a copy of a message that is known: %s", why, extra=fields)
        else:
            logger.error("kept as a missed reply: %s", why, extra=fields)
            metrics.observe(outcome)
            self._tell(stranger, outcome)
        message.ack_log_error(logger, self.connection_errors)

    def _tell(self, stranger: Stranger, outcome: Outcome) -> None:
        """Show it in Flower, which has not heard of the task: Celery received none it knows."""
        dispatcher = self.event_dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return
        shown = {"args": "()", "kwargs": safe_kwargsrepr(stranger.message_id), "retries": 0}
        try:
            dispatcher.send("task-received", uuid=stranger.task_id, name=stranger.name, **shown)
            told = repr(outcome.summary())
            fields = {"uuid": stranger.task_id, "result": told, "exception": told, "runtime": 0}
            dispatcher.send("task-failed", **fields)
        except (OperationalError, OSError) as error:
            logger.warning("Flower will not see a FAILURE: %s", type(error).__name__)


_aside = SetAside()
