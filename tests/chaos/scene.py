"""Where a cell takes place: a deployment, its simulator and the servers under it.

``run.py`` sets the scene, ``faults.py`` and ``outages.py`` act on it.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg

from dingwire.simulator import SimulatorThread
from tests.acceptance.deployment import Deployment
from tests.processes import ROOT, Process
from tests.servers import Restartable, postgresql, rabbitmq, wait_for

__all__ = ["LEASE_S", "SLOTS", "Needs", "Scene", "SharedServers", "set_scene"]

LEASE_S = 5
SLOTS = 8  # messages a worker works on at once, so also the posts it may have under way
POST_S = 0.03  # a post takes this long, so that some are under way when something dies
AGENTS = Path(__file__).parent / "agents"


class Needs(Protocol):
    """What a fault says about the scene it needs; see :class:`tests.chaos.fault.Fault`."""

    variables: Mapping[str, str]
    variables_of: Mapping[str, Mapping[str, str]]
    switches: Mapping[str, Any]
    worker_options: str
    listeners: int
    stops_broker: bool
    stops_store: bool


@dataclass
class Scene:
    """The running deployment of one cell."""

    broker: str
    folder: Path
    simulator: SimulatorThread
    deployment: Deployment
    broker_server: Restartable | None = None
    store_server: Restartable | None = None
    complaints: list[str] = field(default_factory=list)
    over_s: float | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)

    def complain(self, text: str) -> None:
        """Say that something was not as promised, or that the fault was none."""
        self.complaints.append(text)

    def over(self) -> None:
        """Say that the fault is over now, and what follows is recovery; once is enough."""
        self.over_s = self.over_s or time.time()

    def listening_since(self, since_s: float) -> float:
        """Return when the first connection after ``since_s`` was opened; else that time itself."""
        opened = [c.opened_at_ms / 1000 for c in self.simulator.connections]
        return min((at_s for at_s in opened if at_s > since_s), default=since_s)

    @property
    def listener(self) -> Process:
        return self.deployment.processes["listener"]

    @property
    def worker(self) -> Process:
        """The one that things happen to; the other one is well."""
        return self.deployment.processes["worker-one"]

    def in_hand(self) -> dict[str, int]:
        """Return the tokens of messages that agents work on now, with the process's id."""
        calls = self.folder / "calls"
        busy: dict[str, int] = {}
        for line in calls.read_text().splitlines() if calls.exists() else []:
            mark, token, pid = line.split()
            if mark == "+":
                busy[token] = int(pid)
            else:
                busy.pop(token, None)
        return busy

    def until_busy(self, worker: Process) -> int:
        """Wait until agents are at work in ``worker``; return the process id of one of them."""
        busy: list[int] = []

        def is_busy() -> bool:
            members = {p.pid for p in worker.members()}
            busy[:] = [pid for pid in self.in_hand().values() if pid in members]
            return bool(busy)

        wait_for(is_busy, what="a worker to be busy")
        return busy[0]

    def missed(self) -> set[str]:
        """Return the ids of what ``celery -A worker late`` shows."""
        listed = self.deployment.late("list", "--limit", "2000")
        return {str(m["message_id"]) for m in listed}

    def log_lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every line that a process has logged, with the process's name."""
        for path in sorted(self.deployment.folder.glob("*.log")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    fields = json.loads(line)
                except ValueError:
                    fields = {"message": line, "level": "", "is_plain": True}
                if isinstance(fields, dict):
                    yield path.stem.rpartition("-")[0], fields


class SharedServers:
    """RabbitMQ and PostgreSQL for all cells that leave them alone, started when first asked for."""

    def __init__(self, folder: Path, cells: int) -> None:
        self._folder = folder
        self._vhosts = [f"cell{number}" for number in range(cells)]
        self._unused = list(self._vhosts)
        self._running = contextlib.ExitStack()
        self._urls: tuple[str, str] | None = None
        self.interrupted = threading.Event()

    def start(self) -> None:
        """Start both."""
        for name in ("rabbitmq", "postgresql"):
            (self._folder / name).mkdir()
        self._urls = (
            self._running.enter_context(rabbitmq(self._folder / "rabbitmq", vhosts=self._vhosts)),
            self._running.enter_context(postgresql(self._folder / "postgresql")),
        )

    def stop(self) -> None:
        """Stop what runs."""
        self._running.close()

    def vhost(self) -> str:
        """Return the URL of an empty RabbitMQ."""
        assert self._urls is not None
        return self._urls[0].removesuffix("/") + self._unused.pop()

    def schema(self) -> str:
        """Return the URL of an empty PostgreSQL schema."""
        assert self._urls is not None
        return schema_on(self._urls[1])


def schema_on(postgresql_url: str) -> str:
    """Create a schema and return the URL that uses it."""
    name = f"cell{uuid.uuid4().hex}"
    connected: list[bool] = []

    def create() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(postgresql_url, autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA {name}".encode())
            connected.append(True)
        return bool(connected)

    wait_for(create, what="PostgreSQL")
    return f"{postgresql_url}?options=-csearch_path%3D{name}"


@contextmanager
def set_scene(broker: str, needs: Needs, folder: Path, shared: SharedServers) -> Iterator[Scene]:
    """Start servers, simulator and deployment for one cell; stop them all after it."""
    with contextlib.ExitStack() as stack:
        servers, urls = _servers(broker, needs, folder, shared, stack)
        simulator = stack.enter_context(
            SimulatorThread(**{"reply_delay_s": POST_S, **needs.switches})
        )
        deployed = folder / "deployed"
        deployed.mkdir()
        deployment = Deployment(
            simulator,
            deployed,
            worker_options=needs.worker_options,
            listeners=needs.listeners,
            with_web=False,
            variables_of=needs.variables_of,
            **urls,
            **{
                "PYTHONPATH": f"{ROOT}:{AGENTS}",
                "AGENT": "chaos_agent:agent",
                "CHAOS_CALLS": str(folder / "calls"),
                "LEASE_S": str(LEASE_S),
                "HISTORY_TURNS": "5",
                "WORKER_CONCURRENCY": str(SLOTS),
                "LOG_FORMAT": "json",
                **needs.variables,
            },
        )
        stack.callback(deployment.stop)
        deployment.release()
        deployment.start()
        simulator.until_connected(needs.listeners)
        scene = Scene(broker, folder, simulator, deployment, *servers)
        scene.interrupted = shared.interrupted
        yield scene


def _servers(
    broker: str,
    needs: Needs,
    folder: Path,
    shared: SharedServers,
    stack: contextlib.ExitStack,
) -> tuple[tuple[Restartable | None, Restartable | None], dict[str, str]]:
    if broker == "embedded":
        return (None, None), {}

    def own(kind: str, name: str) -> tuple[Restartable, str]:
        server = Restartable(kind, folder / name)
        stack.callback(server.stop)
        return server, server.start()

    broker_server = store_server = None
    if broker == "redis":
        broker_server, broker_url = own("redis", "broker")
        store_url = broker_url
        if needs.stops_store:
            store_server, store_url = own("redis", "store")
    else:
        if needs.stops_broker:
            broker_server, broker_url = own("rabbitmq", "broker")
        else:
            broker_url = shared.vhost()
        if needs.stops_store:
            store_server, store_url = own("postgresql", "store")
            store_url = schema_on(store_url)
        else:
            store_url = shared.schema()
    variables = {"BROKER_URL": broker_url, "STORE_URL": store_url}
    arguments = {"broker_url": broker_url, "store_url": store_url}
    return (broker_server, store_server), {**variables, **arguments}


def paced(
    every_s: float, work: Callable[[int], None], times: int, *, at_least_s: float = 0.0
) -> None:
    """Call ``work`` so many times, at an even pace that a slow call does not shift.

    Not even what is late comes sooner than ``at_least_s`` after the call before.
    """
    started = time.monotonic()
    for number in range(times):
        time.sleep(
            max(at_least_s if number else 0.0, started + number * every_s - time.monotonic())
        )
        work(number)
