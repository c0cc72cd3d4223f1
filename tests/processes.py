"""Processes run as a process manager runs the lines of a Procfile.

Used by the acceptance tests and ``scripts/memory.py``. A shell becomes each line's command, in a
process group and with a log file of its own; signals go to the whole group, as honcho, foreman and
the platforms send them.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.servers import wait_for

__all__ = ["KILLED_AFTER_S", "ROOT", "Process", "procfile"]

# After SIGTERM; what is still there by then, a platform kills.
KILLED_AFTER_S = 30

ROOT = Path(__file__).resolve().parents[1]


def procfile() -> dict[str, str]:
    """Return the repository's Procfile: commands by process type."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    split = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in split}


class Process:
    """One running line, with its children."""

    def __init__(self, line: str, *, environment: Mapping[str, str], folder: Path, log: Path):
        """Start ``line`` in ``folder``; what it writes goes to ``log``."""
        self.line, self.log_path = line, log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {line}"],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.group = self._popen.pid

    @property
    def log(self) -> str:
        """All it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def members(self) -> Iterator[psutil.Process]:
        """Yield every living process of the group."""
        if self._is_number_anothers():
            return
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.group and (
                    process.status() != psutil.STATUS_ZOMBIE
                ):
                    yield process
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue

    def _is_number_anothers(self) -> bool:
        """Tell whether the system has given it to somebody else: ours has been waited for."""
        return not self.is_running and psutil.pid_exists(self.group)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group.

        Raises:
            ProcessLookupError: Nothing is left of it.
        """
        if self._is_number_anothers():
            raise ProcessLookupError(self.group)
        os.killpg(self.group, number)

    def wait(self, limit_s: float) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        return self._popen.wait(limit_s)

    def until_logged(self, text: str) -> None:
        """Wait for a text in its log; fail with the log when it ends before."""

        def is_logged() -> bool:
            if text in self.log:
                return True
            assert self.is_running, f"{self.line!r} ended: {self.log[-3000:]}"
            return False

        wait_for(is_logged, what=f"{text!r} in the log of {self.line!r}")

    def terminate(self, limit_s: float = KILLED_AFTER_S) -> tuple[int, float]:
        """Send SIGTERM; return the exit code and how long it took to end, in seconds."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        return self.wait(limit_s), time.monotonic() - started

    def kill(self) -> None:
        """Kill the whole group, whatever is left of it."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._popen.wait(60)
