"""Tells a DingTalk group of missed replies: ``ALERT_WEBHOOK``.

One of the rounds of every worker's main process (``worker/running/process.py``). The store lets one
of them speak, at most once a minute, and remembers when that was and of what, as the note ``alert``
of kind ``alert``. All times are the store's.

What is told are counts and reasons: nothing anybody wrote, no name and no address.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from dingwire.robot import RobotError
from worker.store import MissedBriefly, Note, Store

__all__ = ["KIND", "Alerts", "Robot"]

logger = logging.getLogger(__name__)

KIND = "alert"
MOST = 1000

_KEY = "missed_replies"
_DAY_S = 86_400.0
# A reply may be seen in the store a moment after others that were missed later.
_OVERLAP_S = 60.0
_KEPT_S = 90 * _DAY_S


class Robot(Protocol):
    """The part of :class:`dingwire.robot.GroupRobot` that is used here."""

    def post(self, text: str) -> None:
        """Say it, or raise :class:`RobotError`."""


class Alerts:
    """Tells what nobody was told yet."""

    def __init__(
        self,
        store: Store,
        robot: Robot,
        *,
        clock: Callable[[], datetime],
        within_s: float = 60.0,
    ) -> None:
        """Prepare; all workers together speak once ``within_s`` at most."""
        self._store, self._robot = store, robot
        self._clock = clock
        self._within_s = within_s

    def tell_of_missed_replies(self) -> None:
        """Tell, if there is news and it is our turn; what cannot be told is told the next time."""
        told = self._told()
        if told is None:
            self._begin()
            return
        missed = self._missed_since(told)
        if _news(missed, told):
            if self._store.is_first(KIND, _KEY, within_s=self._within_s):
                self._tell()
        elif told.age_s > _DAY_S:  # so that it is never forgotten, and never long ago
            self._note(missed)

    def _told(self) -> Note | None:
        return next((note for note in self._store.remembered(KIND) if note.key == _KEY), None)

    def _begin(self) -> None:
        """What was missed before there were alerts is no news."""
        if self._store.is_first(KIND, "begin", within_s=self._within_s):
            self._note(self._store.missed_briefly(limit=MOST, since_s=_OVERLAP_S))

    def _missed_since(self, told: Note) -> list[MissedBriefly]:
        return self._store.missed_briefly(limit=MOST, since_s=told.age_s + _OVERLAP_S)

    def _tell(self) -> None:
        # Asked again: another worker may have told since.
        told = self._told()
        missed = self._missed_since(told) if told is not None else []
        news = _news(missed, told)
        if not news:
            return
        try:
            self._robot.post(self._text(news))
        except RobotError as error:
            logger.warning(
                "an alert was not taken, it is told again: %s",
                error,
                extra={"action": "alert_failed", "errcode": error.errcode, "missed": len(news)},
            )
            return
        self._note(missed)
        logger.info("alert sent", extra={"action": "alert_sent", "missed": len(news)})

    def _note(self, told: list[MissedBriefly]) -> None:
        """Remember that all up to now were told, those of them that will be seen again by name."""
        facts = {"told": [_name(reply) for reply in told]}
        self._store.remember(KIND, _KEY, facts, ttl_s=_KEPT_S)

    def _text(self, news: list[MissedBriefly]) -> str:
        many = f"{len(news)} or more" if len(news) >= MOST else str(len(news))
        reasons = Counter(reply.reason.value for reply in news).most_common()
        oldest_s = (self._clock() - min(reply.missed_at for reply in news)).total_seconds()
        return "\n".join(
            [
                f"漏掉的回复 · Missed replies: {many}",
                *(f"{reason}: {count}" for reason, count in reasons),
                f"oldest: {max(0, round(oldest_s))} s ago",
                "to see them, and send them after all: celery -A worker late list",
            ]
        )


def _news(missed: list[MissedBriefly], told: Note | None) -> list[MissedBriefly]:
    known = set(told.facts.get("told", ())) if told is not None else set()
    return [reply for reply in missed if _name(reply) not in known]


def _name(reply: MissedBriefly) -> str:
    """One that is missed again, after a rerun, is another one."""
    return f"{reply.task_id} {reply.missed_at.isoformat()}"
