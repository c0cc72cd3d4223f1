"""The files that docs/simulator.md gives away, run as they are printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Pytest, as somebody who copied the files would run it."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_fixture_the_tests_and_the_bot_of_the_page_work_as_printed(tmp_path):
    page = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    files = dict(FILES.findall(page))
    assert files.keys() == {"conftest.py", "test_bot.py", "bot.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    good = run(tmp_path)

    assert "3 passed" in good.stdout, good.stdout + good.stderr
    (tmp_path / "bot.py").write_text("raise SystemExit(7)\n", encoding="utf-8")
    dead = run(tmp_path)
    assert "the bot ended with 7" in dead.stdout, "it says so at once, and does not wait"
