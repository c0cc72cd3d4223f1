"""``python -m dingwire.simulator``: DingTalk on this machine, with a chat page."""

import argparse
import asyncio
import errno
import signal
import sys
from collections.abc import Sequence

from dingwire.simulator.say import say_once
from dingwire.simulator.server import Simulator

__all__ = ["main"]

PROGRAM = "python -m dingwire.simulator"
KINDS = (
    *("text", "richText", "picture", "audio", "video", "file"),
    *("markdown", "chatRecord", "interactiveCard", "unknownMsgType"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0; 1 when ``--say`` got no answer; 2 for bad arguments or a port that is taken.
    """
    options = _parser().parse_args(arguments)
    if bool(options.client_id) != bool(options.client_secret):
        sys.stderr.write("--client-id and --client-secret go together\n")
        return 2
    simulator = Simulator(
        port=options.port, client_id=options.client_id, client_secret=options.client_secret
    )
    try:
        if options.say is None:
            return asyncio.run(_serve(simulator))
        return asyncio.run(
            say_once(
                simulator,
                options.say,
                kind=options.kind,
                is_group=options.group,
                timeout_s=options.timeout,
            )
        )
    except OSError as taken:
        is_busy = taken.errno == errno.EADDRINUSE
        reason = "the port is taken, choose another with --port" if is_busy else taken
        sys.stderr.write(f"cannot listen on 127.0.0.1:{options.port}: {reason}\n")
        return 2
    except KeyboardInterrupt:
        return 0 if options.say is None else 1


async def _serve(simulator: Simulator) -> int:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    async with simulator:
        sys.stdout.write(
            f"DingTalk simulator\n  chat page  {simulator.endpoint}/\n"
            f"  for a bot  DINGTALK_OPENAPI_ENDPOINT={simulator.endpoint}\n"
        )
        sys.stdout.flush()
        await asked_to_stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="DingTalk played on this machine, with a chat page."
    )
    parser.add_argument("--port", type=int, default=8765, help="port of 127.0.0.1 (%(default)s)")
    parser.add_argument("--client-id", default="", help="let in only this bot")
    parser.add_argument("--client-secret", default="", help="and only with this secret")
    parser.add_argument(
        "--say", metavar="TEXT", help="wait for a bot, write TEXT to it, print its reply and exit"
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="text",
        metavar="KIND",
        help=f"with --say: {', '.join(KINDS)} (%(default)s)",
    )
    parser.add_argument("--group", action="store_true", help="write in the group, not in private")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="limit of --say (%(default)s s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
