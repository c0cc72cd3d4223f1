"""``celery -A worker stop``: ends what is unfinished in a conversation, or one message.

Registered as a Celery sub-command in ``pyproject.toml``; what it does is in ``worker/stopping.py``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import click

from contract import log
from worker.commands import broker
from worker.commands.doing import Doings, Done
from worker.commands.handling import NotDoneError, operator
from worker.commands.opening import AS_JSON, opened, read_settings
from worker.outcome import Outcome
from worker.patience import PatientStore
from worker.settings import WorkerSettings
from worker.stopping import Stopped, Stopping
from worker.store import Store, Story
from worker.wiring import clock

__all__ = ["stop"]

# Of a conversation, so many of its last messages say to which bots it was written.
_LAST = 50
# A place behind every message.
_AT_THE_END = (2**52, 0)


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@AS_JSON
def stop(ids: tuple[str, ...], as_json: bool) -> None:
    """Stop what is unfinished: in a conversation, by its id, or one message, by its own or task id.

    Agents at work are called off within a second or two, what waits is not begun, and in Flower all
    of it ends as CANCELLED. Of a conversation, that includes what is still on the broker.
    """
    settings = read_settings()
    is_wanted = "log_level" in settings.model_fields_set
    log.configure(settings.log_level if is_wanted else "WARNING", settings.log_format)
    with opened(settings) as store, Doings.told(as_json=as_json) as doings:
        doings.to_each(ids, _Operator(settings, store, broker.tell_end).stop)


class _Operator:
    """Who stops something by hand."""

    def __init__(
        self, settings: WorkerSettings, store: Store, tell: Callable[[str, Outcome], object]
    ) -> None:
        self._store, self._by = store, {"by": operator()}
        patient = PatientStore(store, broker.publish)
        patient.stopping.set()  # whoever stands here is told of an outage at once
        self._stopping = Stopping(patient, hold_s=settings.lease_s, tell=tell)

    def stop(self, id_: str) -> Done:
        """Stop a conversation or a message.

        Raises:
            NotDoneError: There is neither, or the message has ended.
            StoreError: The store is away.
        """
        story = self._store.story(id_)
        if story is not None:
            return self._stop_message(story)
        stories = self._store.stories(id_, limit=_LAST)
        if not stories:
            raise NotDoneError(
                "no message and no conversation that a worker has heard of has this id"
            )
        return self._stop_conversation(id_, stories)

    def _stop_message(self, story: Story) -> Done:
        if story.outcome is not None:
            raise NotDoneError(f"it has ended as {story.outcome}")
        received = _received(story)
        bot, conversation_id = received.get("bot", ""), received.get("conversation_id", "")
        stopped = self._stopping.end(
            bot, conversation_id, before=_AT_THE_END, facts=self._by, task_id=story.task_id
        )
        if not stopped.running + stopped.waiting:
            raise NotDoneError("it cannot be stopped: `celery -A worker trace` tells how it fares")
        return _done(stopped, "stopped; a worker had it" if stopped.running else "stopped")

    def _stop_conversation(self, conversation_id: str, stories: Sequence[Story]) -> Done:
        running = waiting = 0
        received = [_received(story) for story in stories]
        # The newest is the first; DingTalk's clock is the one that messages are written by.
        offset_s = float(received[0].get("clock_offset_s") or 0)
        now_ms = round((clock().timestamp() + offset_s) * 1000)
        for bot in dict.fromkeys(facts.get("bot", "") for facts in received):
            stopped = self._stopping.end(bot, conversation_id, before=(now_ms, 0), facts=self._by)
            running, waiting = running + stopped.running, waiting + stopped.waiting
        words = f"stopped {running} with a worker, {waiting} that waited"
        if not running + waiting:
            words = "nothing of it is unfinished; what is still on the broker is not begun"
        return _done(Stopped(running, waiting), words)


def _received(story: Story) -> dict[str, Any]:
    return next((step.facts for step in story.steps if step.name == "received"), {})


def _done(stopped: Stopped, words: str) -> Done:
    facts = {"running": stopped.running, "waiting": stopped.waiting}
    return Done("stopped", words, facts)
