"""``/metrics`` of a worker, on ``METRICS_PORT``; served by its main process for all its children.

``worker/running/process.py`` makes the server before agents are imported, so that metrics of their
own come along, and starts it when the pool has forked. The numbers of ``worker/telling/metrics.py``
are files in ``DATA_DIR/metrics/<name>``: one folder a worker, locked as long as it lives, so that
what a killed one has left is removed by the next.
"""

import atexit
import fcntl
import logging
import os
import shutil
import uuid
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from worker.telling import metrics
from worker.telling.fleet_metrics import FleetMetrics

__all__ = ["MetricsFolder", "MetricsServer"]

logger = logging.getLogger(__name__)

_LOCK = "lock"


class MetricsFolder:
    """The files of one worker's processes."""

    def __init__(self, root: Path) -> None:
        """Make it, and remove those of workers that are gone."""
        root.mkdir(parents=True, exist_ok=True)
        self.path = root / uuid.uuid4().hex
        self._pid = os.getpid()
        with (root / _LOCK).open("w") as one_at_a_time:
            fcntl.lockf(one_at_a_time, fcntl.LOCK_EX)
            for other in root.iterdir():
                if other.is_dir() and _is_left(other):
                    shutil.rmtree(other, ignore_errors=True)
            self.path.mkdir(mode=0o700)
            # Open, and so locked, for the life of this process; not inherited by its children.
            self._lock = (self.path / _LOCK).open("w")
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it, if it is this process's own."""
        if os.getpid() == self._pid:
            shutil.rmtree(self.path, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


class MetricsServer:
    """Answers from its start to the end of the process, so also while agents get their grace."""

    def __init__(self, port: int, data_dir: Path) -> None:
        """Have this process and its children count; what prevents it is said at the start."""
        self._port = port
        self._folder: MetricsFolder | None = None
        self._trouble = ""
        try:
            self._folder = MetricsFolder(data_dir.absolute() / "metrics")
        except OSError as error:
            self._trouble = f"DATA_DIR cannot be written to: {error.strerror}"
            return
        atexit.register(self.remove)
        metrics.switch_on(self._folder.path)

    def start(self, fleet: FleetMetrics) -> None:
        """Open the port, on all interfaces; a taken one is logged, and the worker goes on."""
        if self._folder is None:
            _say_unavailable(self._trouble)
            return
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder.path))  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        registry.register(fleet)
        try:
            server, _ = start_http_server(self._port, registry=registry)
        except OSError as error:
            _say_unavailable(
                f"METRICS_PORT {self._port}: {error.strerror}; workers on one machine need one each"
            )
            return
        # A child that outlives us must not keep the port from the worker that takes our place.
        os.register_at_fork(after_in_child=server.socket.close)
        logger.info("metrics on port %s", self._port, extra={"action": "metrics_served"})

    def remove(self) -> None:
        """Remove the files; the process ends, or replaces itself."""
        if self._folder is not None:
            self._folder.remove()
            os.environ.pop(metrics.VARIABLE, None)


def _say_unavailable(why: str) -> None:
    logger.error("this worker shows no metrics: %s", why, extra={"action": "metrics_unavailable"})
