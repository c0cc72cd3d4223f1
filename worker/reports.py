"""What listeners report is recorded: messages they took in and could not hand on.

Called by ``worker/tasks.py`` for the task ``report``. Each becomes a missed reply, which
``celery -A worker late list`` shows. A message that is known already stays as it is, so a report
may come twice, or after the message itself.
"""

import logging
import os
import socket
from datetime import timedelta

from contract.envelope import Envelope
from contract.report import LostMessage, Report
from contract.routing import task_id
from contract.turn import Order, lane, place
from worker.outcome import FinalState
from worker.patience import PatientStore
from worker.store import Claim, Claimed, LeaseLostError, Parked, Reason, Turn

__all__ = ["record"]

logger = logging.getLogger(__name__)

_LEASE_S = 30.0
_TRIES, _TRY_AGAIN_S = 10, 0.05
_DETAIL = "no room left on the listener's disk while the broker was away"


def record(store: PatientStore, report: Report, order: Order) -> int:
    """Record every message of a report; return how many were not known.

    In their lanes, as the messages behind them wait for them to be known.

    Raises:
        StoreUnavailableError: The process stops while the store is away; come again.
    """
    reason = Reason(report.reason)
    return sum(_record_one(store, message, reason, order) for message in report.messages)


def _record_one(store: PatientStore, message: LostMessage, reason: Reason, order: Order) -> bool:
    identity = task_id(message.bot, message.message_id)
    claim = _claim(store, identity, _without_words(message), order)
    if not isinstance(claim, Claimed):
        return False
    try:
        store.miss(
            claim.lease, state=FinalState.FLAGGED, reason=reason, errcode=None, detail=_DETAIL
        )
    except LeaseLostError:  # somebody was quicker
        return False
    logger.warning(
        "reply flagged",
        extra={
            "action": "reply_flagged",
            "message_id": message.message_id,
            "conversation_id": message.conversation_id,
            "task_id": identity,
            "reason": reason.value,
        },
    )
    return True


def _claim(store: PatientStore, identity: str, envelope: Envelope, order: Order) -> Claim:
    name = lane(envelope, order)
    for tried in range(_TRIES):
        claim = store.claim(
            identity,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            lease_s=_LEASE_S,
            envelope=envelope.to_wire(),
            turn=None if name is None else Turn(name, place(envelope)),
        )
        if not isinstance(claim, Parked):
            break
        store.hand_over(claim.next)
        # Most often another report of the same lane is being recorded. Should it take longer, the
        # store has the message: it is found to be too late when its turn comes.
        if tried < _TRIES - 1:
            store.stopping.wait(_TRY_AGAIN_S)
    return claim


def _without_words(message: LostMessage) -> Envelope:
    """Return what is left of the envelope.

    Its deadline is over: should this worker die between claim and record, the message goes to
    the answering of another one, which must not have the agent answer nothing.
    """
    over = message.received_at + timedelta(seconds=message.clock_offset_s)
    return Envelope.model_validate(message.model_dump() | {"deadline": over})
