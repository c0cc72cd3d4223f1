"""What can be wrong with settings that can be read; asked by the checks of both processes."""

from collections.abc import Collection, Iterator

from contract.checks import Check
from contract.variables import ALIASES, misspelled, names_set

__all__ = ["check_allowed_users", "check_names", "check_settings", "unreadable"]

EVERYBODY = "*"


def unreadable(error: ValueError) -> list[Check]:
    """Return the checks of settings that cannot be read: one for each faulty variable.

    Misspelled names come with them, since one may be why another is missing.
    """
    failed = [
        Check.fail("settings", f"cannot read settings: {line}") for line in str(error).splitlines()
    ]
    try:
        return [*failed, *check_names(names_set())]
    except UnicodeDecodeError:  # .env, which the error has named
        return failed


def check_settings(also_read: Collection[str] = ()) -> list[Check]:
    """Return ``settings``, once for each thing to look at.

    Args:
        also_read: Names of variables that the settings themselves name.
    """
    return list(check_names(names_set() - set(also_read))) or [Check.ok("settings")]


def check_names(names: Collection[str]) -> Iterator[Check]:
    """Yield a warning for every variable that is not read by whom it should be."""
    for name, meant in misspelled(names):
        fix = f"did you mean {meant}?" if meant else "docs/configuration.md lists all variables"
        yield Check.warn("settings", f"{name} is not read by anything", fix)
    for name in sorted(ALIASES.keys() & set(names)):
        yield Check.warn(
            "settings",
            f"{name} is read by Celery and by no listener: they may use different brokers",
            f"set {ALIASES[name]} instead, which both read",
        )


def check_allowed_users(allowed: Collection[str], *, late_policy: str | None = None) -> Check:
    """Return ``allowed users``: who may write to the bot, and what that means.

    Args:
        allowed: Staff ids, or ``*``.
        late_policy: The workers', where it is known.
    """
    name = "allowed users"
    if not allowed:
        return Check.fail(
            name,
            "DINGTALK_ALLOWED_USERS is empty: EVERYBODY IS DENIED",
            "set it to staff ids, comma separated, or to * for everybody; the listener's line "
            "`message denied` has the id of whoever writes",
        )
    if EVERYBODY not in allowed:
        count = len(set(allowed))
        return Check.ok(name, f"{count} {'person' if count == 1 else 'people'}")
    if late_policy == "rescue":
        return Check.warn(
            name,
            "everybody may write to the bot (*), and LATE_POLICY=rescue answers late ones by "
            "proactive messages: whoever writes can spend the month's API calls",
            "name staff ids, or use LATE_POLICY=flag",
        )
    return Check.ok(name, "everybody (*)")
