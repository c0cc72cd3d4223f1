"""The simulator works with its own extra alone: it imports nothing else of ours, nor of others."""

import ast
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "dingwire" / "simulator"
OWN = {"aiohttp", "dingwire"}


def imported_by(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = [each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    plain = [each for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    return {*named, *(each.name for each in plain)}


def test_the_simulator_needs_aiohttp_and_nothing_else():
    names = {name for file in FOLDER.glob("*.py") for name in imported_by(file)}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names

    assert foreign == OWN
    assert [name for name in names if name.startswith("dingwire") and "simulator" not in name] == []
