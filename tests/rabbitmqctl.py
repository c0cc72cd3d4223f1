"""``rabbitmqctl`` for a RabbitMQ that ``tests/servers.py`` runs."""

import os
import shutil
import subprocess
from urllib.parse import urlsplit

import psutil

__all__ = ["rabbitmqctl"]


def rabbitmqctl(url: str, *arguments: str) -> list[str]:
    """Ask the server at ``url``; return the lines of the answer, without headings."""
    program = shutil.which("rabbitmqctl", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
    assert program is not None
    done = subprocess.run(
        [program, *arguments, "--quiet"],
        env=_environment(urlsplit(url).port),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def _environment(port: int | None) -> dict[str, str]:
    """Return that of the server, which says how to speak to it."""
    for process in psutil.process_iter():
        try:
            environment: dict[str, str] = process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if environment.get("RABBITMQ_NODE_PORT") == str(port):
            return environment
    raise AssertionError(f"no RabbitMQ runs on port {port}")
