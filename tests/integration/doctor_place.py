"""Reading what the doctor said, and servers that say nothing."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MARK", "black_hole", "findings"]

MARK = "h1dden-9f3b"  # in every secret of these tests; must be shown nowhere


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    """Return status and words of each check by its name, of a run with ``--json``."""
    assert MARK not in done.stdout + done.stderr
    assert done.stderr == "", done.stderr
    shown = json.loads(done.stdout)
    worst = [check["status"] for check in shown["checks"]]
    assert shown["overall"] == next((s for s in ("FAIL", "warn") if s in worst), "ok")
    assert done.returncode == int("FAIL" in worst)
    return {
        check["name"]: (check["status"], f"{check['reason']}; {check['fix']}")
        for check in shown["checks"]
    }


@contextmanager
def black_hole() -> Iterator[int]:
    """Yield the port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        kept = []

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        for client in kept:
            client.close()
