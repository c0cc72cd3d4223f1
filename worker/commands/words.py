"""How the operator's commands read and write: durations, ages and tables."""

import re
from collections.abc import Sequence
from datetime import timedelta

import click

__all__ = ["duration_s", "short_age", "table"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_LONGEST_S = 36_500 * 86_400.0  # what any store can subtract from now


def duration_s(text: str) -> float:
    """Read ``90s``, ``15m``, ``2h`` or ``3d`` as seconds; the type of an option.

    Raises:
        click.BadParameter: It is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration: write 90s, 15m, 2h or 3d")
    return min(float(found[1]) * _UNITS[found[2]], _LONGEST_S)


def short_age(age: timedelta) -> str:
    """Return an age in its largest whole unit."""
    seconds = max(0, int(age.total_seconds()))
    for unit, size in reversed(_UNITS.items()):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return "0s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines whose columns are as wide as their widest entry."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines
