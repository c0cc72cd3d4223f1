"""What a listener's memory is made of: resident memory after each import, in a process of its own.

``python -m bench.imports``
"""

import subprocess
import sys

__all__ = ["main"]

STEPS = (
    ("Python", ""),
    ("asyncio and ssl", "import asyncio, ssl"),
    ("websockets", "import websockets.asyncio.client"),
    ("pydantic", "import pydantic"),
    ("pydantic-settings", "import pydantic_settings"),
    ("requests", "import requests"),
    ("the listener's own", "import listener.__main__"),
)
_RSS = """
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print(int(line.split()[1]) / 1024)
"""


def main() -> int:
    """Print a table."""
    print("| import | MB more |\n|---|---|")
    before, script = 0.0, ""
    for name, step in STEPS:
        script += f"{step}\n"
        done = subprocess.run(
            [sys.executable, "-c", script + _RSS], check=True, capture_output=True, text=True
        )
        now = float(done.stdout)
        print(f"| {name} | {now - before:.1f} |")
        before = now
    print(f"| together | {before:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
