"""``make chaos``: every fault on every broker, with real processes, and what became of messages.

Exit 0 when every cell kept the promise, 1 when one did not, 2 for a wrong option, 130 for Ctrl-C.
See docs/reliability.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from tests.chaos.cells import Cell, select
from tests.chaos.load import Size
from tests.chaos.matrix import run_cells
from tests.chaos.run import Result
from tests.chaos.table import as_json, as_markdown, as_text, write_into
from tests.processes import ROOT

__all__ = ["main"]

LIMIT_S = 30 * 60.0
DOCUMENT = ROOT / "docs" / "reliability.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        cells = select(options.only)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.list:
        for cell in cells:
            _say(f"{cell.name:30} {cell.not_run or _words(cell)}")
        return 0
    try:
        return _run(cells, options)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--only",
        action="append",
        default=[],
        metavar="BROKER/FAULT",
        help="run cells whose name matches this pattern, as in 'redis/*'; may be repeated",
    )
    add("--list", action="store_true", help="name the cells, run nothing")
    add("--json", action="store_true", help="print results as JSON")
    add("--write", action="store_true", help="put the table into docs/reliability.md")
    add("--messages", type=int, default=Size.messages, help="per cell (%(default)s)")
    add("--conversations", type=int, default=Size.conversations, help="per cell (%(default)s)")
    add(
        "--at-once",
        type=int,
        default=max(2, min(3, os.cpu_count() or 2)),
        metavar="N",
        help="cells that run beside each other (%(default)s)",
    )
    add("--keep", type=Path, metavar="FOLDER", help="keep all logs in this new folder")
    return parser  # fmt: skip


def _words(cell: Cell) -> str:
    return " ".join((cell.fault.__doc__ or "").split())


def _say(text: str, out: IO[str] = sys.stdout) -> None:
    out.write(f"{text}\n")
    out.flush()


def _run(cells: Sequence[Cell], options: argparse.Namespace) -> int:
    runnable = [cell for cell in cells if not cell.not_run]
    left_out = [cell for cell in cells if cell.not_run]
    folder = options.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    size = Size(options.messages, options.conversations)
    out = sys.stderr if options.json else sys.stdout
    started = time.monotonic()
    results = run_cells(
        runnable,
        folder,
        size=size,
        at_once=options.at_once,
        limit_s=LIMIT_S,
        tell=lambda result: _say(_line(result), out),
    )
    failed = [result for result in results if not result.is_good]
    for result in failed:
        _say(f"\n{result.cell.name}: {result.verdict}\n{result.evidence}", out)
    _say(f"\n{as_text(results, left_out)}\n", out)
    _say(f"{len(results) - len(failed)} of {len(results)} cells kept the promise, "
          f"in {(time.monotonic() - started) / 60:.1f} min", out)  # fmt: skip
    if options.json:
        _say(json.dumps(as_json(results, left_out), indent=2))
    if options.write:
        table = as_markdown(
            results, left_out, ran_with=_ran_with(size), today=datetime.now(UTC).date()
        )
        write_into(DOCUMENT, table)
    if failed:
        _say(f"logs: {folder}", out)
    elif options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def _line(result: Result) -> str:
    return f"{result.cell.name:30} {result.took_s:6.1f} s  {result.verdict}"


def _ran_with(size: Size) -> str:
    packages = [f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "websockets")]
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return ", ".join(
        [
            f"{size.messages} messages in {size.conversations} conversations a cell",
            python,
            *packages,
            *_servers(),
        ]
    )


def _servers() -> list[str]:
    """Return the servers' own names and versions, as far as they tell."""
    found: list[str] = []
    for name, command, word in (
        ("Redis", ["redis-server", "--version"], 2),
        ("PostgreSQL", [*_newest("/usr/lib/postgresql", "postgres"), "--version"], 2),
        ("RabbitMQ", ["dpkg-query", "-W", "-f", "x x ${Version}", "rabbitmq-server"], 2),
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        found.append(f"{name} {done.stdout.split()[word].removeprefix('v=').split('-')[0]}")
    return found


def _newest(folder: str, program: str) -> list[str]:
    paths = sorted(Path(folder).glob(f"*/bin/{program}"))
    return [str(paths[-1])] if paths else [program]


if __name__ == "__main__":
    sys.exit(main())
