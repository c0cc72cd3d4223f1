"""The store, and the missed replies in it. Nothing is created: a new schema is the release's."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from contract.checks import Check
from worker.commands.words import short_age
from worker.store import MissedReply, Reason, Store, StoreError, StoreSchemaError

__all__ = ["check_missed", "check_store"]

MOST = 1000
# DingTalk's numbers and names for a permission the app lacks; docs/protocol.md.
PERMISSION_CODES = {60011, 88}
PERMISSION_WORD = "permission"


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
        return Check.fail("store", str(error), "is it running, and the address in STORE_URL?")
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


def _causes(missed: list[MissedReply], reasons: Counter[Reason]) -> list[str]:
    """Say in words what the commonest reasons mean."""
    found = []
    if any(reason.value.startswith("expired_") for reason in reasons):
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
