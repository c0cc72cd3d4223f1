"""How much work waits, how urgent it is, and how many workers it takes.

For autoscalers: ``celery -A worker backlog`` shows it, ``worker/telling/fleet_metrics.py`` exports
it. :func:`estimate` is free of I/O; docs/operations.md, "Autoscaling: backlog", says how it thinks.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from contract.routing import MESSAGES, REPLIES, TURNS
from contract.turn import Order
from worker.running import presence
from worker.running.queues import Queue
from worker.store import Note, Pace, Store, Unfinished

__all__ = ["WITHIN_S", "Backlog", "Known", "ask", "estimate"]

WITHIN_S = 60.0
_PACES_S = (300.0, 3600.0)
_RUNNING, _PARKED = "running", "parked"


@dataclass(frozen=True)
class Known:
    """What the store knows."""

    unfinished: list[Unfinished]
    pace: Pace
    workers: list[Note]


def ask(store: Store) -> Known:
    """Ask the store; the pace is that of the last minutes, or of the last hour when they had none.

    Raises:
        StoreError: It cannot be asked.
    """
    for over_s in _PACES_S:
        pace = store.pace(over_s=over_s)
        if pace.finished:
            break
    return Known(store.unfinished(), pace, store.remembered(presence.KIND))


@dataclass(frozen=True)
class Backlog:
    """The signal; None is what is not known. ``why`` says why ``workers_needed`` is not."""

    waiting: int
    running: int
    parked: int
    queues: dict[str, int]
    oldest_age_s: float | None
    oldest_age_from: str | None
    smallest_spare_s: float | None
    finished: int
    over_s: float
    seconds_per_message: float | None
    work_s: float | None
    drain_s: float | None
    workers: int
    slots: int
    within_s: float
    workers_needed: int | None
    why: str | None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON, seconds to the millisecond."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def estimate(
    queues: Mapping[str, Queue],
    known: Known,
    *,
    now: datetime,
    within_s: float = WITHIN_S,
    order: Order = Order.CONVERSATION,
    slots_of_a_worker: int,
) -> Backlog:
    """Return the backlog.

    Args:
        queues: From :func:`worker.running.queues.read_queues`.
        known: From :func:`ask`.
        now: The time, aware UTC.
        within_s: In which what waits shall be done.
        order: Says which messages can be worked on at once.
        slots_of_a_worker: What to reckon with when no worker is there to say it.
    """
    running = [each for each in known.unfinished if each.state == _RUNNING]
    kept = [each.envelope for each in known.unfinished if each.state != _RUNNING]
    # What was taken before is in the store as well; the store's list may be cut short.
    waiting = queues[MESSAGES].depth + max(len(kept), queues[TURNS].depth + queues[REPLIES].depth)
    heads, source = _heads(queues, [each.envelope for each in running], now)
    age_s, age_from = _oldest(heads, kept, source, now)
    spares = [s for e in (*heads, *kept) if (s := _spare_s(e, now)) is not None]
    mean_s = known.pace.work_s / known.pace.finished if known.pace.finished else None
    slots = [int(note.facts.get("concurrency") or 1) for note in known.workers]
    each_s = sum(slots) / len(slots) if slots else slots_of_a_worker
    work_s = mean_s * waiting if mean_s is not None else (None if waiting else 0.0)
    at_once = _lanes(kept, order) + queues[MESSAGES].depth if order is not Order.NONE else waiting
    needed = _slots_needed(waiting, len(running), mean_s, min(waiting, at_once), spares, within_s)
    return Backlog(
        waiting=waiting,
        running=len(running),
        parked=sum(each.state == _PARKED for each in known.unfinished),
        queues={name: queue.depth for name, queue in queues.items()},
        oldest_age_s=age_s,
        oldest_age_from=age_from,
        smallest_spare_s=min(spares, default=None),
        finished=known.pace.finished,
        over_s=known.pace.over_s,
        seconds_per_message=mean_s,
        work_s=work_s,
        drain_s=work_s / sum(slots) if work_s is not None and slots else None,
        workers=len(slots),
        slots=sum(slots),
        within_s=within_s,
        workers_needed=None if needed is None else max(1, math.ceil(needed / each_s)),
        why=None if needed is not None else _NO_PACE,
    )


_NO_PACE = "no message was finished in the last hour, so what one takes is not known"


def _slots_needed(
    waiting: int,
    running: int,
    mean_s: float | None,
    at_once: int,
    spares: Iterable[float],
    within_s: float,
) -> int | None:
    """Return how many messages have to be worked on at once; those at work keep their slots."""
    if not waiting:
        return running
    if mean_s is None:
        return None
    # What is too late already cannot be hurried; nothing is done sooner than one message takes.
    in_s = max(min([within_s, *(s for s in spares if s > 0)]), mean_s)
    work_s = mean_s * (waiting + running / 2)  # those at work are half done
    needed = math.ceil(work_s / in_s) if in_s else 0
    return max(running, min(needed, at_once + running))


def _heads(
    queues: Mapping[str, Queue], running: list[dict[str, Any]], now: datetime
) -> tuple[list[dict[str, Any]], str]:
    """Return the oldest messages on the broker, or what comes closest, and who says so.

    What a broker does not show came right behind what was taken last.
    """
    shown = [queues[name].oldest for name in (MESSAGES, TURNS)]
    if all(oldest is not None for oldest in shown):
        return [envelope for oldest in shown for envelope in oldest or ()], "queue"
    if not queues[MESSAGES].depth:
        return [], "store"
    aged = [e for e in running if _age_s(e, now) is not None]
    return sorted(aged, key=lambda e: _age_s(e, now) or 0.0)[:1], "store"


def _oldest(
    heads: list[dict[str, Any]], kept: list[dict[str, Any]], source: str, now: datetime
) -> tuple[float | None, str | None]:
    on_broker = max((a for e in heads if (a := _age_s(e, now)) is not None), default=None)
    in_store = max((a for e in kept if (a := _age_s(e, now)) is not None), default=None)
    if on_broker is not None and (in_store is None or on_broker >= in_store):
        return on_broker, source
    return in_store, None if in_store is None else "store"


def _lanes(envelopes: Iterable[dict[str, Any]], order: Order) -> int:
    """Return how many of them can be worked on at once."""
    names = ("bot", "conversation_id", *(("sender_id",) if order is Order.SENDER else ()))
    return len({tuple(str(e.get(name)) for name in names) for e in envelopes})


def _age_s(envelope: dict[str, Any], now: datetime) -> float | None:
    received_at = _moment(envelope.get("received_at"))
    return None if received_at is None else (now - received_at).total_seconds()


def _spare_s(envelope: dict[str, Any], now: datetime) -> float | None:
    """Return what is left until the deadline, which is on DingTalk's clock."""
    deadline = _moment(envelope.get("deadline"))
    if deadline is None:
        return None
    offset_s = envelope.get("clock_offset_s")
    offset = timedelta(seconds=offset_s if isinstance(offset_s, int | float) else 0.0)
    return (deadline - now - offset).total_seconds()


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
