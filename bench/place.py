"""Where a benchmark runs: servers, the load generator, and processes of the Procfile."""

import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil

from bench.load import Load
from tests.processes import ROOT, Process, procfile
from tests.servers import postgresql, rabbitmq, redis

__all__ = ["BOT", "Place", "Running"]

BOT = "bench"
MIB = 2**20


class Running(Process):
    """A process and its children, measured."""

    @property
    def pid(self) -> int:
        return self.group

    def rss_mb(self) -> float:
        """Return the resident memory of all of them, in MiB."""
        return sum(p.memory_info().rss for p in self.members()) / MIB

    def cpu_s(self) -> float:
        """Return the processor time of those that live, in seconds."""
        times = [p.cpu_times() for p in self.members()]
        return sum(each.user + each.system for each in times)


class Place:
    """One run of the benchmarks; a context manager that stops whatever it has started."""

    def __init__(self, folder: Path, *, rounds: int) -> None:
        """Prepare; servers start when they are asked for.

        Args:
            folder: Everything is below it.
            rounds: How often each figure is measured, at least.
        """
        self.rounds = rounds
        self._folder, self._numbers = folder, itertools.count(1)
        self._servers: dict[str, str] = {}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def folder(self) -> Path:
        """Return a folder that nobody else has."""
        made = self._folder / str(next(self._numbers))
        made.mkdir()
        return made

    def broker(self, name: str) -> str:
        """Return the address of ``redis``, ``rabbitmq`` or ``embedded``."""
        if name == "embedded":
            return "embedded://"
        if name not in self._servers:
            start = {"redis": redis, "rabbitmq": rabbitmq}[name]
            self._servers[name] = self._exits.enter_context(start(self.folder()))
        return self._servers[name]

    def postgresql(self) -> str:
        """Return the address of a PostgreSQL."""
        if "postgresql" not in self._servers:
            self._servers["postgresql"] = self._exits.enter_context(postgresql(self.folder()))
        return self._servers["postgresql"]

    def server_cpu_s(self, name: str) -> float:
        """Return the processor time of a server that :meth:`broker` has started, in seconds."""
        port = urlsplit(self._servers[name]).port
        listening = [c for c in psutil.net_connections("tcp4") if c.status == psutil.CONN_LISTEN]
        [pid] = {c.pid for c in listening if c.laddr and c.laddr.port == port}
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Run a load generator."""
        with Load.running() as load:
            yield load

    @contextmanager
    def running(self, line: str, **variables: str) -> Iterator[Running]:
        """Run a command line of ours or of a peer, and kill what is left of it in the end."""
        folder = self.folder()
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": os.environ.get("HOME", str(folder)),
            **variables,
        }
        process = Running(line, environment=environment, folder=folder, log=folder / "log")
        try:
            yield process
        finally:
            process.kill()

    def environment(
        self, load: Load, broker_url: str, *, store_url: str = "", bot: str = BOT, **more: str
    ) -> dict[str, str]:
        """Return what listener and worker of one bot share; the store is Redis if the broker is."""
        if not store_url and broker_url.startswith("redis"):
            store_url = broker_url
        stores = {"STORE_URL": store_url} if store_url else {}
        return {
            "DINGTALK_CLIENT_ID": bot,
            "DINGTALK_CLIENT_SECRET": "a-secret-that-nobody-knows",
            "DINGTALK_ALLOWED_USERS": "*",
            "DINGTALK_OPENAPI_ENDPOINT": load.endpoint,
            "DINGTALK_WEBHOOK_HOSTS": load.host,
            "BROKER_URL": broker_url,
            "DATA_DIR": str(self.folder()),
            "AGENT": "worker.agents.echo:agent",
            **stores,
            **more,
        }

    @contextmanager
    def listener(self, environment: Mapping[str, str]) -> Iterator[Running]:
        """Run our listener; the caller waits until it is connected."""
        with self.running(procfile()["listener"], **environment) as process:
            yield process

    @contextmanager
    def worker(self, environment: Mapping[str, str], options: str = "") -> Iterator[Running]:
        """Run one of our workers, and wait until it is ready; ``options`` are Celery's."""
        name = f"-n w{next(self._numbers)}@%h"
        line = f"{procfile()['worker']} {name} {options}"
        with self.running(line, **environment) as process:
            process.until_logged(" ready.")
            yield process
