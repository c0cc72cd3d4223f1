"""A card that shows an answer while it grows.

Made when the first words come, updated at a pace with all there is by then, finished with the
whole answer. It is noted in the store before it is made, under a name that comes from the task's,
so that another worker finds the card of one that died. When anything is wrong with it, the answer
goes out without it, and the card is marked as failed.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from dingwire.cards import Cards, FlowStatus, Place
from dingwire.errors import (
    OpenApiError,
    OpenApiRefusedError,
    OpenApiThrottledError,
    OpenApiUnavailableError,
)
from worker.store import StoreError
from worker.thinking.background import Background

__all__ = ["NOTE_KIND", "AnswerCard", "CardSettings", "CardState", "Notes", "track_id_of"]

logger = logging.getLogger(__name__)

NOTE_KIND = "card"
# Longer than any message is worked on.
NOTE_TTL_S = 86_400.0

# Haste that DingTalk complained of makes the pace slower, down to this.
_SLOWEST_S = 15.0
_FAILURES_IN_A_ROW = 3
# Before each attempt to finish; the sender waits for them.
_FINISH_AFTER_S = (0.0, 0.5, 1.5)
# A call gives up after so long without an answer.
_CALL_S = 13.0
# Before each attempt to mark a card, which nobody waits for.
_MARK_AFTER_S = (0.0, 2.0, 10.0, 60.0)


class CardState(StrEnum):
    """What the store's note says of a card."""

    OPEN = "open"  # there, or about to be
    GIVEN_UP = "given_up"  # there, and the answer goes out without it
    REFUSED = "refused"  # not there, and none is to be made


