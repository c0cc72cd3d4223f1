"""A word now and then while an agent takes its time: still working, about so much more.

Never after the answer, and never near the deadline, where the answer needs the time itself.
"""

import threading
import time
from collections.abc import Callable
from math import ceil

from worker.thinking.background import Background, Job
from worker.words import (
    AT_MOST_N_MORE,
    MINUTES,
    N_MORE,
    SECONDS,
    STILL_WORKING,
    THINKING,
    Filled,
    Language,
)

__all__ = ["StillWorking", "how_long"]

# What is left then is kept for the answer.
_NEAR_S = 15.0
# Nobody is helped by "90 minutes at most".
_SOON_S = 900.0
_A_MINUTE_S = 60
_SHOWN_TO_S = 5
# Where nothing else sets the times at which something is said.
_PROGRESS_EVERY_S = 15.0


class StillWorking:
    """The words about one message: after ``first_s``, and then in growing intervals."""

    def __init__(
        self,
        background: Background,
        *,
        say: Callable[[str], object],
        at_once: bool,
        first_s: float | None,
        limit_s: float,
        spare_s: Callable[[], float | None],
        usual_s: Callable[[], float | None],
        may_speak: Callable[[], bool],
        language: Language,
        near_s: float = _NEAR_S,
    ) -> None:
        """Prepare.

        Args:
            background: Where it is said.
            say: Posts one text; handles its own errors.
            at_once: Whether something is said as soon as the agent has started.
            first_s: After so long it is said that it still works; None: never.
            limit_s: Longest the agent may take.
            spare_s: What is left until the deadline; None without one.
            usual_s: What a message takes these days; None when that is not known.
            may_speak: Whether the message is still ours, and nothing else shows the work.
            language: Of the words.
            near_s: With less time left nothing is said.
        """
        self._background, self._say = background, say
        self._at_once, self._gap_s = at_once, first_s
        self._limit_s, self._spare_s, self._usual_s = limit_s, spare_s, usual_s
        self._may_speak, self._language, self._near_s = may_speak, language, near_s
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._is_over = False
        self._jobs: list[Job] = []
        self._progress = ""  # not said yet
        self._is_to_be_said = False
        self._next_at = 0.0

    def start(self) -> None:
        """The agent has started."""
        self._started = time.monotonic()
        if self._at_once:
            self._jobs.append(self._background.do(self._begin))
        if self._gap_s is not None:
            self._jobs.append(self._background.do(self._speak, in_s=self._gap_s))

    def progress(self, text: str) -> None:
        """Say next what the agent does, instead of that it works; neither blocks nor raises.

        Where the times of that are not set, it is said at once, and what follows after a while.
        """
        self._progress = text
        if self._at_once and self._gap_s is None and not self._is_to_be_said:
            self._is_to_be_said = True
            wait_s = max(0.0, self._next_at - time.monotonic())
            self._jobs.append(self._background.do(self._say_progress, in_s=wait_s))

    def stop(self) -> None:
        """Say nothing from now on; waits for what is being posted, so that the answer is later."""
        self._is_over = True
        for job in self._jobs:
            job.cancel()
        with self._lock:
            pass

    def _begin(self) -> None:
        with self._lock:
            if not self._is_over and self._may_speak():
                self._say(self._progress_or(THINKING.in_(self._language)))

    def _say_progress(self) -> None:
        with self._lock:
            self._is_to_be_said = False
            self._next_at = time.monotonic() + _PROGRESS_EVERY_S
            is_near = self._left_s(time.monotonic() - self._started) < self._near_s
            if self._is_over or is_near or not self._progress or not self._may_speak():
                return
            self._say(self._progress_or(""))

    def _progress_or(self, words: str) -> str:
        progress, self._progress = self._progress, ""
        return progress or words

    def _left_s(self, taken_s: float) -> float:
        spare_s, left_s = self._spare_s(), self._limit_s - taken_s
        return left_s if spare_s is None else min(left_s, spare_s)

    def _speak(self) -> None:
        with self._lock:
            taken_s = time.monotonic() - self._started
            left_s = self._left_s(taken_s)
            if self._is_over or self._gap_s is None or left_s < self._near_s:
                return
            if self._may_speak():
                self._say(self._progress_or(self._words(taken_s, left_s)))
            self._gap_s *= 2
            self._jobs.append(self._background.do(self._speak, in_s=self._gap_s))

    def _words(self, taken_s: float, left_s: float) -> str:
        """Say how long it usually takes, while that is not over, else how long it may take."""
        usual_s = self._usual_s()
        if usual_s is not None and taken_s < usual_s < taken_s + left_s:
            return N_MORE.in_(self._language, how_long=how_long(usual_s - taken_s))
        if left_s <= _SOON_S:
            return AT_MOST_N_MORE.in_(self._language, how_long=how_long(left_s))
        return STILL_WORKING.in_(self._language)


def how_long(seconds: float) -> Filled:
    """Return a duration in words, rounded up."""
    if seconds <= _A_MINUTE_S - _SHOWN_TO_S:
        shown = max(_SHOWN_TO_S, ceil(seconds / _SHOWN_TO_S) * _SHOWN_TO_S)
        return SECONDS.with_(n=shown)
    return MINUTES.with_(n=ceil(seconds / _A_MINUTE_S))
