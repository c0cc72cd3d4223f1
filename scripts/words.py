"""``make docs``: write the table of what the bot says into ``docs/agents.md``, from the catalogue.

``tests/unit/test_docs.py`` compares it with what this makes.
"""

import re
import sys
from pathlib import Path

from worker.words import CATALOGUE, Phrase

__all__ = ["PAGE", "comments", "table", "with_table"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "agents.md"
FILE = ROOT / "worker" / "words.toml"

BEGIN = "<!-- The table is made by `make docs` from worker/words.toml. -->\n"
END = "<!-- End of the table. -->\n"


def comments() -> dict[str, str]:
    """Return the comment above each text of the catalogue."""
    found = re.findall(r"\n\n((?:# .*\n)+)\[(\w+)\]\n", FILE.read_text(encoding="utf-8"))
    return {key: re.sub(r"\n?# ", " ", comment).strip() for comment, key in found}


def table() -> str:
    """Return the table."""
    when = comments()
    rows = [f"| `{key}` | {when[key]} | {_said(each)} |\n" for key, each in CATALOGUE.items()]
    return "| key | when | what |\n|---|---|---|\n" + "".join(rows)


def _said(phrase: Phrase) -> str:
    said = [f"`both`: {phrase.both}"] if phrase.both else []
    return "<br>".join([phrase.zh, phrase.en, *said]).replace("\n", " ").replace("|", "\\|")


def with_table(page: str) -> str:
    """Return a page with the table as it is to be."""
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote the table of texts into {PAGE.name}\n")
