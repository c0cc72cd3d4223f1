"""``celery -A worker doctor``: what is wrong, and what to do about it.

Registered as a Celery sub-command in ``pyproject.toml``. Exit 0 when nothing fails (a warning does
not), 1 when something does, 2 for settings that cannot be read or wrong usage.
"""

import logging
import sys

import click

from contract.checks import EXIT_UNREADABLE, as_json, as_table, exit_code
from contract.settings import SettingsError
from contract.settings_checks import unreadable
from worker.settings import WorkerSettings

__all__ = ["doctor"]


@click.command()
@click.option("--deep", is_flag=True, help="Open a Stream connection for a moment, too.")
@click.option("--send-test", metavar="STAFF_ID", help="Send one message, unasked, to this person.")
@click.option("--json", "is_json", is_flag=True, help="For machines.")
def doctor(deep: bool, send_test: str | None, is_json: bool) -> None:
    """Check everything an answer needs: settings, DingTalk, broker, store, who is there.

    Sends nothing and changes nothing, unless told to. With --deep a Stream connection is opened
    and closed: as long as it is open, messages may come to it instead of the listener, and are
    lost.
    """
    # What fails is in the table; the libraries' own lines would stand between.
    logging.disable(logging.CRITICAL)
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        checks = unreadable(error)
        if is_json:
            click.echo(as_json(checks))
        for check in checks:
            click.echo("; ".join(filter(None, (check.reason, check.fix))), err=True)
        sys.exit(EXIT_UNREADABLE)
    from worker.doctor import diagnose

    checks = diagnose(settings, deep=deep, send_test_to=send_test)
    click.echo(as_json(checks) if is_json else as_table(checks))
    sys.exit(exit_code(checks))
