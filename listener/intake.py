"""What happens to one chat message before it is acknowledged: admit, translate, enqueue.

Called by ``listener/connection.py`` for every push, many at a time; those that are no chat messages
go to ``listener/pushes.py``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from contract.commands import overtaking
from contract.envelope import Conversation, Envelope
from contract.turn import lane
from dingwire.frames import ack
from dingwire.messages import QUOTA_USED_UP, BotMessage, parse_bot_message
from dingwire.protocol import BotPush, CardPush, EventPush
from listener.admission import Admission, Denial
from listener.duplicates import Duplicates
from listener.enqueue import EnqueueError, Enqueuer, Kept, Told, TooManyWaitingError
from listener.notices import Notices
from listener.predecessors import Predecessors
from listener.pushes import PushIntake
from listener.settings import ListenerSettings
from listener.tally import Tally
from listener.task_message import TaskMessage, answer_task, command_task
from listener.translate import to_envelope

__all__ = ["Intake"]

logger = logging.getLogger(__name__)

_DENIED = {
    Denial.SENDER: "message denied: its sender is not in DINGTALK_ALLOWED_USERS",
    Denial.GROUP: "message denied: its group is not in DINGTALK_ALLOWED_GROUPS",
}


def admission_of(settings: ListenerSettings) -> Admission:
    """Return who may talk, by the settings."""
    return Admission(
        settings.allowed_users,
        settings.allowed_groups,
        {name: group.allowed_users for name, group in settings.groups.items()},
    )


class Intake:
    """Takes messages in, and counts which way they went."""

    def __init__(
        self,
        settings: ListenerSettings,
        enqueuer: Enqueuer,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        tally: Tally,
    ) -> None:
        self._settings, self._enqueuer = settings, enqueuer
        self._sealer = settings.sealer
        self._clock, self._monotonic, self._tally = clock, monotonic, tally
        self._duplicates = Duplicates(monotonic)
        self._predecessors = Predecessors(monotonic)
        self._admission = admission_of(settings)
        self._notices = Notices(enqueuer.offer, monotonic=monotonic, sealer=self._sealer)
        self._pushes = PushIntake(
            settings,
            enqueuer,
            admission=self._admission,
            clock=clock,
            monotonic=monotonic,
            tally=tally,
        )

    def take(
        self, push: BotPush | CardPush | EventPush, clock_offset: timedelta
    ) -> Awaitable[str | None]:
        """Return the ack to send, once it may be sent; None when nothing has the message.

        Messages are enqueued in the order of these calls, before they return.
        """
        match push:
            case CardPush():
                return self._pushes.take_card(push)
            case EventPush():
                return self._pushes.take_event(push)
        return self._take_message(push, clock_offset)

    def _take_message(self, push: BotPush, clock_offset: timedelta) -> Awaitable[str | None]:
        started = self._monotonic()
        message = parse_bot_message(push.payload)
        denial = self._admission.denial(
            message.sender_staff_id, message.conversation_id, is_group=message.is_group
        )
        if denial is not None:
            self._say_denied(message, denial)
            if self._settings.denied_notice:
                self._notices.tell(self._translated(message, push, clock_offset), denial)
            return _at_once(ack(push.frame))
        if message.error_code == QUOTA_USED_UP:
            self._say_quota(message)
        envelope = self._translated(message, push, clock_offset)
        key = (envelope.bot, envelope.message_id)
        in_hand = self._duplicates.in_hand(key)
        if in_hand is not None or self._duplicates.is_done(key):
            return self._drop(envelope, push, in_hand)
        return self._enqueue(envelope, push, started)

    def _translated(self, message: BotMessage, push: BotPush, clock_offset: timedelta) -> Envelope:
        return to_envelope(
            message,
            push,
            client_id=self._settings.client_id,
            robot_code=self._settings.robot_code,
            received_at=self._clock(),
            clock_offset=clock_offset,
            reply_within_s=self._settings.reply_within_s,
        )

    async def _drop(
        self, envelope: Envelope, push: BotPush, first: asyncio.Future[bool] | None
    ) -> str | None:
        """Return the ack of a message that came before, once something has the first of it."""
        confirmed = await asyncio.shield(first) if first else True
        self._say(logging.INFO, "duplicate_dropped", "duplicate dropped", _identity(envelope))
        return ack(push.frame) if confirmed else None

    def _enqueue(
        self, envelope: Envelope, push: BotPush, started: float
    ) -> asyncio.Future[str | None]:
        """Enqueue a new message.

        What waits for the broker holds on to texts only, as many may wait.
        """
        key, identity = (envelope.bot, envelope.message_id), _identity(envelope)
        is_group = envelope.conversation is Conversation.GROUP
        taken = ack(push.frame)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def told(kept: Kept | EnqueueError) -> None:
            is_lost = isinstance(kept, EnqueueError)
            self._duplicates.finish(key, confirmed=not is_lost)
            if not isinstance(kept, EnqueueError):
                self._tally.group_messages += is_group
                self._say_kept(identity, task, kept, self._monotonic() - started)
            if not answer.done():
                answer.set_result(None if is_lost else taken)

        self._duplicates.begin(key)
        try:
            task = self._accept(envelope, told)
        except TooManyWaitingError as error:
            self._duplicates.finish(key, confirmed=False)
            words = "message refused, nobody will answer it"
            self._say(logging.ERROR, "message_refused", words, identity, reason=str(error))
            answer.set_result(ack(push.frame, code=500, message="too many messages wait"))
        except EnqueueError:
            self._duplicates.finish(key, confirmed=False)
            answer.set_result(None)
        except Exception:
            self._duplicates.finish(key, confirmed=False)
            raise
        return answer

    def _accept(self, envelope: Envelope, told: Told) -> TaskMessage:
        """Name the predecessor and enqueue, in one step of the event loop.

        A command that overtakes has no predecessor and is nobody's: it waits for no turn.
        """
        if self._settings.chat_commands and overtaking(envelope) is not None:
            task = command_task(envelope, self._sealer)
            self._enqueuer.take(task, told)
            return task
        its_lane = lane(envelope, self._settings.order)
        previous = self._predecessors.of(envelope.message_id, its_lane)
        if previous is not None:
            envelope = envelope.model_copy(update={"previous_message_id": previous})
        task = answer_task(envelope, self._sealer)
        self._enqueuer.take(task, told)
        self._predecessors.accepted(envelope.message_id, its_lane)
        return task

    # Log lines; what was written and the webhook are never among the fields.

    def _say(
        self, level: int, action: str, words: str, identity: dict[str, str], **fields: object
    ) -> None:
        self._tally.messages[action] += 1
        logger.log(level, words, extra={"action": action, **identity, **fields})

    def _say_kept(
        self, identity: dict[str, str], task: TaskMessage, kept: Kept, took_s: float
    ) -> None:
        is_spooled = kept is Kept.SPOOL
        self._tally.last_message_at = self._monotonic()
        self._say(
            logging.INFO,
            "message_spooled" if is_spooled else "message_enqueued",
            "message spooled until the broker is back" if is_spooled else "message enqueued",
            identity,
            task_id=task.task_id,
            queue=task.queue,
            ack_ms=round(took_s * 1000, 1),
        )

    def _say_denied(self, message: BotMessage, denial: Denial) -> None:
        sender = message.sender_staff_id or message.sender_id
        self._tally.denied(sender, self._monotonic(), reason=denial.value)
        logger.info(
            _DENIED[denial],
            extra={
                "action": "message_denied",
                "reason": denial.value,
                "message_id": message.message_id,
                "conversation_id": message.conversation_id,
                "sender_staff_id": message.sender_staff_id,
            },
        )

    def _say_quota(self, message: BotMessage) -> None:
        self._tally.messages["quota_used_up"] += 1
        logger.error(
            "DingTalk's monthly quota is used up: messages come without their text",
            extra={
                "action": "quota_used_up",
                "message_id": message.message_id,
                "errcode": message.error_code,
            },
        )


def _identity(envelope: Envelope) -> dict[str, str]:
    return {"message_id": envelope.message_id, "conversation_id": envelope.conversation_id}


def _at_once(answer: str) -> asyncio.Future[str | None]:
    future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    future.set_result(answer)
    return future
