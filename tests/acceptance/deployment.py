"""The Procfile's processes, running against one broker, one store and one simulator."""

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
import requests

from contract.broker import Broker
from contract.routing import task_id
from dingwire.simulator import SimulatorThread
from dingwire.simulator.records import Message, Reply
from tests import warm
from tests.processes import ROOT, Process, procfile
from tests.servers import PATIENCE_S, free_port, wait_for
from worker.store import Store, open_store

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "GRACE_S", "LEASE_S", "MARKER", "Deployment"]

CLIENT_ID = "dingacceptance"
CLIENT_SECRET = "hush-9d1c47"
MARKER = "xyzzy-41a7"  # in the text of every message; must show up nowhere
LOGIN = ("admin", "correct-horse")
LEASE_S = 5  # one that is alive may stand still for a while
GRACE_S = 2
EXPIRING_S = 6  # of which an agent must be asked in the first four
AGENTS = Path(__file__).parent / "agents"


class Deployment:
    """What an operator has after a deploy, and what a test wants to know about it."""

    def __init__(
        self,
        simulator: SimulatorThread,
        folder: Path,
        *,
        broker_url: str = "embedded://",
        store_url: str = "",
        workers: Collection[str] = ("one", "two"),
        worker_options: str = "",
        listeners: int = 1,
        with_web: bool = True,
        variables_of: Mapping[str, Mapping[str, str]] | None = None,
        **variables: str,
    ) -> None:
        """Prepare; nothing is started yet.

        ``variables`` are every process's, ``variables_of`` those of one process alone, by its name
        in :attr:`processes`: listener, listener-2, worker-one and so on.
        """
        self.simulator, self.folder = simulator, folder
        self.gates = folder / "gates"
        self.data = folder / "data"
        self.work = folder / "work"
        for part in (self.gates, self.work):
            part.mkdir()
        self.broker_url = broker_url
        self.store_url = store_url or f"sqlite:///{self.data}/store.sqlite3"
        self.port = free_port()
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{AGENTS}",
            "DINGTALK_CLIENT_ID": CLIENT_ID,
            "DINGTALK_CLIENT_SECRET": CLIENT_SECRET,
            "DINGTALK_ALLOWED_USERS": "*",
            "DINGTALK_OPENAPI_ENDPOINT": simulator.endpoint,
            "DINGTALK_WEBHOOK_HOSTS": simulator.webhook_host,
            "DINGTALK_MEDIA_HOSTS": simulator.webhook_host,
            "DATA_DIR": str(self.data),
            "AGENT": "obedient_agent:agent",
            "OBEDIENT_AGENT_FOLDER": str(self.gates),
            "LEASE_S": str(LEASE_S),
            "SHUTDOWN_GRACE_S": str(GRACE_S),
            "FLOWER_BASIC_AUTH": ":".join(LOGIN),
            **variables,
        }
        lines = procfile()
        self._release = lines["release"]
        self._variables_of = variables_of or {}
        names = ["listener", *(f"listener-{number}" for number in range(2, listeners + 1))]
        self._lines = dict.fromkeys(names, lines["listener"])
        for name in workers:
            self._lines[f"worker-{name}"] = f"{lines['worker']} {worker_options} -n {name}@%h"
        if with_web:
            self._lines["web"] = lines["web"]
        self.processes: dict[str, Process] = {}
        self._started: list[Process] = []

    # Processes.

    @property
    def workers(self) -> list[Process]:
        return [p for name, p in self.processes.items() if name.startswith("worker-")]

    def worker_of(self, pid: int) -> Process:
        """Return the worker that the process is of."""
        [found] = [w for w in self.workers if pid in {p.pid for p in w.members()}]
        return found

    def release(self) -> None:
        """Run the release line; it must say that all is well."""
        done = self._start("release", self._release)
        assert done.wait(PATIENCE_S) == 0, done.log

    def start(self) -> None:
        """Start what does not run, and wait until a message could go all the way."""
        missing = {
            name: line
            for name, line in self._lines.items()
            if name not in self.processes or not self.processes[name].is_running
        }
        for name, line in missing.items():
            self.processes[name] = self._start(name, line)
        for name in missing:
            if name.startswith("worker-"):
                self.processes[name].until_logged(" ready.")
        self.simulator.until_connected()
        if "web" in missing:
            wait_for(self._sees_workers, what="Flower to see the workers")

    def stop(self) -> None:
        """Kill whatever runs; tests that care have ended it properly before."""
        for process in self._started:
            process.kill()

    def logs(self) -> str:
        """Everything that any process has ever written."""
        return "\n".join(process.log for process in self._started)

    def _start(self, name: str, line: str) -> Process:
        own = {"PORT": str(self.port)} if name == "web" else {}
        environment = {**self.environment, **own, **self._variables_of.get(name, {})}
        log = self.folder / f"{name}-{len(self._started)}.log"
        process = Process(line, environment=environment, folder=self.work, log=log)
        self._started.append(process)
        return process

    def run(self, *command: str, may_fail: bool = False) -> str:
        """Run an operator's command; return what it printed."""
        done = warm.run(command, env=self.environment, cwd=self.work)
        assert may_fail or done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def late(self, *arguments: str) -> Any:
        """Return what ``celery -A worker late`` says."""
        return json.loads(self.run("celery", "-A", "worker", "late", *arguments, "--json"))

    # People.

    def say(self, text: str, person: str = "", **more: Any) -> Message:
        """Let somebody, nobody else by default, write to the bot; acknowledged when it returns."""
        message = self.simulator.say(
            f"{MARKER} {text}", person or f"p{uuid.uuid4().hex[:12]}", **more
        )
        self.until_acked([message])
        return message

    def say_outliving_its_webhook(self, person: str = "", **more: Any) -> Message:
        """Let somebody write what the agent is at until the webhook is dead; it answers then."""
        gate = f"late-{uuid.uuid4().hex}"
        self.simulator.switch(session_ttl_s=EXPIRING_S)
        message = self.say(f"wait:{gate} slowly", person, **more)
        self.simulator.switch(session_ttl_s=5400)
        self.until_called([message])
        self.until_expired(message)
        self.open_gate(gate)
        return message

    def until_expired(self, message: Message) -> None:
        """Wait until the message's webhook is dead."""
        wait_for(
            lambda: datetime.now(UTC).timestamp() * 1000 > message.expires_at_ms,
            what="the webhook's end",
        )

    def until_acked(self, messages: Collection[Message]) -> None:
        ids = {m.message_id for m in messages}
        self.simulator.until(
            lambda s: ids <= {a.message_id for a in s.message_acks}, what="every ack"
        )

    def accepted(self, messages: Collection[Message]) -> list[Reply]:
        """Return the replies that reached the conversations of these messages."""
        conversations = {m.conversation_id for m in messages}
        return [r for r in self.simulator.accepted if r.conversation_id in conversations]

    def posts(self, message: Message) -> list[Reply]:
        """Return every post to the conversation of this message, accepted or not."""
        return [r for r in self.simulator.replies if r.conversation_id == message.conversation_id]

    def until_answered(self, messages: Collection[Message], *, limit_s: float = PATIENCE_S) -> None:
        wait_for(
            lambda: len(self.accepted(messages)) >= len(messages),
            limit_s=limit_s,
            what=f"{len(messages)} answers",
        )

    # The agent.

    def calls(self, message: Message | None = None) -> list[tuple[str, int]]:
        """Return message id and pid of each call of the agent."""
        file = self.gates / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        calls = [(id_, int(pid)) for id_, pid in (line.split() for line in lines)]
        return [c for c in calls if message is None or c[0] == message.message_id]

    def until_called(self, messages: Collection[Message]) -> None:
        ids = {m.message_id for m in messages}
        wait_for(lambda: ids <= {id_ for id_, _ in self.calls()}, what="the agent's calls")

    def open_gate(self, name: str) -> None:
        (self.gates / name).touch()

    # Broker and store.

    def waiting(self) -> dict[str, int]:
        """Return how many messages each queue holds for workers to take."""
        broker = Broker.from_url(self.broker_url, self.data)
        sizes: dict[str, int] = {}
        with broker.connection() as connection:
            for queue in broker.queues():
                declared: Any = queue(connection.default_channel).queue_declare()
                sizes[queue.name] = declared.message_count
        return sizes

    def unacknowledged(self, messages: Collection[Message]) -> set[str]:
        """Return those of the messages that the broker thinks are in hand (RabbitMQ tells none)."""
        if self.broker_url.startswith("redis"):
            client: Any = redis.Redis.from_url(self.broker_url, decode_responses=True)
            with contextlib.closing(client):
                held = client.hvals("unacked")
        else:
            held = [file.read_text() for file in self.data.glob("broker/taken/*/*/*.msg")]
        return {m.message_id for m in messages if any(m.message_id in text for text in held)}

    def until_finished(self, messages: Collection[Message]) -> None:
        """Wait until broker and store have nothing left to do for these messages."""
        wait_for(
            lambda: set(self.waiting().values()) == {0} and not self.unacknowledged(messages),
            what="empty queues",
        )
        with contextlib.closing(self.open_store()) as store:
            assert store.due(limit=10, hold_s=1) == []

    def open_store(self) -> Store:
        return open_store(self.store_url)

    # Flower.

    def flower(self, path: str, **parameters: str) -> requests.Response:
        return requests.get(
            f"http://127.0.0.1:{self.port}{path}", params=parameters, auth=LOGIN, timeout=60
        )

    def _sees_workers(self) -> bool:
        try:
            rows = self.flower("/workers", json="1").json()["data"]
        except (requests.RequestException, ValueError, KeyError):
            return False
        online = {row["hostname"].partition("@")[0] for row in rows if row["status"]}
        return {f"worker-{name}" for name in online} >= {
            name for name in self._lines if name.startswith("worker-")
        }

    def until_state(
        self, message: Message, state: str, *, when: Callable[[dict[str, Any]], object] = bool
    ) -> dict[str, Any]:
        """Wait until Flower shows the message's task in ``state``; return what it shows."""
        path = f"/api/task/info/{task_id(CLIENT_ID, message.message_id)}"
        shown: dict[str, Any] = {}

        def is_reached() -> bool:
            answer = self.flower(path)
            shown.clear()
            shown.update(answer.json() if answer.ok else {"state": f"HTTP {answer.status_code}"})
            return shown["state"] == state and bool(when(shown))

        try:
            wait_for(is_reached, what=f"{state} in Flower")
        except TimeoutError as error:
            raise AssertionError(f"{error}; it shows {shown}") from None
        return shown
