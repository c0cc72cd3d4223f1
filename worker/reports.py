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
from worker.outcome import FinalState
from worker.patience import PatientStore
from worker.store import Claimed, LeaseLostError, Reason

__all__ = ["record"]

logger = logging.getLogger(__name__)

_LEASE_S = 30.0
_DETAIL = "no room left on the listener's disk while the broker was away"


def record(store: PatientStore, report: Report) -> int:
    """Record every message of a report; return how many were not known.

    Raises:
        StoreUnavailableError: The process stops while the store is away; come again.
    """
    return sum(_record_one(store, message, Reason(report.reason)) for message in report.messages)


def _record_one(store: PatientStore, message: LostMessage, reason: Reason) -> bool:
    identity = task_id(message.bot, message.message_id)
    claim = store.claim(
        identity,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        lease_s=_LEASE_S,
        envelope=_without_words(message).to_wire(),
    )
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


def _without_words(message: LostMessage) -> Envelope:
    """Return what is left of the envelope.

    Its deadline is over: should this worker die between claim and record, the message goes to
    the answering of another one, which must not have the agent answer nothing.
    """
    over = message.received_at + timedelta(seconds=message.clock_offset_s)
    return Envelope.model_validate(message.model_dump() | {"deadline": over})
