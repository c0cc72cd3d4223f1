"""The results as a table: for the terminal, for docs/reliability.md, and as JSON."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tests.chaos.cells import Cell
from tests.chaos.run import Result

__all__ = ["BEGIN", "END", "as_json", "as_markdown", "as_text", "row", "write_into"]

BEGIN = "<!-- written by make chaos -->"
END = "<!-- end of what make chaos wrote -->"

_HEAD = (
    "broker/fault", "sent", "answered once", "doubled", "lost", "out of order",
    "missed, visible", "never acked", "recovery s", "result",
)  # fmt: skip


def row(result: Result) -> tuple[str, ...]:
    """Return the cells of a result's row."""
    found = result.judgement
    if found is None:
        return (result.cell.name, *[""] * 8, result.verdict)
    numbers = (
        found.sent, found.answered_once, found.doubled, found.lost, found.out_of_order,
        found.missed, found.never_acked, found.recovery_s,
    )  # fmt: skip
    return (result.cell.name, *map(str, numbers), result.verdict)


def _rows(results: Sequence[Result], left_out: Sequence[Cell]) -> list[tuple[str, ...]]:
    return [*map(row, results), *((cell.name, *[""] * 8, cell.not_run) for cell in left_out)]


def as_text(results: Sequence[Result], left_out: Sequence[Cell]) -> str:
    """Return the table for a terminal."""
    rows = [_HEAD, *_rows(results, left_out)]
    widths = [max(len(each[column]) for each in rows) for column in range(len(_HEAD) - 1)]
    lines = []
    for first, *numbers, last in rows:
        padded = [n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join((first.ljust(widths[0]), *padded, last)))
    return "\n".join(lines)


def as_markdown(
    results: Sequence[Result], left_out: Sequence[Cell], *, ran_with: str, today: date
) -> str:
    """Return the table for the docs, and what it was made with."""
    lines = [f"Run on {today.isoformat()} with {ran_with}.", ""]
    lines += [f"| {' | '.join(_HEAD)} |", f"|---|{'---:|' * 8}---|"]
    lines += [f"| {' | '.join(each)} |" for each in _rows(results, left_out)]
    return "\n".join(lines)


def write_into(document: Path, table: str) -> None:
    """Replace what stands between the marks of ``document``."""
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} has no place for the table")
    document.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def as_json(results: Sequence[Result], left_out: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return one object a cell."""
    return [
        *(dict(zip(_HEAD, row(r), strict=True)) | {"took_s": round(r.took_s, 1)} for r in results),
        *({"broker/fault": cell.name, "result": cell.not_run} for cell in left_out),
    ]
