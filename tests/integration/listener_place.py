"""A listener process and a broker that comes and goes, for the tests of the spool."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contract.broker import Broker
from dingwire.simulator import Simulator
from tests.processes import KILLED_AFTER_S, ROOT
from tests.servers import Restartable, wait_for

__all__ = ["ListenerProcess", "MovableBroker", "listener_process", "said"]


class MovableBroker:
    """A broker of one kind that is taken away and brought back with its data."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Start it; the embedded one is in ``folder`` itself, as a listener's DATA_DIR is."""
        self._queues = folder / "broker" / "queues"
        self._server = None if kind == "embedded" else Restartable(kind, folder / "server")
        url = self._server.start() if self._server else "embedded://"
        self.broker = Broker.from_url(url, folder)

    @property
    def url(self) -> str:
        return self.broker.url

    def stop(self) -> None:
        if self._server:
            self._server.stop()
        else:
            self._queues.rename(self._queues.with_name("elsewhere"))
            self._queues.touch()  # nobody makes a folder of that name

    def start(self) -> None:
        if self._server:
            self._server.start()
        else:
            self._queues.unlink()
            self._queues.with_name("elsewhere").rename(self._queues)

    def close(self) -> None:
        if self._server:
            self._server.stop()


async def said(simulator: Simulator, count: int, start: int = 0, text: str = "hello") -> list[str]:
    """Have so many messages written; return their ids, in order."""
    return [
        (await simulator.say(f"{text} {n}", msgId=f"msg{n}")).message_id
        for n in range(start, start + count)
    ]


class ListenerProcess:
    """One running ``python -m listener``."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process, self._log = process, log

    @property
    def pid(self) -> int:
        return self.process.pid

    def logged(self, action: str) -> list[dict[str, Any]]:
        """Its log lines with this action."""
        lines = [line for line in self._log.read_text().splitlines() if f'"{action}"' in line]
        return [entry for entry in map(json.loads, lines) if entry.get("action") == action]

    async def until(self, condition: Callable[["ListenerProcess"], object], what: str) -> None:
        await asyncio.to_thread(wait_for, lambda: condition(self), what=what)

    async def end(self, number: int) -> float:
        """Signal it; return how long it took to end."""
        started = time.monotonic()
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), KILLED_AFTER_S)
        return time.monotonic() - started


@asynccontextmanager
async def listener_process(
    simulator: Simulator,
    folder: Path,
    broker_url: str,
    *,
    connections: int = 1,
    before: Callable[[], None] | None = None,
    **variables: str,
) -> AsyncIterator[ListenerProcess]:
    """Run one with its DATA_DIR in ``folder/data`` and wait until ``connections`` are there.

    ``before`` runs in the child before the listener does.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DINGTALK_CLIENT_ID": "ding1",
        "DINGTALK_CLIENT_SECRET": "s3cret",
        "DINGTALK_ALLOWED_USERS": "*",
        "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint,
        "BROKER_URL": broker_url,
        "DATA_DIR": str(folder / "data"),
        "LOG_FORMAT": "json",
        **variables,
    }
    path = _next_log(folder)
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "listener", env=environment, cwd=folder, stderr=log,
            preexec_fn=before,
        )  # fmt: skip
    try:
        await simulator.until_connected(connections)
        yield ListenerProcess(process, path)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _next_log(folder: Path) -> Path:
    return folder / f"log{len(list(folder.glob('log*')))}"