class Notes(Protocol):
    """The part of the store that is used here."""

    def remember(self, kind: str, key: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep facts for a while."""


@dataclass(frozen=True)
class CardSettings:
    """How cards look, and how often they change.

    ``key`` is the variable of the template that holds the text; ``every_s`` the least time between
    two updates of one card.
    """

    template_id: str
    key: str = "content"
    every_s: float = 1.0


def track_id_of(task_id: str) -> str:
    """Return the name of the card of a task, the same in every worker."""
    return f"answer-{task_id}"


class AnswerCard:
    """The card of one message.

    :meth:`piece` is for the agent; all else is called by the task's thread, or in the background.
    """

    def __init__(
        self,
        cards: Cards,
        background: Background,
        notes: Notes,
        settings: CardSettings,
        *,
        task_id: str,
        message_id: str,
        place: Place,
        is_ours: Callable[[], bool],
        left: str | None = None,
        mark_after_s: tuple[float, ...] = _MARK_AFTER_S,
    ) -> None:
        """Prepare; nothing is made before the first words.

        Args:
            cards: Of the bot.
            background: Where updates are made.
            notes: Tells other workers of the card.
            settings: How it looks.
            task_id: Of the message.
            message_id: For logs.
            place: The conversation.
            is_ours: Whether no other worker has the message.
            left: The state that a worker before us has noted; None when none has.
            mark_after_s: Before each attempt to mark the card.
        """
        self._cards, self._background, self._notes = cards, background, notes
        self._settings, self._place, self._is_ours = settings, place, is_ours
        self._task_id, self._message_id = task_id, message_id
        self._track_id = track_id_of(task_id)
        self._mark_after_s = mark_after_s
        self._pieces: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._text = self._shown = self._progress = ""
        self._has_words = False
        self._every_s = settings.every_s
        self._next_at = 0.0
        self._failures = 0
        self._is_there, self._is_ready = left not in (None, CardState.REFUSED), False
        self._is_broken = left not in (None, CardState.OPEN)
        self._is_closed = self._is_scheduled = self._is_being_marked = False
        self._lock = threading.RLock()  # held while the card is worked on

    @property
    def is_there(self) -> bool:
        """Whether there may be a card to see."""
        return self._is_there

    @property
    def is_seen(self) -> bool:
        """Whether there is a card that shows something, and goes on to."""
        return bool(self._shown) and not self._is_broken

    @property
    def may_take_the_answer(self) -> bool:
        """Whether the answer, or a part of it, is or was to be shown here."""
        return (self._is_there or self._has_words) and not self._is_broken

    def piece(self, text: str) -> None:
        """Show more; neither blocks nor raises, and may be interrupted anywhere."""
        self._pieces.put(text)
        self._has_words = self._has_words or bool(text.strip())
        if not self._is_scheduled:
            self._schedule()

    def progress(self, text: str) -> None:
        """Show what the agent does, until there are words; as :meth:`piece` otherwise."""
        self._progress = text
        self._has_words = True
        if not self._is_scheduled:
            self._schedule()

    def close(self) -> None:
        """Show nothing more: what comes next is :meth:`finish`, :meth:`fail`, or another worker."""
        self._is_closed = True

    def finish(self, text: str, *, limit_s: float) -> bool:
        """Show the whole answer and end the card; False when the answer must go out without it.

        Args:
            text: The answer.
            limit_s: The longest until the last call is over; of a card that is still to be made,
                until the first of three.
        """
        end_at = time.monotonic() + limit_s
        self.close()
        if not self._lock.acquire(timeout=max(0.0, limit_s)):
            self._is_broken = True  # a call hangs; whatever comes of it
            return False
        try:
            return not self._is_broken and self._finished(text, end_at)
        finally:
            self._lock.release()

    def fail(self, note: str = "") -> None:
        """Have the card marked as failed, with what it shows and a ``note`` below.

        In the background: nobody waits for it, and the answer, if there is one, goes another way.
        """
        self.close()
        self._is_broken = True
        if self._is_there and not self._is_being_marked:
            self._is_being_marked = True
            self._remember(CardState.GIVEN_UP)
            self._try_to_mark(FlowStatus.FAILED, self._mark_after_s, note)

    def _schedule(self) -> None:
        self._is_scheduled = True
        wait_s = max(0.0, self._next_at - time.monotonic())
        self._background.do(self._update, in_s=wait_s)

    def _update(self) -> None:
        with self._lock:
            # First, so that a piece that comes from now on asks for another update.
            self._is_scheduled = False
            self._take_pieces()
            text = self._text if self._text.strip() else self._progress
            is_of_use = text.strip() and text != self._shown
            if self._is_closed or self._is_broken or not is_of_use or not self._is_ours():
                return
            try:
                self._make_ready()
                self._stream(text)
            except (OpenApiError, StoreError) as error:
                self._update_failed(error)
            else:
                self._failures = 0
                self._shown = text
                self._next_at = time.monotonic() + self._every_s
            if self._shown != text and not self._is_broken:
                self._schedule()

    def _take_pieces(self) -> None:
        pieces = []
        while not self._pieces.empty():
            pieces.append(self._pieces.get())
        self._text += "".join(pieces)

    def _make_ready(self) -> None:
        if self._is_ready:
            return
        self._remember_strictly(CardState.OPEN)
        may_be_there, self._is_there = self._is_there, True
        settings = self._settings
        values: Mapping[str, Any] = {
            settings.key: "",
            "flowStatus": FlowStatus.PROCESSING.value,
            "config": {"autoLayout": True},
        }
        try:
            self._cards.create(
                self._track_id, template_id=settings.template_id, place=self._place, values=values
            )
        except OpenApiRefusedError:
            if not may_be_there:
                self._is_there = False
                self._remember(CardState.REFUSED)
            raise
        self._show_status(FlowStatus.INPUTTING)
        self._is_ready = True

    def _stream(self, text: str, **how: bool) -> None:
        self._cards.stream(self._track_id, text, key=self._settings.key, **how)

    def _show_status(self, status: FlowStatus) -> None:
        self._cards.update(self._track_id, {"flowStatus": status.value})

    def _update_failed(self, error: OpenApiError | StoreError) -> None:
        """An update that failed for now is made up for by the next one, which shows all."""
        self._failures += 1
        self._every_s = min(self._every_s * 2, max(_SLOWEST_S, self._settings.every_s))
        wait_s = error.retry_after_s if isinstance(error, OpenApiThrottledError) else 0.0
        self._next_at = time.monotonic() + max(self._every_s, wait_s)
        if not getattr(error, "retryable", False) or self._failures >= _FAILURES_IN_A_ROW:
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._is_broken = True
        self._say("the answer goes out without its card: %s", error)

    def _finished(self, text: str, end_at: float) -> bool:
        failure: Exception = TimeoutError("no time left")
        for wait_s in _FINISH_AFTER_S:
            if time.monotonic() + wait_s + _CALL_S > end_at:
                break
            time.sleep(wait_s)
            try:
                self._make_ready()
                self._stream(text, is_final=True)
            except (OpenApiError, StoreError) as error:
                failure = error
                if not isinstance(error, OpenApiUnavailableError):
                    break
            else:
                self._shown = text
                # The answer can be read, so it is out, whatever becomes of this.
                self._mark(FlowStatus.FINISHED, self._mark_after_s)
                return True
        self._break(failure)
        return False

    def _try_to_mark(
        self,
        status: FlowStatus,
        after_s: tuple[float, ...],
        note: str = "",
        *,
        at_least_s: float = 0.0,
    ) -> None:
        self._background.do(
            lambda: self._mark(status, after_s[1:], note),
            in_s=max(at_least_s, after_s[0]),
            is_last=True,
        )

    def _mark(self, status: FlowStatus, after_s: tuple[float, ...], note: str = "") -> None:
        try:
            with self._lock:
                if status is FlowStatus.FAILED and self._shown:
                    so_far = self._shown if self._text.strip() else ""
                    shown = "\n\n".join(filter(None, (so_far, note))) or self._shown
                    self._stream(shown, is_error=True)
                self._show_status(status)
        except OpenApiError as error:
            if error.retryable and after_s:
                wait_s = error.retry_after_s if isinstance(error, OpenApiThrottledError) else 0.0
                self._try_to_mark(status, after_s, note, at_least_s=wait_s)
            else:
                self._say("a card stays as it is: %s", error)

    def _remember(self, state: CardState) -> None:
        try:
            self._remember_strictly(state)
        except StoreError as error:
            self._say("cannot note what became of a card: %s", error)

    def _remember_strictly(self, state: CardState) -> None:
        self._notes.remember(NOTE_KIND, self._task_id, {"state": state.value}, ttl_s=NOTE_TTL_S)

    def _say(self, words: str, error: Exception) -> None:
        extra = {"action": "card_failed", "message_id": self._message_id, "task_id": self._task_id}
        logger.warning(words, error, extra=extra)
