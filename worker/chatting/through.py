"""Asks through the whole system: a simulated DingTalk, the listener, the broker, a worker.

What the bot says is read from the simulator; that it is done, from the store's story of the
message: silence, a failure and several messages are told from an answer that takes its time.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dingwire.simulated import NotSimulatedError, SimulatedChat, Written
from worker.chatting.screen import Screen
from worker.chatting.told import End, Said, Told
from worker.outcome import FinalState
from worker.store import Store, StoreError, Story

__all__ = ["Through"]

_LOOK_EVERY_S = 0.1
_STOP = "/stop"
_ENDS = {
    FinalState.SUCCESS: End.ANSWERED,
    FinalState.RESCUED: End.ANSWERED,
    FinalState.CANCELLED: End.STOPPED,
}


class Through:
    """A conversation with the bot of a simulated DingTalk."""

    def __init__(
        self,
        chat: SimulatedChat,
        *,
        store: Store,
        screen: Screen,
        limit_s: float,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare.

        Args:
            chat: With the simulator.
            store: That of the workers.
            screen: Shows what comes.
            limit_s: Longest to wait for one message to be done.
            pause: Waits between two looks.
        """
        self._chat, self._store, self._screen = chat, store, screen
        self._limit_s, self._pause = limit_s, pause

    def close(self) -> None:
        """Close the connection to the simulator."""
        self._chat.close()

    def ask(self, text: str, files: Sequence[Path]) -> Told:
        """Write a message; a KeyboardInterrupt has the bot stop, a second one leaves it."""
        began = time.monotonic()
        said = list[Said]()
        try:
            written = self._chat.say(text, files)
            if written.is_lost:
                return Told(End.FAILED, why="no listener is connected to the simulated DingTalk")
            end, why = self._watched(written, said, began + self._limit_s)
        except NotSimulatedError as error:
            end, why = End.FAILED, f"the simulated DingTalk: {error}"
        except StoreError as error:
            end, why = End.FAILED, f"cannot read the store: {error}"
        if end is End.ANSWERED:
            self._screen.end()
        else:
            self._screen.drop()
        if end is End.ANSWERED and not said:
            end = End.SILENT
        return Told(end, said, why, time.monotonic() - began)

    def _watched(self, written: Written, said: list[Said], until: float) -> tuple[End, str]:
        """Show what comes until the message is done, and return how it ended."""
        shown, is_stopping = dict[str, str](), False
        while True:
            try:
                story = self._store.story(written.message_id)
                is_done = story is not None and story.outcome is not None
                self._show(written, said, shown)
                if story is not None and is_done:
                    return _end_of(story)
                if time.monotonic() > until:
                    return End.FAILED, _waits(story, self._limit_s)
                self._pause(_LOOK_EVERY_S)
            except KeyboardInterrupt:
                if is_stopping:
                    return End.STOPPED, "not waited for any longer"
                is_stopping = True
                self._chat.say(_STOP)

    def _show(self, written: Written, said: list[Said], shown: dict[str, str]) -> None:
        """Show what is new; what a card says counts once, as it stands in the end."""
        for name, text in self._chat.cards(written).items():
            before = shown.get(name, "")
            if text.startswith(before):
                if text != before:
                    self._screen.piece(text[len(before) :])
            else:
                self._screen.message(text)
            if text:
                shown[name] = text
        if shown:
            said[:] = [each for each in said if each.kind != "card"]
            said += [Said("card", text) for text in shown.values()]
        for kind, text in self._chat.news(written):
            said.append(Said(kind, text))
            self._screen.message(text)


def _end_of(story: Story) -> tuple[End, str]:
    facts = next((step.facts for step in reversed(story.steps) if step.name == "finished"), {})
    end = _ENDS.get(FinalState(str(story.outcome)), End.FAILED)
    if end is End.ANSWERED:
        return end, ""
    words = [str(facts[name]) for name in ("reason", "detail") if facts.get(name)]
    return end, ": ".join([str(story.outcome), *words])


def _waits(story: Story | None, limit_s: float) -> str:
    if story is None:
        return (
            f"no worker took the message within {limit_s:g} s: may this person write, "
            "and is all well? `celery -A worker doctor`"
        )
    return f"not done within {limit_s:g} s: `celery -A worker trace {story.task_id}` tells more"
