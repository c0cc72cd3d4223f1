"""Card buttons and organisation events before they are acknowledged; called by ``intake.py``.

DingTalk waits 2 s for the answer to a button and does not ask again, so it is answered whatever the
broker does; the press waits on the disk like a message. An event it pushes again when it is told
LATER, so that one never goes to the disk: only the broker's word makes it a SUCCESS.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from contract.pushes import CardAction, OrgEvent
from dingwire.callbacks import CardCallback, parse_card_callback, parse_event
from dingwire.frames import ack
from dingwire.protocol import CardPush, EventPush
from listener.admission import Admission, Denial
from listener.duplicates import Duplicates
from listener.enqueue import EnqueueError, Enqueuer, Kept, TooManyWaitingError
from listener.push_translate import to_card_action, to_org_event
from listener.settings import ListenerSettings
from listener.tally import Tally
from listener.task_message import push_task

__all__ = ["PushIntake"]

logger = logging.getLogger(__name__)

# Of the 2 s that DingTalk waits, the way there and back takes some; by then a broker that hangs has
# been given up on, and the disk has had its time.
CARD_LIMIT_S = 1.5
# Of 3 s.
EVENT_LIMIT_S = 2.0

_UNCHANGED: dict[str, Any] = {"response": {}}


class PushIntake:
    """Takes them in, and counts which way they went."""

    def __init__(
        self,
        settings: ListenerSettings,
        enqueuer: Enqueuer,
        *,
        admission: Admission,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        tally: Tally,
        card_limit_s: float = CARD_LIMIT_S,
        event_limit_s: float = EVENT_LIMIT_S,
    ) -> None:
        self._client_id, self._sealer = settings.client_id, settings.sealer
        self._enqueuer, self._admission = enqueuer, admission
        self._clock, self._tally = clock, tally
        self._card_limit_s, self._event_limit_s = card_limit_s, event_limit_s
        self._duplicates = Duplicates(monotonic)
        self._following: set[asyncio.Task[bool]] = set()

    # Card buttons.

    async def take_card(self, push: CardPush) -> str:
        """Return the ack, which leaves the card as it is, within the time that DingTalk waits."""
        card = parse_card_callback(push.payload)
        action = to_card_action(
            card, push.frame, client_id=self._client_id, received_at=self._clock()
        )
        denial = self._admission.denial(card.staff_id, card.space_id, is_group=card.is_group)
        if denial is not None:
            self._say_denied(action, card, denial)
            return ack(push.frame, data=_UNCHANGED)
        key = (action.bot, action.identity)
        if self._duplicates.in_hand(key) or self._duplicates.is_done(key):
            self._say(logging.INFO, "duplicate_dropped", "duplicate dropped", action)
            return ack(push.frame, data=_UNCHANGED)
        self._duplicates.begin(key)
        keeping = self._follow(asyncio.create_task(self._keep(action)))
        await asyncio.wait([keeping], timeout=self._card_limit_s)
        if keeping.done() and not keeping.result():
            return ack(push.frame, code=500, message="not taken", data=_UNCHANGED)
        return ack(push.frame, data=_UNCHANGED)

    async def _keep(self, action: CardAction) -> bool:
        kept = None
        task = push_task(action, self._sealer)
        try:
            kept = await asyncio.shield(self._enqueuer.accept(task))
        except EnqueueError as error:
            reason = str(error) if isinstance(error, TooManyWaitingError) else "stopping"
            words = "card action lost, nobody will handle it"
            self._say(logging.ERROR, "card_action_lost", words, action, reason=reason)
        finally:
            self._duplicates.finish((action.bot, action.identity), confirmed=kept is not None)
        if kept is None:
            return False
        is_spooled = kept is Kept.SPOOL
        name = "card_action_spooled" if is_spooled else "card_action_enqueued"
        words = "card action spooled" if is_spooled else "card action enqueued"
        self._say(logging.INFO, name, words, action, task_id=task.task_id, queue=task.queue)
        return True

    # Events.

    async def take_event(self, push: EventPush) -> str:
        """Return the ack: SUCCESS once the broker has the event, LATER when it has not in time."""
        event = to_org_event(
            parse_event(push.frame),
            push.frame,
            client_id=self._client_id,
            received_at=self._clock(),
        )
        if await self._has_broker(event):
            return ack(push.frame)
        return ack(push.frame, code=500, message="the broker is away")

    async def _has_broker(self, event: OrgEvent) -> bool:
        key = (event.bot, event.identity)
        in_hand = self._duplicates.in_hand(key)
        if in_hand is None and not self._duplicates.is_done(key):
            self._duplicates.begin(key)
            return await self._follow(asyncio.create_task(self._offer(event)))
        confirmed = await asyncio.shield(in_hand) if in_hand else True
        if confirmed:
            self._say(logging.INFO, "duplicate_dropped", "duplicate dropped", event)
        return confirmed

    async def _offer(self, event: OrgEvent) -> bool:
        is_taken = False
        task = push_task(event, self._sealer)
        try:
            async with asyncio.timeout(self._event_limit_s):
                is_taken = await self._enqueuer.offer(task)
        except TimeoutError:
            pass
        finally:
            self._duplicates.finish((event.bot, event.identity), confirmed=is_taken)
        if is_taken:
            words = "event enqueued"
            fields = {"task_id": task.task_id, "queue": task.queue}
            self._say(logging.INFO, "event_enqueued", words, event, **fields)
        else:
            words = "event put off: the broker is away, DingTalk is asked to push it again"
            self._say(logging.WARNING, "event_deferred", words, event)
        return is_taken

    def _follow(self, task: "asyncio.Task[bool]") -> "asyncio.Task[bool]":
        """Keep a task until it ends, also past a socket that is closed meanwhile."""
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        return task

    # Log lines; what was entered and what happened are never among the fields.

    def _say(
        self, level: int, action: str, words: str, push: CardAction | OrgEvent, **fields: object
    ) -> None:
        is_card = isinstance(push, CardAction)
        self._tally.pushes["card" if is_card else "event", action] += 1
        if isinstance(push, CardAction):
            identity = {"push_id": push.push_id, "out_track_id": push.out_track_id}
        else:
            identity = {"event_id": push.event_id, "event_type": push.event_type}
        logger.log(level, words, extra={"action": action, **identity, **fields})

    def _say_denied(self, action: CardAction, card: CardCallback, denial: Denial) -> None:
        self._tally.denials[denial.value] += 1
        self._say(
            logging.INFO,
            "card_action_denied",
            "card action denied",
            action,
            reason=denial.value,
            staff_id=card.staff_id,
            space_id=card.space_id,
        )
