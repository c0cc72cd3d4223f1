"""A worker process under test, with its own Redis databases and a simulated DingTalk."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from dingwire.simulator import SimulatorThread
from tests import warm
from tests.processes import ROOT, Process

__all__ = ["WorkerPlace", "place"]

# Waits for a gate to open, and writes a line for each run.
AGENT = """
import asyncio, os, pathlib, time

gate, runs = pathlib.Path(os.environ["GATE"]), pathlib.Path(os.environ["RUNS"])

def note():
    with runs.open("a") as file:
        file.write(f"{os.getpid()}\\n")

def plain(message):
    note()
    while not gate.exists():
        time.sleep(0.02)
    return f"answer to {message.text}"

def only_alice_waits(message):
    return plain(message) if message.sender_nick == "Alice" else f"answer to {message.text}"

async def awaiting(message):
    note()
    while not gate.exists():
        await asyncio.sleep(0.02)
    return f"answer to {message.text}"
"""


class WorkerPlace:
    """Starts workers and listeners that share a broker, a store and an agent."""

    def __init__(self, folder: Path, redis_url: str, simulator: SimulatorThread) -> None:
        self.folder, self.simulator = folder, simulator
        self.broker_url = redis_url.removesuffix("/0") + "/7"
        self.store_url = redis_url.removesuffix("/0") + "/8"
        for url in (self.broker_url, self.store_url):
            with redis.Redis.from_url(url) as client:
                client.flushdb()
        self.gate, self._runs = folder / "gate", folder / "runs"
        (folder / "gated.py").write_text(AGENT)
        self._started: list[Process] = []

    def environment(self, **variables: str) -> dict[str, str]:
        """Return a clean environment; ``variables`` win."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            "BROKER_URL": self.broker_url,
            "STORE_URL": self.store_url,
            "DATA_DIR": str(self.folder / "data"),
            "DINGTALK_CLIENT_ID": "dingprocess",
            "DINGTALK_CLIENT_SECRET": "hush-51d0",
            "DINGTALK_ALLOWED_USERS": "*",
            "DINGTALK_OPENAPI_ENDPOINT": self.simulator.endpoint,
            "DINGTALK_WEBHOOK_HOSTS": self.simulator.webhook_host,
            "DINGTALK_MEDIA_HOSTS": self.simulator.webhook_host,
            "AGENT": "gated:plain",
            "LEASE_S": "5",
            "GATE": str(self.gate),
            "RUNS": str(self._runs),
            **variables,
        }

    def start(self, line: str, **variables: str) -> Process:
        """Start a process; it is killed when the test ends."""
        log = self.folder / f"{len(self._started)}.log"
        process = Process(
            line, environment=self.environment(**variables), folder=self.folder, log=log
        )
        self._started.append(process)
        return process

    def worker(self, options: str = "", **variables: str) -> Process:
        """Start a worker and wait until it takes messages."""
        process = self.start(f"celery -A worker worker {options}", **variables)
        process.until_logged(" ready.")
        return process

    def listener(self) -> Process:
        """Start a listener and wait until it is connected."""
        process = self.start("python -m listener")
        self.simulator.until_connected(1)
        return process

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return warm.run(command, env=self.environment(**variables), cwd=self.folder)

    def missed(self) -> list[dict[str, Any]]:
        """Return what ``celery -A worker late`` says."""
        shown = self.run("celery", "-A", "worker", "late", "list", "--json")
        assert shown.returncode == 0, shown.stderr
        return list(json.loads(shown.stdout))

    def unfinished(self) -> int:
        """Return how many messages the store still has to see done."""
        with redis.Redis.from_url(self.store_url) as client:
            return int(client.zcard("dingtalk:due"))

    @property
    def runs(self) -> list[str]:
        """A line for each time the agent was run."""
        return self._runs.read_text().split() if self._runs.exists() else []

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            process.kill()


@contextmanager
def place(folder: Path, redis_url: str) -> Iterator[WorkerPlace]:
    """Yield a place whose processes end with it."""
    with SimulatorThread() as simulator:
        here = WorkerPlace(folder, redis_url, simulator)
        try:
            yield here
        finally:
            here.end()
