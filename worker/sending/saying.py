"""What an agent says before its answer: ``context.say(...)``.

Asked by ``worker/asking.py`` for each run of an agent. Such a message is no part of the answer and
is not kept: should the worker die, the next run says it again, under the same ``msgUuid``. It keeps
the conversation's pace, and an answer never overtakes it. What DingTalk does not take is tried
again while there is time, then logged; no agent fails by it.
"""

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Self

from contract.deadline import Timeliness
from contract.envelope import Envelope
from dingwire.errors import OpenApiError, WebhookError, WebhookUnreachableError
from dingwire.replies import Reply
from worker.agents.cancelling import Cancellation
from worker.agents.results import replies_of
from worker.agents.runner import AgentFailedError
from worker.leases import Heartbeat
from worker.sending.backoff import delay_s
from worker.sending.carrying import Carrier, Route
from worker.sending.parts import parts_of
from worker.sending.uploading import Uploading
from worker.store import Claimed, Limit, Step, StoreError
from worker.timing import judged, spare_s

__all__ = ["Saying", "Speaker"]

logger = logging.getLogger(__name__)

_ATTEMPTS = 4
# A post gives up after 13 s; the answer waits for one that is on its way.
_LAST_POST_S = 15.0

Admit = Callable[[Sequence[Limit]], float]
"""See :meth:`worker.store.Store.admit`."""


class Saying:
    """Makes speakers; one for all messages of a process."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        uploading: Uploading,
        admit: Admit,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
    ) -> None:
        """Prepare.

        Args:
            carrier: Sends.
            uploading: Makes media ready to be sent.
            admit: Asks the store whether it is time.
            heartbeat: Knows whether a message is still ours.
            clock: Ours, aware UTC.
        """
        self._carrier, self._uploading, self._admit = carrier, uploading, admit
        self._heartbeat, self._clock = heartbeat, clock

    def about(self, claim: Claimed, envelope: Envelope, cancellation: Cancellation) -> "Speaker":
        """Return what speaks about a message that is ours by ``claim``."""
        return Speaker(
            envelope,
            name=claim.lease.task_id,
            post=partial(self._post, envelope),
            ready=partial(self._ready, envelope),
            obstacle=partial(self._obstacle, claim, envelope),
            is_ours=lambda: self._heartbeat.confirms(claim.lease),
            spare_s=lambda: spare_s(envelope, self._clock()),
            cancellation=cancellation,
        )

    def _ready(self, envelope: Envelope, replies: Sequence[Reply]) -> list[Reply]:
        left_s = spare_s(envelope, self._clock())
        return parts_of(self._uploading.ready(replies, envelope, spare_s=left_s))

    def _post(self, envelope: Envelope, part: Reply, uuid: str, waits: bool) -> Route:
        def about(_route: Route, _because: str, limits: Sequence[Limit]) -> float:
            try:
                return self._admit(limits) if limits else 0.0
            except StoreError as error:
                logger.debug("a post is made unpaced: %s", error)
                return 0.0

        url = envelope.session_webhook or ""
        return self._carrier.post(
            url, envelope, part, uuid=uuid, about=about, waits_for=lambda _: waits
        )

    def _obstacle(self, claim: Claimed, envelope: Envelope) -> str:
        if claim.rerun:
            return "an operator's second run sends the answer alone"
        if envelope.session_webhook is None:
            return "the message came without a session webhook"
        is_over = judged(envelope, self._clock()) is Timeliness.EXPIRED
        return "the message's time is over" if is_over else ""


class Speaker:
    """Of one run of an agent; the ``with`` block is the time in which it may speak."""

    def __init__(
        self,
        envelope: Envelope,
        *,
        name: str,
        post: Callable[[Reply, str, bool], Route],
        ready: Callable[[Sequence[Reply]], list[Reply]],
        obstacle: Callable[[], str],
        is_ours: Callable[[], bool],
        spare_s: Callable[[], float | None],
        cancellation: Cancellation,
    ) -> None:
        """Prepare; see :meth:`Saying.about`."""
        self._envelope, self._name = envelope, name
        self._post, self._ready = post, ready
        self._obstacle, self._is_ours, self._spare_s = obstacle, is_ours, spare_s
        self._lock = threading.Lock()  # held while one message is being said
        self._over = threading.Event()
        cancellation.on_cancel(self._over.set)
        self._number = 0
        self._said = list[tuple[Route, float]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Say nothing from now on; waits for what is being posted, so that the answer is later."""
        self._over.set()
        if self._lock.acquire(timeout=_LAST_POST_S):
            self._lock.release()

    def say(self, reply: Any) -> None:
        """Send it; blocks until it is sent or given up.

        Raises:
            TypeError: It is neither text nor a reply, nor a list of those.
        """
        if threading.current_thread() is not threading.main_thread():
            self._say(reply)
            return
        # There an agent may be interrupted anywhere: not in the middle of what others use, too.
        saying: concurrent.futures.Future[None] = concurrent.futures.Future()

        def say() -> None:
            try:
                self._say(reply)
            except Exception as error:  # noqa: BLE001, it is raised where it is waited for
                saying.set_exception(error)
            else:
                saying.set_result(None)

        threading.Thread(target=say, name="say", daemon=True).start()
        saying.result()

    def _say(self, reply: Any) -> None:
        try:
            replies = replies_of(reply)
        except AgentFailedError as error:
            raise TypeError(f"say: {error.detail.replace('returned', 'was given', 1)}") from None
        with self._lock:
            self._number += 1
            obstacle = self._obstacle()
            if obstacle:
                self._give_up(obstacle)
                return
            parts = self._ready(replies)
            for place, part in enumerate(parts, start=1):
                if not self._send(part, f"{self._name}-said-{self._number}-{place}"):
                    return

    def _send(self, part: Reply, uuid: str) -> bool:
        for attempt in range(_ATTEMPTS):
            if self._over.is_set() or not self._is_ours():
                return False
            try:
                route = self._post(part, uuid, attempt + 1 < _ATTEMPTS)
            except (WebhookError, OpenApiError) as error:
                if not self._waited(error, attempt):
                    self._give_up(str(error))
                    return False
            else:
                self._said.append((route, time.monotonic()))
                return True
        return False

    def _waited(self, error: Exception, attempt: int) -> bool:
        """Wait before the next attempt, if there is to be one."""
        wait_s = getattr(error, "retry_after_s", None)
        if wait_s is None and not (
            isinstance(error, WebhookUnreachableError) or getattr(error, "retryable", False)
        ):
            return False
        wait_s = delay_s(attempt) if wait_s is None else wait_s
        left_s = self._spare_s()
        if attempt + 1 == _ATTEMPTS or (left_s is not None and wait_s >= left_s):
            return False
        self._over.wait(wait_s)
        return True

    def _give_up(self, why: str) -> None:
        logger.warning(
            "an agent's message before its answer was not sent: %s",
            why,
            extra={
                "action": "say_failed",
                "message_id": self._envelope.message_id,
                "conversation_id": self._envelope.conversation_id,
                "task_id": self._name,
            },
        )

    def steps(self) -> list[Step]:
        """Return what of it the story of the message tells."""
        now = time.monotonic()
        return [
            Step("said", {"route": route.value}, ago_s=round(now - at, 3))
            for route, at in self._said
        ]
