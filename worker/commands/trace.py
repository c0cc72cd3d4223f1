"""``celery -A worker trace``: how a message fared, from its frame to its reply.

Registered as a Celery sub-command in ``pyproject.toml``. It reads the story that the store keeps of
each message; ``timeline.py`` puts it into words.
"""

import json
from typing import Any

import click

from worker.commands.opening import AS_JSON, fail, opened, read_settings
from worker.commands.timeline import Timeline
from worker.commands.words import table
from worker.settings import WorkerSettings
from worker.store import DONE_TTL_S
from worker.wiring import clock

__all__ = ["trace"]


@click.command()
@click.argument("id_", metavar="[MESSAGE_ID]", required=False)
@click.option("--conversation", metavar="ID", help="Its last messages instead.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    default=20,
    show_default=True,
    help="With --conversation: at most so many, newest first.",
)
@AS_JSON
def trace(id_: str | None, conversation: str | None, limit: int, as_json: bool) -> None:
    """How a message fared, by message id or task id, with the time at each step.

    Nothing that anybody wrote is shown.
    """
    if (id_ is None) == (conversation is None):
        raise click.UsageError("name a message id, or a conversation with --conversation ID")
    settings = read_settings()
    if conversation is not None:
        _trace_conversation(settings, conversation, limit, as_json)
        return
    with opened(settings) as store:
        story = store.story(str(id_))
    if story is None:
        fail(f"no story of {id_}: {_how_long(settings)}")
    timeline = Timeline(story, now=clock(), lease_s=settings.lease_s)
    if as_json:
        _print_json(timeline.facts())
    else:
        click.echo("\n".join(timeline.lines()))


def _trace_conversation(
    settings: WorkerSettings, conversation: str, limit: int, as_json: bool
) -> None:
    with opened(settings) as store:
        stories = store.stories(conversation, limit=limit)
    if not stories:
        fail(f"no story of a message in {conversation}: {_how_long(settings)}")
    timelines = [Timeline(story, now=clock(), lease_s=settings.lease_s) for story in stories]
    if as_json:
        _print_json([timeline.summary() for timeline in timelines])
    else:
        head: tuple[str, ...] = ("RECEIVED (UTC)", "MESSAGE", "STATE", "REASON", "SECONDS")
        rows = [timeline.row() for timeline in timelines]
        if len({timeline.bot for timeline in timelines}) > 1:
            head = ("BOT", *head)
            rows = [(each.bot or "-", *row) for each, row in zip(timelines, rows, strict=True)]
        click.echo("\n".join(table(head, rows)))


def _how_long(settings: WorkerSettings) -> str:
    return (
        f"stories are kept for {DONE_TTL_S / 3600:g} hours after an answer, and for "
        f"{settings.keep_missed_days:g} days (KEEP_MISSED_DAYS) of what was missed; what is still "
        "on the broker or in a listener's spool has none yet"
    )


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))
