"""``python -m listener``: settings from the environment, signals, exit codes."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from contract.log import configure
from contract.settings import SettingsError
from listener.health import HealthPortError
from listener.service import serve
from listener.settings import ListenerSettings

__all__ = ["main"]

logger = logging.getLogger("listener")

DESCRIPTION = """\
Hold DingTalk's Stream connection and put every chat message on the broker.

Settings come from the environment, .env and the TOML file DINGTALK_CONFIG names;
DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET are required, or tables of bots, of
which each has connections of its own. Exit 0 after SIGTERM
or SIGINT, 1 when HEALTH_PORT is taken, 2 for settings that cannot be read.

With --check it does not listen: it tries what it would need, says what is wrong
and what to do, and ends. Exit 0 when nothing fails, 1 when something does. It
sends nothing and changes nothing.
"""


def _now() -> datetime:
    return datetime.now(UTC)


def _log_cheaply() -> None:
    """Leave out of log records what no line of ours shows: a third of what a line costs.

    The switches are those of the standard library's logging HOWTO, "Optimization". Not for workers,
    where an agent may log by a format of its own.
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _warn_if_everybody_is_denied(settings: ListenerSettings) -> None:
    bots = settings.of_bots
    for bot in bots:
        if not bot.let_in:
            logger.warning(
                "EVERYBODY IS DENIED: DINGTALK_ALLOWED_USERS is empty; set it to staff ids, comma "
                "separated, or to * for everybody",
                extra={"action": "everybody_denied", **({"bot": bot.label} if bots[1:] else {})},
            )


async def _run(settings: ListenerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop, clock=_now)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m listener",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--check", action="store_true", help="check everything, then end")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="with --check: open a Stream connection for a moment, too; messages that come to it "
        "are lost",
    )
    parser.add_argument("--json", action="store_true", help="with --check: for machines")
    options = parser.parse_args(arguments)
    if not options.check and (options.deep or options.json):
        parser.error("--deep and --json go with --check")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _options(arguments)
    if options.check:
        # A listener that listens needs none of it.
        from listener.check import main as check

        return check(deep=options.deep, is_json=options.json, clock=_now)
    try:
        settings = ListenerSettings.load()
    except SettingsError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"cannot read settings: {line}\n")
        return 2
    configure(settings.log_level, settings.log_format)
    _log_cheaply()
    # What is loaded by now lives as long as the process: not to be looked through again for each
    # few hundred messages.
    gc.freeze()
    _warn_if_everybody_is_denied(settings)
    try:
        asyncio.run(_run(settings))
    except HealthPortError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
