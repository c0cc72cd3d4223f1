"""``celery -A worker forget``: delete what the bots remember of a conversation, or of a person.

Registered as a Celery sub-command in ``pyproject.toml``. What is remembered, and when, is in
``worker/memory.py``.
"""

import json
import sys

import click

from worker.commands.opening import AS_JSON, opened, read_settings

__all__ = ["forget"]


@click.command()
@click.argument("conversation", metavar="[CONVERSATION]", required=False)
@click.option(
    "--person",
    metavar="ID",
    help="Only what this person asked, and its answers; a staff id, of outsiders the sender id. "
    "Without a conversation: in all of them.",
)
@AS_JSON
def forget(conversation: str | None, person: str | None, as_json: bool) -> None:
    """Forget what was said in a conversation, or by a person, to all bots.

    What was asked until now is not remembered any more either when its answer arrives later.
    Messages and missed replies stay: see late discard.
    """
    if not (conversation or person):
        raise click.UsageError("name a conversation, a person with --person ID, or both")
    with opened(read_settings()) as store:
        turns = store.forget(conversation_id=conversation or "", person=person or "")
    if as_json:
        facts = {"conversation_id": conversation, "person": person, "forgotten": turns}
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    elif turns:
        click.echo(f"forgot {turns} {'turn' if turns == 1 else 'turns'}")
    else:
        click.echo("nothing is remembered", err=True)
    if not turns:
        sys.exit(1)
