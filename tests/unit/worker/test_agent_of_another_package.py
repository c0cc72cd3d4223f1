"""An agent that lives in its author's own package, installed next to this one."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

AGENT = "def answer(message):\n    return 'sunny'\n"
RECORD = """my_agents/__init__.py,,
my_agents/weather.py,,
my_agents-1.0.dist-info/METADATA,,
my_agents-1.0.dist-info/WHEEL,,
my_agents-1.0.dist-info/RECORD,,
"""
LOADING = """
from worker.agents.loading import load_agent
print(load_agent("my_agents.weather:answer").build()(None))
"""


def built(folder: Path) -> Path:
    """A wheel, as its author's tools would build it."""
    wheel = folder / "my_agents-1.0-py3-none-any.whl"
    information = "my_agents-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("my_agents/__init__.py", "")
        archive.writestr("my_agents/weather.py", AGENT)
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: my-agents\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", RECORD)
    return wheel


def run(*command: str, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), path)))},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("way", ["installed", "on PYTHONPATH"])
def test_it_is_found_from_any_working_directory(tmp_path, way):
    elsewhere, packages = tmp_path / "elsewhere", tmp_path / "packages"
    elsewhere.mkdir()
    wheel = built(tmp_path)
    if way == "installed":
        options = ("--quiet", "--no-index", "--no-deps", "--target", str(packages))
        done = run("-m", "pip", "install", *options, str(wheel), folder=elsewhere)
        assert done.returncode == 0, done.stderr
    else:
        zipfile.ZipFile(wheel).extractall(packages)

    found = run("-c", LOADING, folder=elsewhere, path=str(packages))

    assert (found.stdout, found.stderr) == ("sunny\n", "")


def test_without_it_the_error_says_where_it_is_looked_for(tmp_path):
    missing = run("-c", LOADING, folder=tmp_path)
    assert "cannot import my_agents.weather: put it in the working directory" in missing.stderr
