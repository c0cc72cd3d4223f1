"""``celery -A worker late``: the replies that were missed, and what they were.

Registered as a Celery sub-command in ``pyproject.toml``. Results go to stdout, errors to stderr;
exit 0, 1 when the store or the id is not there, 2 for settings.
"""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from contract.settings import SettingsError
from dingwire.replies import Markdown, reply_from_json
from worker.settings import WorkerSettings
from worker.store import MissedReply, Store, StoreError
from worker.wiring import store_of

__all__ = ["late"]

_T = TypeVar("_T")

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.group(invoke_without_command=True)
@click.pass_context
def late(context: click.Context) -> None:
    """Missed replies: what was flagged or failed, and why."""
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@late.command("list")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="At most so many, newest first.",
)
@_AS_JSON
def list_command(limit: int = 100, as_json: bool = False) -> None:
    """List missed replies, newest first."""
    missed = _read(lambda store: store.missed(limit=limit))
    if as_json:
        click.echo(json.dumps([_facts(m) for m in missed], ensure_ascii=False, indent=2))
        return
    if not missed:
        click.echo("no missed replies")
        return
    click.echo(f"{'AGE':>7}  {'STATE':8}{'REASON':22}{'ANSWER':8}{'CONVERSATION':24}MESSAGE")
    for reply in missed:
        click.echo(
            f"{_age(reply):>7}  {reply.state:8}{reply.reason:22}"
            f"{'kept' if reply.answer else 'none':8}{reply.conversation_id[:22]:24}"
            f"{reply.message_id}"
        )


@late.command("show")
@click.argument("id_", metavar="ID")
@_AS_JSON
def show_command(id_: str, as_json: bool) -> None:
    """Show one missed reply, by task id or message id, with its kept answer."""
    reply = _read(lambda store: store.find_missed(id_))
    if reply is None:
        _fail(f"no missed reply with the id {id_}: `celery -A worker late list` shows them")
    facts = _facts(reply) | {"answer": _answer_text(reply)}
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        if value not in (None, ""):
            click.echo(f"{name + ':':17} {value}")


def _settings() -> WorkerSettings:
    try:
        return WorkerSettings.load()
    except SettingsError as error:
        for line in str(error).splitlines():
            click.echo(f"cannot read settings: {line}", err=True)
        sys.exit(2)


def _read(question: Callable[[Store], _T]) -> _T:
    settings = _settings()
    file = _file_of(settings.store_address)
    if file is not None and not file.exists():
        _fail(f"no store at {file}: nothing was ever remembered here")
    try:
        with closing(store_of(settings)) as store:
            store.prepare()
            return question(store)
    except StoreError as error:
        _fail(f"cannot read the store: {error}")


def _file_of(store_address: str) -> Path | None:
    """Return the file of a SQLite store, which opening would create; None for other stores."""
    name = store_address.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if store_address.startswith("sqlite:///") and name else None


def _fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)


def _age(reply: MissedReply) -> str:
    seconds = max(0, int((datetime.now(UTC) - reply.missed_at).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _facts(reply: MissedReply) -> dict[str, Any]:
    """Everything but what the person wrote and the webhook."""
    return {
        "task_id": reply.task_id,
        "message_id": reply.message_id,
        "bot": reply.bot,
        "state": reply.state,
        "reason": reply.reason.value,
        "errcode": reply.errcode,
        "detail": reply.detail,
        "missed_at": reply.missed_at.isoformat(timespec="seconds"),
        "conversation": reply.envelope.get("conversation"),
        "conversation_id": reply.conversation_id,
        "sender_staff_id": reply.envelope.get("sender_staff_id"),
        "has_answer": reply.answer is not None,
    }


def _answer_text(reply: MissedReply) -> str | None:
    if reply.answer is None:
        return None
    try:
        kept = reply_from_json(reply.answer)
    except ValueError:  # kept by a later release
        return None
    return kept.text if isinstance(kept, Markdown) else kept.content
