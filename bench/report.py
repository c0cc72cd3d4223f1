"""Shows rows: on the terminal, as ``bench/results.json``, and as ``docs/performance.md``.

``python -m bench.report`` writes the page anew from the results that are there.

In the page everything between the markers is written here, the words around it by people.
"""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.limits import limit_of
from bench.pages import RESULTS, write_between
from bench.plots import draw
from bench.rows import Goal, Plot, Row
from tests.processes import ROOT

__all__ = ["line", "show", "write"]

PAGE = ROOT / "docs" / "performance.md"
_LIBRARIES = ("celery", "kombu", "redis", "websockets", "pydantic", "requests", "sqlalchemy")
_VERDICT = {True: "met", False: "missed", None: ""}


def line(row: Row) -> str:
    """Return a row for the terminal."""
    peers = "  ".join(f"{name} {_figure(value)}" for name, value in row.peers.items())
    goal = "" if row.goal is None else f"{row.goal}: {_VERDICT[row.is_met]}"
    if row.is_met is False and (limit := limit_of(row.what)):
        goal += f" ({limit})"
    ratio = "" if row.ratio is None else f"ratio {row.ratio:.2f}"
    parts = (f"{_figure(row.ours)} {row.unit}", peers, ratio, goal, row.note)
    return f"{row.what} [{row.broker}]: " + "; ".join(part for part in parts if part)


def write(rows: Sequence[Row], plots: Sequence[Plot], *, rounds: int, took_s: float) -> None:
    """Write the results and the page with its pictures."""
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": _machine(),
        "versions": _versions(),
        "rounds": rounds,
        "took_s": round(took_s),
    }
    content = {
        **about,
        "rows": [asdict(row) | {"is_met": row.is_met} for row in rows],
        "plots": [asdict(plot) for plot in plots],
    }
    RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(content)


def show(results: dict[str, Any]) -> None:
    """Write the page and its pictures from what :func:`write` kept."""
    rows = [_row(each) for each in results["rows"]]
    pictures = draw(rows, [Plot(**each) for each in results["plots"]], ROOT / "docs" / "images")
    write_between(PAGE, "\n".join(_measured(rows, results, pictures)).strip())


def _row(kept: dict[str, Any]) -> Row:
    goal = kept["goal"]
    given = {name: value for name, value in kept.items() if name not in {"goal", "is_met"}}
    return Row(**given, goal=goal and Goal(**goal))


def _measured(
    rows: Sequence[Row], about: dict[str, Any], pictures: Iterable[tuple[str, str]]
) -> Iterable[str]:
    yield f"Measured on {about['date']}, {about['machine']}. {about['versions']}."
    yield ""
    yield "| what | broker | ours | peers | ratio | goal | |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        peers = ", ".join(f"{name} {_figure(value)}" for name, value in row.peers.items())
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        goal = "" if row.goal is None else str(row.goal)
        verdict = "; ".join(filter(None, (_verdict(row), row.note)))
        ours = f"{_figure(row.ours)} {row.unit}"
        yield f"| {row.what} | {row.broker} | {ours} | {peers} | {ratio} | {goal} | {verdict} |"
    yield ""
    for name, title in pictures:
        yield f"![{title}](images/{name})"
        yield ""


def _verdict(row: Row) -> str:
    if row.is_met is not False:
        return _VERDICT[row.is_met]
    limit = limit_of(row.what)
    return f"[missed](#where-the-time-goes): {limit}" if limit else "missed"


def _figure(value: float) -> str:
    """Return three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{os.cpu_count()} cores ({_processor()}), {memory_gib:.0f} GiB, {system}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [each.partition(":")[2].strip() for each in lines if each.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    found += [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES]
    found += [f"dingtalk-stream {importlib.metadata.version('dingtalk-stream')}"]
    for name, command in _SERVERS.items():
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        version = re.search(r"\d+(\.\d+)*", said)
        found.append(f"{name} {version[0] if version else 'unknown'}")
    return ", ".join(found)


_SERVERS = {
    "Redis": ["redis-server", "--version"],
    "RabbitMQ": ["dpkg-query", "-W", "-f=${Version}", "rabbitmq-server"],
    "PostgreSQL": ["dpkg-query", "-W", "-f=${Version}", "postgresql"],
    "Node": ["node", "--version"],
}


if __name__ == "__main__":
    show(json.loads(RESULTS.read_text(encoding="utf-8")))
