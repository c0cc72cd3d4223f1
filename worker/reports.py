"""What listeners report is recorded; called by ``worker/tasks.py`` for the task ``report``.

Messages they took in and could not hand on: each becomes a missed reply, which ``celery -A worker
late list`` shows. A message that is known already stays as it is, so a report may come twice, or
after the message itself.

How a listener does: the last of it is remembered for a while, for ``celery -A worker doctor``, with
``age_s``, how old it was by the two clocks when it came.
"""

import logging
import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta

from contract.envelope import Envelope
from contract.report import ListenerStatus, LostMessage, Report
from contract.routing import task_id
from contract.turn import Order, lane, place
from worker.outcome import FinalState, Outcome
from worker.patience import PatientStore
from worker.store import Claim, Claimed, LeaseLostError, Parked, Reason, StoreError, Turn
from worker.story import beginning

__all__ = ["LISTENER", "record"]

logger = logging.getLogger(__name__)

LISTENER = "listener"  # the kind of the store's note; its key names the listener and the bot

# Eight reports of a listener; with none for so long it is forgotten.
_KEPT_S = 120.0
_LEASE_S = 30.0
_TRIES, _TRY_AGAIN_S = 10, 0.05
_DETAIL = "no room left on the listener's disk while the broker was away"


Show = Callable[[str, str, Outcome], object]
"""Makes the outcome of a message that no task carries seen: its task id, its message id."""


def record(
    store: PatientStore,
    report: Report | ListenerStatus,
    order: Order,
    *,
    now: datetime,
    show: Show = lambda *_: None,
) -> int:
    """Record a report; return how many facts of it were new.

    Lost messages in their lanes, as the messages behind them wait for them to be known.

    Raises:
        StoreUnavailableError: The process stops while the store is away; come again.
    """
    if isinstance(report, ListenerStatus):
        return int(_remember(store, report, now))
    outcome = Outcome(FinalState.FLAGGED, Reason(report.reason), detail=_DETAIL)
    count = 0
    for message in report.messages:
        identity = task_id(message.bot, message.message_id)
        if _record_one(store, message, identity, outcome, order, now):
            show(identity, message.message_id, outcome)
            count += 1
    return count


def _remember(store: PatientStore, status: ListenerStatus, now: datetime) -> bool:
    """Remember a status, unless a later one is there or the store is away: the next comes soon.

    However old it seems: of a listener whose clock is behind ours they all do, and the doctor is
    to name it.
    """
    age_s = round((now - status.sent_at).total_seconds(), 1)
    facts = status.to_wire() | {"age_s": age_s}
    try:
        if _is_overtaken(store, status):
            return False
        store.remember(LISTENER, _key(status), facts, ttl_s=_KEPT_S)
    except StoreError as error:
        logger.debug("a listener's status is not remembered: %s", error)
        return False
    return True


def _key(status: ListenerStatus) -> str:
    """A listener reports each of its bots by itself."""
    return f"{status.listener} {status.bot}"


def _is_overtaken(store: PatientStore, status: ListenerStatus) -> bool:
    """Whether a later one is there: two workers may have taken one each."""
    known = {note.key: note.facts for note in store.remembered(LISTENER)}.get(_key(status))
    return known is not None and datetime.fromisoformat(known["sent_at"]) > status.sent_at


def _record_one(
    store: PatientStore,
    message: LostMessage,
    identity: str,
    outcome: Outcome,
    order: Order,
    now: datetime,
) -> bool:
    assert outcome.reason is not None  # noqa: S101, it was made with one
    claim = _claim(store, identity, _without_words(message), order, now)
    if not isinstance(claim, Claimed):
        return False
    try:
        store.miss(
            claim.lease,
            state=FinalState.FLAGGED,
            reason=outcome.reason,
            errcode=None,
            detail=outcome.detail,
            steps=[outcome.step],
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
            "reason": outcome.reason.value,
        },
    )
    return True


def _claim(
    store: PatientStore, identity: str, envelope: Envelope, order: Order, now: datetime
) -> Claim:
    name = lane(envelope, order)
    for tried in range(_TRIES):
        claim = store.claim(
            identity,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            lease_s=_LEASE_S,
            envelope=envelope.to_wire(),
            turn=None if name is None else Turn(name, place(envelope)),
            steps=beginning(envelope.to_wire(), now),
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
