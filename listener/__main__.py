"""``python -m listener``: settings from the environment, signals, exit codes."""

import argparse
import asyncio
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
DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET are required. Exit 0 after SIGTERM
or SIGINT, 1 when HEALTH_PORT is taken, 2 for settings that cannot be read.
"""


def _now() -> datetime:
    return datetime.now(UTC)


def _warn_if_everybody_is_denied(settings: ListenerSettings) -> None:
    if not settings.allowed_users:
        logger.warning(
            "EVERYBODY IS DENIED: DINGTALK_ALLOWED_USERS is empty; set it to staff ids, comma "
            "separated, or to * for everybody",
            extra={"action": "everybody_denied"},
        )


async def _run(settings: ListenerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop, clock=_now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argparse.ArgumentParser(
        prog="python -m listener",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    try:
        settings = ListenerSettings.load()
    except SettingsError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"cannot read settings: {line}\n")
        return 2
    configure(settings.log_level, settings.log_format)
    _warn_if_everybody_is_denied(settings)
    try:
        asyncio.run(_run(settings))
    except HealthPortError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
