"""What happens to one chat message before it is acknowledged: admit, translate, enqueue.

Called by ``listener/connection.py`` for every push, many at a time; those that are no chat messages
go to ``listener/pushes.py``.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from contract.commands import overtaking
from contract.envelope import Conversation, Envelope
from contract.turn import lane
from dingwire.frames import ack
from dingwire.messages import QUOTA_USED_UP, BotMessage, parse_bot_message
from dingwire.protocol import BotPush, CardPush, EventPush
from listener.admission import Admission, Denial
from listener.duplicates import Duplicates
from listener.enqueue import EnqueueError, Enqueuer, Kept, TooManyWaitingError
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

    async def take(
        self, push: BotPush | CardPush | EventPush, clock_offset: timedelta
    ) -> str | None:
        """Return the ack to send, once it may be sent; None when nothing has the message.

        Messages are enqueued in the order in which these calls began: nothing is awaited before.
        """
        match push:
            case CardPush():
                return await self._pushes.take_card(push)
            case EventPush():
                return await self._pushes.take_event(push)
        return await self._take_message(push, clock_offset)

    async def _take_message(self, push: BotPush, clock_offset: timedelta) -> str | None:
        started = self._monotonic()
        message = parse_bot_message(push.payload)
        denial = self._admission.denial(
            message.sender_staff_id, message.conversation_id, is_group=message.is_group
        )
        if denial is not None:
            self._say_denied(message, denial)
            if self._settings.denied_notice:
                self._notices.tell(self._translated(message, push, clock_offset), denial)
            return ack(push.frame)
        if message.error_code == QUOTA_USED_UP:
            self._say_quota(message)
        envelope = self._translated(message, push, clock_offset)
        seen = await self._seen(envelope)
        if seen is not None:
            return ack(push.frame) if seen else None
        return await self._enqueue(envelope, push, started)

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

    async def _seen(self, envelope: Envelope) -> bool | None:
        """Return None for a new message, else whether the broker has the first of it."""
        key = (envelope.bot, envelope.message_id)
        in_hand = self._duplicates.in_hand(key)
        if in_hand is None and not self._duplicates.is_done(key):
            self._duplicates.begin(key)
            return None
        confirmed = await asyncio.shield(in_hand) if in_hand else True
        self._say(logging.INFO, "duplicate_dropped", "duplicate dropped", envelope)
        return confirmed

    async def _enqueue(self, envelope: Envelope, push: BotPush, started: float) -> str | None:
        kept = None
        try:
            envelope, task, accepted = self._accept(envelope)
            kept = await asyncio.shield(accepted)
        except TooManyWaitingError as error:
            self._say(
                logging.ERROR,
                "message_refused",
                "message refused, nobody will answer it",
                envelope,
                reason=str(error),
            )
            return ack(push.frame, code=500, message="too many messages wait")
        except EnqueueError:
            return None
        finally:
            key = (envelope.bot, envelope.message_id)
            self._duplicates.finish(key, confirmed=kept is not None)
        self._say_kept(envelope, task, kept, self._monotonic() - started)
        return ack(push.frame)

    def _accept(self, envelope: Envelope) -> tuple[Envelope, TaskMessage, asyncio.Future[Kept]]:
        """Name the predecessor and enqueue, in one step of the event loop.

        A command that overtakes has no predecessor and is nobody's: it waits for no turn.
        """
        if self._settings.chat_commands and overtaking(envelope) is not None:
            task = command_task(envelope, self._sealer)
            return envelope, task, self._enqueuer.accept(task)
        its_lane = lane(envelope, self._settings.order)
        previous = self._predecessors.of(envelope.message_id, its_lane)
        envelope = envelope.model_copy(update={"previous_message_id": previous})
        task = answer_task(envelope, self._sealer)
        accepted = self._enqueuer.accept(task)
        self._predecessors.accepted(envelope.message_id, its_lane)
        return envelope, task, accepted

    # Log lines; what was written and the webhook are never among the fields.

    def _say(
        self, level: int, action: str, words: str, envelope: Envelope, **fields: object
    ) -> None:
        self._tally.messages[action] += 1
        identity = {
            "message_id": envelope.message_id,
            "conversation_id": envelope.conversation_id,
        }
        logger.log(level, words, extra={"action": action, **identity, **fields})

    def _say_kept(self, envelope: Envelope, task: TaskMessage, kept: Kept, took_s: float) -> None:
        is_spooled = kept is Kept.SPOOL
        self._tally.last_message_at = self._monotonic()
        self._tally.group_messages += envelope.conversation is Conversation.GROUP
        self._say(
            logging.INFO,
            "message_spooled" if is_spooled else "message_enqueued",
            "message spooled until the broker is back" if is_spooled else "message enqueued",
            envelope,
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
