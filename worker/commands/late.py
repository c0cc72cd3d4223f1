"""``celery -A worker late``: the replies that were missed, and what can still be done about them.

Registered as a Celery sub-command in ``pyproject.toml``. What is done is in ``handling.py``, how it
is shown in ``missed.py``.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from contract import log
from contract.sealing import SealError
from dingwire.webhook import WebhookClient, WebhookHosts
from worker.bots import Bots
from worker.commands import broker
from worker.commands.doing import Doings, Done
from worker.commands.handling import Handling, operator
from worker.commands.missed import answer_text, facts_of, listed, sends_of
from worker.commands.opening import AS_JSON, fail, opened, read_settings
from worker.commands.words import duration_s
from worker.leases import Heartbeat
from worker.running.presence import KIND
from worker.sending.carrying import Carrier, Route
from worker.sending.pacing import Pacing
from worker.sending.resending import Resender, Sent
from worker.settings import WorkerSettings
from worker.store import MissedReply, Reason, Store
from worker.wiring import clock, openapi_of

__all__ = ["late"]

# No list is longer. Whoever missed more than this looks at them by --since.
_MOST = 10_000

_NOBODY_THERE = "no worker has said that it is there: start one"

_SINCE = click.option(
    "--since", type=duration_s, metavar="2h", help="Only those missed in the last 90s, 15m, 2h, 3d."
)
_REASON = click.option(
    "--reason",
    "reasons",
    type=click.Choice([reason.value for reason in Reason]),
    multiple=True,
    help="Only those with this reason; may be given again.",
)
_IDS = click.argument("ids", metavar="ID...", nargs=-1, required=True)


class _ListByDefault(click.Group):
    """``late --since 2h`` is ``late list --since 2h``."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        first = arguments[0] if arguments else "--"
        if first.startswith("-") and first not in context.help_option_names:
            arguments = ["list", *arguments]
        return super().parse_args(context, arguments)


@click.group(cls=_ListByDefault)
def late() -> None:
    """Missed replies: what was flagged or failed, and why; send, rerun or discard them.

    Without a command: list.
    """


@late.command("list")
@_SINCE
@_REASON
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=_MOST),
    default=100,
    show_default=True,
    help="At most so many, newest first.",
)
@click.option("--handled", is_flag=True, help="Those that an operator has sent after all.")
@AS_JSON
def list_command(
    since: float | None, reasons: tuple[str, ...], limit: int, handled: bool, as_json: bool
) -> None:
    """List missed replies, newest first."""
    with opened(read_settings()) as store:
        missed = _chosen(store, since, reasons, handled=handled)[:limit]
    if as_json:
        click.echo(json.dumps([facts_of(m) for m in missed], ensure_ascii=False, indent=2))
    elif missed:
        click.echo("\n".join(listed(missed, now=clock())))
    else:
        click.echo("no missed replies")


@late.command("show")
@click.argument("id_", metavar="ID")
@AS_JSON
def show_command(id_: str, as_json: bool) -> None:
    """Show one missed reply, by task id or message id, with its kept answer."""
    settings = read_settings()
    with opened(settings) as store:
        reply = store.find_missed(id_)
        if reply is None:
            fail(f"no missed reply with the id {id_}: `celery -A worker late list` shows them")
        story = store.story(reply.task_id)
    answer, problem = None, ""
    try:
        answer = answer_text(reply, settings.sealer)
    except SealError as error:
        problem = f"the answer cannot be shown: it is {error}"
    facts = facts_of(reply) | {"sends": sends_of(story), "answer": answer}
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        _show(facts)
    if problem:
        fail(problem)


