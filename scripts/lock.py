"""``make lock``: pin what a deploy installs, in ``requirements.txt``.

The file names packages and versions only, no address they came from. Its last line is the project
itself, because its ``celery`` sub-commands exist only where it is installed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["lock"]

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# What a deploy installs, pinned; made by `make lock` from pyproject.toml.\n"
COMPILE = [
    "--quiet", "--extra=deploy", "--strip-extras", "--no-annotate", "--no-header",
    "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options",
]  # fmt: skip


def _is_pin(line: str) -> bool:
    return "==" in line and not line.startswith(("#", "-"))


def lock(requirements: Path) -> None:
    """Write ``requirements``; versions already in it stay while they fit (delete it to upgrade)."""
    kept = requirements.read_text(encoding="utf-8") if requirements.exists() else ""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, "requirements.txt")
        draft.write_text("".join(filter(_is_pin, kept.splitlines(keepends=True))))
        command = [sys.executable, "-m", "piptools", "compile", *COMPILE]
        subprocess.run([*command, f"--output-file={draft}", "pyproject.toml"], cwd=ROOT, check=True)
        pins = filter(_is_pin, draft.read_text(encoding="utf-8").splitlines(keepends=True))
        requirements.write_text("".join([HEADER, *pins, ".\n"]), encoding="utf-8")


if __name__ == "__main__":
    lock(ROOT / "requirements.txt")
