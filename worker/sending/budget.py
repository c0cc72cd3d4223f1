"""The calls of DingTalk's API that a bot may still make this month: ``API_BUDGET``.

DingTalk bills calls by the month and refuses them, to the whole organisation, when they are used
up. ``worker/sending/api_gate.py`` asks here before each call that counts; the doctor, the metrics
and ``worker/telling/budget_alert.py`` say how it stands. The count is the store's, so all processes
spend of one budget.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from dingwire.errors import OpenApiRefusedError
from worker.store import StoreError

__all__ = ["USED_UP", "ApiBudget", "ApiBudgetUsedUpError", "calls_made", "month_of"]

logger = logging.getLogger(__name__)

USED_UP = "api_budget_used_up"  # an error's code, and the kind of the notes for the alert

_KIND = "api_calls"
_CHINA = timezone(timedelta(hours=8))  # where DingTalk's months begin
_KEPT_S = 62 * 86_400.0


class ApiBudgetUsedUpError(OpenApiRefusedError):
    """All calls of the month are made: nothing was called, and trying again is of no use."""

    def __init__(self, calls: int, month: str) -> None:
        super().__init__(USED_UP, f"all {calls} calls of {month} are made")
        self.args = (calls, month)
        self.calls, self.month = calls, month

    def __str__(self) -> str:
        return f"API_BUDGET is used up: {self.message}"


class CountStore(Protocol):
    """The part of :class:`worker.store.Store` that is used here."""

    def count_up(self, kind: str, key: str, *, ttl_s: float, by: int = 1) -> int:
        """Add to a count."""

    def is_first(self, kind: str, key: str, *, within_s: float) -> bool:
        """Return whether we are the one to do it."""

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep a note."""


class ApiBudget:
    """What one bot spends; safe to share between threads."""

    def __init__(
        self, store: CountStore, *, client_id: str, calls: int, clock: Callable[[], datetime]
    ) -> None:
        """Prepare.

        Args:
            store: Counts.
            client_id: Whose budget it is.
            calls: How many a month; those that DingTalk throttled are not counted.
            clock: Ours, aware; says which month it is in China.
        """
        self._store, self._client_id = store, client_id
        self._calls, self._clock = calls, clock
        self._used_up_in = ""

    def spend(self) -> None:
        """Count one call that is about to be made.

        A store that does not answer stops nobody: DingTalk's own limit is still there.

        Raises:
            ApiBudgetUsedUpError: It must not be made.
        """
        self.check()
        month = month_of(self._clock())
        try:
            if self._count(month, 1) <= self._calls:
                return
            self._count(month, -1)
            self._tell(month)
        except StoreError:
            return
        self._used_up_in = month
        raise ApiBudgetUsedUpError(self._calls, month)

    def check(self) -> None:
        """See whether calls are left, as far as this process knows; asks nobody.

        Raises:
            ApiBudgetUsedUpError: None are.
        """
        month = month_of(self._clock())
        if month == self._used_up_in:
            raise ApiBudgetUsedUpError(self._calls, month)

    def give_back(self) -> None:
        """Take one call back that DingTalk throttled, and so did not count."""
        try:
            self._count(month_of(self._clock()), -1)
        except StoreError:
            return

    def _count(self, month: str, by: int) -> int:
        return self._store.count_up(_KIND, f"{self._client_id} {month}", ttl_s=_KEPT_S, by=by)

    def _tell(self, month: str) -> None:
        """Tell the operator, once a month in all processes."""
        if not self._store.is_first(USED_UP, f"{self._client_id} {month}", within_s=_KEPT_S):
            return
        facts = {"calls": self._calls, "month": month}
        logger.error(
            "all API calls of the month are made: no proactive messages, reactions or cards",
            extra={"action": "api_budget_used_up", "client_id": self._client_id, **facts},
        )
        self._store.remember(USED_UP, self._client_id, facts, ttl_s=_KEPT_S)


def calls_made(store: CountStore, client_id: str, now: datetime) -> int:
    """Return how many calls a bot has made this month, as far as they were counted.

    Raises:
        StoreError: The store does not answer.
    """
    key = f"{client_id} {month_of(now)}"
    return max(0, store.count_up(_KIND, key, ttl_s=_KEPT_S, by=0))


def month_of(now: datetime) -> str:
    """Return the month in China, such as ``2026-11``."""
    return now.astimezone(_CHINA).strftime("%Y-%m")