@late.command("send")
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All that have an answer; needs --since.")
@_SINCE
@_REASON
@click.option("--again", is_flag=True, help="Also what was sent, or may have arrived, before.")
@click.option("--yes", is_flag=True, help="Do not ask before --all.")
@AS_JSON
def send_command(
    ids: tuple[str, ...],
    all_: bool,
    since: float | None,
    reasons: tuple[str, ...],
    again: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Send kept answers after all, by the best way there is now; the agent is not run.

    By the message's own webhook while it lives, by that of a later message of the same
    conversation, else as a proactive message.
    """
    if all_ == bool(ids):
        raise click.UsageError("name the ids to send, or all with --all --since 2h")
    if all_ and since is None:
        raise click.UsageError("--all needs --since, such as --all --since 2h")
    if not all_ and (since is not None or reasons):
        raise click.UsageError("--since and --reason go with --all")
    settings = read_settings()
    with (
        opened(settings) as store,
        _handling(settings, store) as handling,
        Doings.told(as_json=as_json) as doings,
    ):

        def send(id_: str) -> Done:
            return _sent(handling.send(id_, again=again))

        if all_:
            _send_all(_chosen(store, since, reasons), send, doings, again=again, yes=yes)
        else:
            doings.to_each(ids, send)


@late.command("rerun")
@_IDS
@AS_JSON
def rerun_command(ids: tuple[str, ...], as_json: bool) -> None:
    """Have the agent run anew for messages that have no answer."""
    settings = read_settings()
    with (
        opened(settings) as store,
        _handling(settings, store) as handling,
        Doings.told(as_json=as_json) as doings,
    ):
        workers = len(store.remembered(KIND))

        def rerun(id_: str) -> Done:
            is_queued = handling.rerun(id_)
            how = "queued to run anew"
            if not is_queued:
                how = "to run anew; the broker is away, a worker queues it when that is back"
            words = how if workers else f"{how}; {_NOBODY_THERE}"
            return Done("rerun", words, {"queued": is_queued, "workers": workers})

        doings.to_each(ids, rerun)


@late.command("discard")
@_IDS
@AS_JSON
def discard_command(ids: tuple[str, ...], as_json: bool) -> None:
    """Forget missed replies: nothing of them is kept but that they were."""
    settings = read_settings()
    with (
        opened(settings) as store,
        _handling(settings, store) as handling,
        Doings.told(as_json=as_json) as doings,
    ):

        def discard(id_: str) -> Done:
            handling.discard(id_)
            return Done("discarded", "discarded")

        doings.to_each(ids, discard)


@contextmanager
def _handling(settings: WorkerSettings, store: Store) -> Iterator[Handling]:
    # What was done is the result, and in the story; who wants it logged as well sets LOG_LEVEL.
    is_wanted = "log_level" in settings.model_fields_set
    log.configure(settings.log_level if is_wanted else "WARNING", settings.log_format)
    heartbeat = Heartbeat(store, lease_s=settings.lease_s)
    bots = Bots.for_sending(settings, lambda bot: openapi_of(bot, store))
    with closing(WebhookClient(WebhookHosts.parse(settings.webhook_hosts))) as webhook:
        pacing = Pacing(store, replies_per_minute=settings.replies_per_minute)
        carrier = Carrier(webhook, bots.openapi_of, pacing, language_of=bots.language_of)
        resender = Resender(
            store,
            carrier=carrier,
            clock=clock,
            sealer=settings.sealer,
            language_of=bots.language_of,
        )
        try:
            yield Handling(
                store,
                resender=resender,
                heartbeat=heartbeat,
                sealer=settings.sealer,
                lease_s=settings.lease_s,
                by=operator(),
                tell=broker.tell,
                publish=broker.publish,
            )
        finally:
            heartbeat.release_all()
            bots.close()


def _chosen(
    store: Store, since: float | None, reasons: tuple[str, ...], *, handled: bool = False
) -> list[MissedReply]:
    missed = store.missed(limit=_MOST, since_s=since, handled=handled)
    if len(missed) == _MOST:
        click.echo(f"only the newest {_MOST} were looked at: narrow them by --since", err=True)
    return [m for m in missed if not reasons or m.reason in reasons]


def _send_all(
    missed: list[MissedReply],
    send: Callable[[str], Done],
    doings: Doings,
    *,
    again: bool,
    yes: bool,
) -> None:
    """Send what can be sent, oldest first, and say what became of all."""
    answered = [m for m in reversed(missed) if m.answer is not None]
    in_doubt = [m for m in answered if m.in_doubt and not again]
    wanted = [m for m in answered if again or not m.in_doubt]
    if wanted and not yes and is_asked():
        click.confirm(f"send {len(wanted)} kept answers?", abort=True, err=True)
    for each in wanted:
        doings.to_missed(each, send)
    doings.skip(in_doubt, "in doubt: --again sends it, too")
    doings.skip([m for m in missed if m.answer is None], "without an answer: see late rerun")
    summary = {
        "sent": len(wanted) - doings.failed,
        "not sent": doings.failed,
        "in doubt (--again sends them, too)": len(in_doubt),
        "without an answer (see late rerun)": len(missed) - len(answered),
    }
    shown = (f"{count} {name}" for name, count in summary.items() if count or name == "sent")
    doings.say(", ".join(shown))


def is_asked() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty()


def _sent(sent: Sent) -> Done:
    facts = {"by_message_id": None, **sent.facts}
    return Done("sent", _how(sent), facts)


def _how(sent: Sent) -> str:
    parts = f", in {sent.parts} parts" if sent.parts > 1 else ""
    if sent.route is Route.PROACTIVE:
        return f"sent as a proactive message{parts}"
    if sent.by_message_id is not None:
        return f"sent by the webhook of a later message, {sent.by_message_id}{parts}"
    return f"sent by its own webhook{parts}"


def _show(facts: dict[str, Any]) -> None:
    sends = facts.pop("sends")
    answer = facts.pop("answer")
    for name, value in facts.items():
        if value not in (None, "", False):
            click.echo(f"{name + ':':17} {value}")
    for send in sends:
        name = f"{send.pop('step')}:"
        click.echo(f"{name:17} {' '.join(f'{key}={value}' for key, value in send.items())}")
    if answer is not None:
        click.echo(f"{'answer:':17} {answer}")
