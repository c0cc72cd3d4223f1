"""Tells a DingTalk group that a bot's API budget is used up: ``ALERT_WEBHOOK``.

One of the rounds of every worker's main process, as ``worker/telling/alerts.py`` is. What is told
is the bot's client id, a month and a number.
"""

import logging
from typing import Protocol

from dingwire.robot import RobotError
from worker.sending.budget import USED_UP
from worker.store import Note, Store

__all__ = ["BudgetAlert"]

logger = logging.getLogger(__name__)

_KEPT_S = 62 * 86_400.0
_TRY_EVERY_S = 60.0


class Robot(Protocol):
    """The part of :class:`dingwire.robot.GroupRobot` that is used here."""

    def post(self, text: str) -> None:
        """Say it, or raise :class:`RobotError`."""


class BudgetAlert:
    """Tells what nobody was told yet; of all workers, one speaks."""

    def __init__(self, store: Store, robot: Robot) -> None:
        self._store, self._robot = store, robot

    def tell_of_used_up_budgets(self) -> None:
        """Tell, if there is news; what cannot be told is told a minute later."""
        for note in self._store.remembered(USED_UP):
            # Who has the minute asks nobody again: it is long enough for one post.
            if not note.facts.get("told") and self._store.is_first(
                "alert", f"{USED_UP} {note.key}", within_s=_TRY_EVERY_S
            ):
                self._tell(note)

    def _tell(self, note: Note) -> None:
        try:
            self._robot.post(_text(note))
        except RobotError as error:
            logger.warning(
                "an alert was not taken, it is told again: %s",
                error,
                extra={"action": "alert_failed", "errcode": error.errcode},
            )
            return
        self._store.remember(USED_UP, note.key, {**note.facts, "told": True}, ttl_s=_KEPT_S)
        logger.info("alert sent", extra={"action": "alert_sent", "client_id": note.key})


def _text(note: Note) -> str:
    facts = note.facts
    return "\n".join(
        [
            f"本月 API 调用已用完 · API budget used up: {note.key}",
            f"all {facts.get('calls')} calls of {facts.get('month')} are made",
            "no proactive messages, reactions and cards until next month; replies go on",
            "to change it: API_BUDGET",
        ]
    )
