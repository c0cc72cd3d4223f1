"""The store, and the missed and put off replies in it.

Nothing is created: a new schema is the release's.
"""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from contract.checks import Check
from worker.commands.words import short_age
from worker.sending.budget import calls_made
from worker.settings import WorkerSettings
from worker.store import MissedReply, Reason, Step, Store, StoreError, StoreSchemaError, Unfinished

__all__ = ["check_budget", "check_deliveries", "check_missed", "check_store"]

MOST = 1000
# DingTalk's numbers and names for a permission the app lacks; docs/protocol.md.
PERMISSION_CODES = {60011, 88}
PERMISSION_WORD = "permission"
SESSION_GONE = 300001  # DingTalk's number for a session webhook that it no longer takes
NEARLY = 0.9  # of a budget, when it is worth a warning
STORIES = 20  # of those that wait, how many are asked why


def check_store(store: Store, address: str) -> Check:
    """Return the check ``store``: it can be read and written."""
    make = "`python -m worker.release` makes it, and so does a worker at its start"
    file = _file_of(address)
    if file is not None and not file.exists():
        return Check.fail("store", f"there is no store at {file} yet", make)
    try:
        store.missed(limit=1)
        store.check()
    except StoreSchemaError as error:
        return Check.fail("store", str(error), make)
    except StoreError as error:
        # Some say themselves what to do.
        what, _, fix = str(error).partition("; ")
        return Check.fail("store", what, fix or "is it running, and the address in STORE_URL?")
    return Check.ok("store", f"{_kind(address)}: written to and read from")


def check_missed(store: Store) -> Check:
    """Return the check ``missed replies``: how many are open, how old, and why."""
    name = "missed replies"
    try:
        missed = store.missed(limit=MOST)
    except StoreError as error:
        return Check.fail(name, str(error))
    if not missed:
        return Check.ok(name, "none")
    reasons = Counter(reply.reason for reply in missed)
    oldest = datetime.now(UTC) - min(reply.missed_at for reply in missed)
    count = f"{len(missed)}{' or more' if len(missed) == MOST else ''}"
    shown = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    causes = "".join(f"; {cause}" for cause in _causes(missed, reasons))
    return Check.warn(
        name,
        f"{count}, the oldest {short_age(oldest)} old: {shown}{causes}",
        "celery -A worker late",
    )


def check_deliveries(store: Store) -> Check:
    """Return the check ``deliveries``: how many wait for another attempt, and why."""
    name = "deliveries"
    try:
        waiting = [each for each in store.unfinished(limit=MOST) if each.state == "waiting"]
        put_off = _last_put_off(store, waiting[:STORIES])
    except StoreError as error:
        return Check.fail(name, str(error))
    if not waiting:
        return Check.ok(name, "none waits for another attempt")
    words = f"{len(waiting)} wait{'s' if len(waiting) == 1 else ''} for another attempt"
    received = [at for each in waiting if (at := _received_at(each)) is not None]
    if received:
        words += f"; the oldest was received {short_age(datetime.now(UTC) - min(received))} ago"
    if put_off is None:
        return Check.warn(name, words, f"celery -A worker trace {waiting[0].task_id}")
    task_id, step = put_off
    if detail := step.facts.get("detail"):
        words += f"; the last was put off because: {detail}"
    return Check.warn(name, words, f"celery -A worker trace {task_id}")


def check_budget(store: Store, settings: WorkerSettings, now: datetime) -> Check:
    """Return the check ``api budget``: how much of it each bot has used this month."""
    name = "api budget"
    budgets = {
        bot.client_id: bot.api_budget
        for bot in settings.of_bots
        if bot.client_id and bot.api_budget is not None
    }
    if not budgets:
        return Check.skip(name, "API_BUDGET is not set: API calls are not counted")
    try:
        made = {client_id: calls_made(store, client_id, now) for client_id in budgets}
    except StoreError as error:
        return Check.fail(name, str(error))
    words = "; ".join(
        (f"{client_id}: " if len(budgets) > 1 else "")
        + f"{_grouped(made[client_id])} of {_grouped(calls)} used this month"
        + (", so no proactive messages, reactions and cards" if made[client_id] >= calls else "")
        for client_id, calls in budgets.items()
    )
    if any(made[client_id] >= NEARLY * calls for client_id, calls in budgets.items()):
        return Check.warn(name, words, "raise API_BUDGET, if the organisation has more calls")
    return Check.ok(name, words)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _last_put_off(store: Store, waiting: list[Unfinished]) -> tuple[str, Step] | None:
    """Return the newest step that put one off, and whose it is; its facts hold nothing secret."""
    stories = (store.story(each.task_id) for each in waiting)
    steps = [
        (story.task_id, step)
        for story in stories
        if story is not None
        for step in story.steps
        if step.name in {"retried", "paced"}
    ]
    return max(steps, key=_when, default=None)


def _when(found: tuple[str, Step]) -> float:
    return found[1].at.timestamp() if found[1].at is not None else 0.0


def _received_at(message: Unfinished) -> datetime | None:
    try:
        return datetime.fromisoformat(str(message.envelope.get("received_at")))
    except ValueError:
        return None


def _causes(missed: list[MissedReply], reasons: Counter[Reason]) -> list[str]:
    """Say in words what the commonest reasons mean."""
    found = []
    if any(reply.errcode == SESSION_GONE for reply in missed):
        found.append(f"DingTalk said that the session is gone ({SESSION_GONE})")
    if any(r.reason.value.startswith("expired_") and r.errcode != SESSION_GONE for r in missed):
        found.append(
            "the webhook expired before the reply was sent: too few workers, or a slow agent"
        )
    if any(_lacks_permission(reply) for reply in missed):
        found.append("the app lacks an API permission (qyapi_robot_sendmsg)")
    elif reasons[Reason.REJECTED_BY_DINGTALK]:
        codes = sorted({r.errcode for r in missed if r.errcode is not None})
        found.append(f"DingTalk refused replies (errcode {', '.join(map(str, codes)) or 'none'})")
    if reasons[Reason.WEBHOOK_NOT_ALLOWED]:
        found.append("their webhooks point to hosts that DINGTALK_WEBHOOK_HOSTS does not name")
    if reasons[Reason.QUOTA_USED_UP]:
        found.append(
            "DingTalk's monthly quota was used up, so they came without their text: buy more, or "
            "wait for the next month"
        )
    return found


def _lacks_permission(reply: MissedReply) -> bool:
    return reply.errcode in PERMISSION_CODES or PERMISSION_WORD in reply.detail.lower()


def _kind(address: str) -> str:
    scheme = address.partition(":")[0]
    return {"redis": "Redis", "rediss": "Redis", "sqlite": "SQLite"}.get(scheme, "PostgreSQL")


def _file_of(address: str) -> Path | None:
    """Return the file of a SQLite store, which looking would create; None for other stores."""
    name = address.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if address.startswith("sqlite:///") and name else None
