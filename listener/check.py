"""``python -m listener --check``: the listener's half of the doctor, without worker code.

Asked by ``__main__.py``. What the listener needs is tried the way it will use it.
"""

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from contract.broker import Broker
from contract.broker_check import check_broker
from contract.checks import (
    EXIT_UNREADABLE,
    Check,
    Examination,
    as_json,
    as_table,
    examine,
    exit_code,
    named,
)
from contract.settings import SettingsError
from contract.settings_checks import check_allowed_users, check_settings, unreadable
from dingwire.probe import DINGTALK, OF_A_BOT, Bot, about_dingtalk
from listener.settings import ListenerSettings

__all__ = ["LIMIT_S", "diagnose", "main"]

LIMIT_S = 20.0


def main(*, deep: bool, is_json: bool, clock: Callable[[], datetime]) -> int:
    """Check, and say what was found; return the exit code."""
    # What fails is in the table; the libraries' own lines would stand between.
    logging.disable(logging.CRITICAL)
    try:
        settings = ListenerSettings.load()
    except SettingsError as error:
        checks = unreadable(error)
        if is_json:
            sys.stdout.write(as_json(checks) + "\n")
        for check in checks:
            sys.stderr.write("; ".join(filter(None, (check.reason, check.fix))) + "\n")
        return EXIT_UNREADABLE
    checks = diagnose(settings, deep=deep, clock=clock)
    sys.stdout.write((as_json(checks) if is_json else as_table(checks)) + "\n")
    return exit_code(checks)


def diagnose(
    settings: ListenerSettings, *, deep: bool, clock: Callable[[], datetime]
) -> list[Check]:
    """Make every check.

    Args:
        settings: What the listener would start with.
        deep: Whether to open a Stream connection for a moment.
        clock: Aware UTC.
    """
    broker = Broker.from_url(settings.broker_url, settings.data_dir)
    examinations = [
        Examination(("settings",), lambda: check_settings(settings.secret_variables)),
        *(_allowed(name, bot) for name, bot in settings.named_bots),
        *(
            _dingtalk(name, bot, deep=deep, is_first=bot is settings.of_bots[0], clock=clock)
            for name, bot in settings.named_bots
        ),
        Examination(("broker",), lambda: [check_broker(broker)]),
        Examination(("spool",), lambda: [_check_spool(settings.data_dir / "spool")]),
    ]
    return examine(examinations, limit_s=LIMIT_S)


def _allowed(name: str, bot: ListenerSettings) -> Examination:
    def check() -> Iterator[Check]:
        yield check_allowed_users(bot.let_in).about(name)

    return Examination((named("allowed users", name),), check)


def _dingtalk(
    name: str,
    settings: ListenerSettings,
    *,
    deep: bool,
    is_first: bool,
    clock: Callable[[], datetime],
) -> Examination:
    """Look at what is a bot's own, and for the first of them at what is not."""
    bot = Bot(
        endpoint=settings.openapi_endpoint,
        client_id=settings.client_id,
        client_secret=settings.client_secret.get_secret_value(),
        clock=clock,
    )
    wanted = [each for each in DINGTALK if is_first or each in OF_A_BOT]

    def check() -> Iterator[Check]:
        for word, finding in about_dingtalk(bot, deep=deep):
            if word in wanted:
                yield Check.of(_named(word, name), finding)

    return Examination(tuple(_named(word, name) for word in wanted), check)


def _named(word: str, bot: str) -> str:
    return named(word, bot if word in OF_A_BOT else "")


def _check_spool(folder: Path) -> Check:
    """Try to write where the spool is, or will be; what is not there is not made."""
    try:
        whole = folder.absolute()
        nearest = next(each for each in (whole, *whole.parents) if each.exists())
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=".check-"):
            pass
    except OSError as error:
        return Check.fail(
            "spool",
            f"{folder} cannot be written to: {error.strerror}",
            "while the broker is away messages wait there: DATA_DIR must be this user's",
        )
    return Check.ok("spool", f"{folder} can be written to")
