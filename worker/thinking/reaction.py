"""A reaction on the message while its answer is made: added, and taken off when the reply is out.

Best effort, in the background: no reply waits for it or fails with it.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from dingwire.emotions import Emotions
from dingwire.errors import OpenApiError, OpenApiThrottledError, OpenApiUnavailableError
from worker.thinking.background import Background, Job

__all__ = ["Reaction"]

logger = logging.getLogger(__name__)

# Before each attempt. Right after a message has come DingTalk may not know it yet.
ADD_AFTER_S = (0.0, 0.4, 1.2)
RECALL_AFTER_S = (0.0, 1.5, 5.0)


@dataclass(frozen=True)
class Target:
    """The message it is put on, for DingTalk."""

    robot_code: str
    conversation_id: str
    message_id: str


class Reaction:
    """The reaction on one message."""

    def __init__(
        self,
        emotions: Emotions,
        background: Background,
        target: Target,
        *,
        may_be_there: bool = False,
        add_after_s: tuple[float, ...] = ADD_AFTER_S,
        recall_after_s: tuple[float, ...] = RECALL_AFTER_S,
    ) -> None:
        """Prepare; ``may_be_there`` when somebody before us may have added it."""
        self._emotions, self._background, self._target = emotions, background, target
        self._add_after_s, self._recall_after_s = add_after_s, recall_after_s
        self._lock = threading.Lock()
        self._may_be_there = may_be_there
        self._is_wanted = False
        self._is_being_added = False
        self._next: Job | None = None  # to add it

    def add(self) -> None:
        """Have it added."""
        self._is_wanted = True
        self._try(self._add, self._add_after_s)

    def recall(self) -> None:
        """Have it taken off, if it may be there; not before an attempt to add it has ended."""
        with self._lock:
            self._is_wanted = False
            if self._next is not None:
                self._next.cancel()
            is_ours_to_do = self._may_be_there and not self._is_being_added
            if is_ours_to_do:
                self._may_be_there = False
        if is_ours_to_do:
            self._try(self._recall, self._recall_after_s, is_last=True)

    def _try(
        self,
        attempt: Callable[[tuple[float, ...]], None],
        after_s: tuple[float, ...],
        *,
        at_least_s: float = 0.0,
        is_last: bool = False,
    ) -> None:
        """Make an attempt; ``after_s`` holds the wait before it and before each later one."""
        job = self._background.do(
            lambda: attempt(after_s[1:]), in_s=max(at_least_s, after_s[0]), is_last=is_last
        )
        if not is_last:
            self._next = job

    def _add(self, after_s: tuple[float, ...]) -> None:
        with self._lock:
            if not self._is_wanted:
                return
            self._is_being_added = self._may_be_there = True
        error = self._call(self._emotions.add)
        with self._lock:
            self._is_being_added = False
            if error is not None and not getattr(error, "ambiguous", False):
                self._may_be_there = False
            is_wanted, may_be_there = self._is_wanted, self._may_be_there
        if not is_wanted:
            if may_be_there:
                self._try(self._recall, self._recall_after_s, is_last=True)
        elif error is not None:
            if isinstance(error, OpenApiUnavailableError) and after_s:
                self._try(self._add, after_s)
            else:
                self._say(logging.INFO, "cannot add a reaction: %s", error)

    def _recall(self, after_s: tuple[float, ...]) -> None:
        error = self._call(self._emotions.recall)
        if error is None:
            return
        if error.retryable and after_s:
            wait_s = error.retry_after_s if isinstance(error, OpenApiThrottledError) else 0.0
            self._try(self._recall, after_s, at_least_s=wait_s, is_last=True)
        else:
            self._say(logging.WARNING, "cannot take a reaction off: %s", error)

    def _call(self, call: Callable[[str, str, str], object]) -> OpenApiError | None:
        target = self._target
        try:
            call(target.robot_code, target.conversation_id, target.message_id)
        except OpenApiError as error:
            return error
        return None

    def _say(self, level: int, words: str, error: OpenApiError) -> None:
        extra = {"action": "reaction_failed", "message_id": self._target.message_id}
        logger.log(level, words, error, extra=extra)
