"""Keeps the API calls of all workers within DingTalk's limits: so many a second, and a month.

``worker/wiring.py`` gives one to each :class:`dingwire.openapi.OpenApiClient`. DingTalk counts by
app and API; so does the store, for all processes together.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from dingwire.errors import OpenApiThrottledError
from worker.sending.budget import ApiBudget
from worker.store import Limit, StoreError

__all__ = ["PACED", "ApiGate", "LimitStore"]

logger = logging.getLogger(__name__)

PACED = "paced"
"""The ``code`` of a call that waits for its time: DingTalk was not asked, so nothing failed."""

# Slept through within the call; who has to wait longer is better put off.
SHORT_WAIT_S = 2.0
_WINDOW_S = 1.0
# A hold shorter than this is everyday life at the limit.
_TOLD_S = 10.0


class LimitStore(Protocol):
    """The part of :class:`worker.store.Store` that is used here."""

    def admit(self, limits: Sequence[Limit]) -> float:
        """Let one in, or say for how long not."""

    def hold_back(self, key: str, *, for_s: float, slow_s: float = 0.0) -> None:
        """Let nobody in for a while."""


class ApiGate:
    """A :class:`dingwire.openapi.Gate` for one bot; safe to share between threads.

    A store that does not answer closes no gate: what is lost then is the pace, not the reply.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        client_id: str,
        calls_per_s: int,
        budget: ApiBudget | None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Prepare.

        Args:
            store: Knows the pace of all processes.
            client_id: Whose calls they are.
            calls_per_s: How many a second, of each API.
            budget: Of the month; None is any number.
            sleep: Waits for so many seconds.
        """
        self._store, self._client_id = store, client_id
        self._calls_per_s, self._budget, self._sleep = calls_per_s, budget, sleep

    def admit(self, api: str) -> None:
        """See :meth:`dingwire.openapi.Gate.admit`."""
        if self._budget is not None:
            self._budget.check()  # nobody waits for a call that will not be made
        try:
            self._wait(api)
        except StoreError as error:
            logger.debug("a call is made unpaced: %s", error)
        if self._budget is not None:
            self._budget.spend()

    def hold_back(self, api: str, for_s: float) -> None:
        """See :meth:`dingwire.openapi.Gate.hold_back`."""
        if self._budget is not None:
            self._budget.give_back()
        if for_s >= _TOLD_S:
            logger.warning(
                "DingTalk throttles an API: no worker calls it for a while",
                extra={
                    "action": "api_held_back",
                    "client_id": self._client_id,
                    "api": api,
                    "retry_in_s": for_s,
                },
            )
        try:
            self._store.hold_back(self._key(api), for_s=for_s)
        except StoreError as error:
            logger.debug("a hold is ours alone: %s", error)

    def _wait(self, api: str) -> None:
        limit = Limit(self._key(api), self._calls_per_s, _WINDOW_S)
        waited_s = 0.0
        while wait_s := self._store.admit([limit]):
            if waited_s + wait_s > SHORT_WAIT_S:
                raise OpenApiThrottledError(PACED, "no worker may make this call yet", wait_s)
            self._sleep(wait_s)
            waited_s += wait_s

    def _key(self, api: str) -> str:
        return f"api {self._client_id} {api}"
