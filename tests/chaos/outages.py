"""Faults of broker and store: stopped, killed, locked; and no room on the disk meanwhile."""

import os
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from tests.chaos.fault import Fault
from tests.chaos.judging import Allowed
from tests.chaos.scene import Scene
from tests.servers import Restartable, wait_for

__all__ = [
    "BrokerRestart",
    "BrokerSigkill",
    "ListenerSigkillSpooling",
    "SpoolDiskFull",
    "StoreRestart",
]

SPINNING = 0.6  # of a core
NO_BROKER = MappingProxyType(
    {"embedded": "the embedded broker is files; there is nothing that could be stopped"}
)


class _Outage(Fault):
    """A server goes away and comes back with its data; all processes stay, and none spins."""

    limit_s = 150.0

    def server(self, scene: Scene) -> Restartable:
        raise NotImplementedError

    def strike(self, scene: Scene) -> None:
        self._cpu_s, self._since_s = _cpu_s(scene), time.monotonic()
        self.server(scene).stop()

    def heal(self, scene: Scene) -> None:
        lasted_s = time.monotonic() - self._since_s
        for name, used_s in _cpu_s(scene).items():
            share = (used_s - self._cpu_s.get(name, 0)) / lasted_s
            if share > SPINNING:
                scene.complain(f"{name} used {share:.0%} of a core during the outage")
        self.server(scene).start()


def _cpu_s(scene: Scene) -> dict[str, float]:
    """Return the processor time that each line's processes have used so far."""
    used: dict[str, float] = {}
    for name, process in scene.deployment.processes.items():
        for member in process.members():
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used[name] = used.get(name, 0) + times.user + times.system
    return used


class BrokerRestart(_Outage):
    """The broker is stopped and started again, its data kept."""

    name = "broker-restart"
    stops_broker = True
    not_for = NO_BROKER

    def server(self, scene: Scene) -> Restartable:
        assert scene.broker_server is not None
        return scene.broker_server


class BrokerSigkill(BrokerRestart):
    """The broker is killed and started again, with what it had on its disk."""

    name = "broker-sigkill"

    def strike(self, scene: Scene) -> None:
        self._cpu_s, self._since_s = _cpu_s(scene), time.monotonic()
        self.server(scene).kill()


class ListenerSigkillSpooling(BrokerRestart):
    """The broker is away, and the listener is killed with messages on its disk; both come back."""

    name = "listener-sigkill-spooling"
    lasts_s = 6.0
    allowed = Allowed(never_acked=None)

    def strike(self, scene: Scene) -> None:
        super().strike(scene)
        try:
            wait_for(lambda: _spooled(scene), limit_s=self.lasts_s / 2, what="a spooled message")
        except TimeoutError:
            scene.complain("nothing was spooled")
        scene.listener.kill()
        scene.deployment.start()


def _spooled(scene: Scene) -> bool:
    return any(line.get("action") == "message_spooled" for _, line in scene.log_lines())


class StoreRestart(_Outage):
    """The store is stopped and started again; SQLite, its file is locked by somebody else."""

    name = "store-restart"
    stops_store = True

    def server(self, scene: Scene) -> Any:
        if scene.store_server is not None:
            return scene.store_server
        return _LockedFile(scene.deployment.data / "store.sqlite3", self)

    _lock: sqlite3.Connection | None = None


class _LockedFile:
    """SQLite has no server to stop; another program that holds the file has the same effect."""

    def __init__(self, file: Path, fault: StoreRestart) -> None:
        self._file, self._fault = file, fault

    def stop(self) -> None:
        lock = sqlite3.connect(
            self._file, timeout=10, isolation_level=None, check_same_thread=False
        )
        lock.execute("BEGIN EXCLUSIVE")
        self._fault._lock = lock

    def start(self) -> None:
        assert self._fault._lock is not None
        with closing(self._fault._lock) as lock:
            lock.execute("ROLLBACK")


class SpoolDiskFull(BrokerRestart):
    """The broker is away, and the disk of the listener's spool has no more room than 1 MB."""

    name = "spool-disk-full"
    allowed = Allowed(missed=300, never_acked=None)
    not_for = MappingProxyType(
        {"embedded": "the embedded broker is itself files on that disk; nothing is spooled"}
    )

    def prepare(self) -> None:
        self._disk = Path(tempfile.mkdtemp(prefix="chaos-spool-"))
        if os.geteuid() == 0:
            command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(self._disk)]
            subprocess.run(command, check=True)
        self.variables_of = {"listener": {"DATA_DIR": str(self._disk)}}

    def heal(self, scene: Scene) -> None:
        room = os.statvfs(self._disk)
        if room.f_bavail * room.f_frsize > 100_000:
            scene.complain("the disk was not full")
        super().heal(scene)

    def clean_up(self) -> None:
        if os.geteuid() == 0:
            subprocess.run(["umount", "--lazy", str(self._disk)], check=True)
        self._disk.rmdir()

    def text(self, token: str) -> str:
        """Return a text that fills the disk: a hundred of them are more than it holds."""
        return f"{token} {'x' * 15_000}"
