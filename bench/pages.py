"""Pages of docs/ with a part that a program writes, and the results that it is written from."""

import re
from pathlib import Path

from tests.processes import ROOT

__all__ = ["BEGIN", "END", "RESULTS", "write_between"]

RESULTS = ROOT / "bench" / "results.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_between(page: Path, text: str) -> None:
    """Put ``text`` between the markers of the page; the words around them stay."""
    written = page.read_text(encoding="utf-8")
    measured = f"{BEGIN}\n\n{text}\n\n{END}"
    page.write_text(
        re.sub(f"{BEGIN}.*{END}", lambda _: measured, written, flags=re.DOTALL), encoding="utf-8"
    )
