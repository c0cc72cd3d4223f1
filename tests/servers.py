"""Real servers for the tests: each on a free port of 127.0.0.1, in a folder of its own.

Used by the fixtures in ``conftest.py`` and by ``tests/chaos``. A server is stopped by the pid that
was started here.
"""

import atexit
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from random import SystemRandom

import psutil

__all__ = [
    "PATIENCE_S",
    "MissingServerError",
    "Restartable",
    "free_port",
    "postgresql",
    "rabbitmq",
    "redis",
    "redis_with_tls",
    "wait_for",
]

# A wait that ends early costs nothing, and one that gives up early fails on a busy machine.
PATIENCE_S = 120

_Started = tuple[str, subprocess.Popen[bytes]]


class MissingServerError(Exception):
    """A program the tests need is not installed."""


# Below those that the system gives to clients, so that nobody takes one before it is used; each
# process begins elsewhere.
_PORTS = range(10_000, 32_000)
_ports = itertools.count(SystemRandom().randrange(len(_PORTS)))


def free_port() -> int:
    """Return a port that nobody listens on, another one each time."""
    while True:
        port = _PORTS[next(_ports) % len(_PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for(condition: Callable[[], object], *, what: str, limit_s: float = PATIENCE_S) -> None:
    """Poll ``condition`` until it is true; fail naming ``what`` when it does not become so.

    ``limit_s`` is for what may take longer than :data:`PATIENCE_S`, a shorter one is not heeded.
    """
    limit_s = max(limit_s, PATIENCE_S)
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {limit_s} s for {what}")
        time.sleep(0.02)


def _find(program: str, *folders: str) -> str:
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise MissingServerError(f"{program} is not installed; `make test` says how to get it")
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(
    command: list[str], *, ready: Callable[[], bool], what: str, **popen: object
) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # type: ignore[call-overload]
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **popen,
        )

        def up() -> bool:
            if process.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"{what} ended: {log.read().decode(errors='replace')[-2000:]}")
            return ready()

        try:
            wait_for(up, what=what)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(60)


@contextmanager
def redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run Redis with its data in ``folder``; yield its URL."""
    with _redis(folder, port or free_port()) as (url, _):
        yield url


@contextmanager
def _redis(folder: Path, port: int) -> Iterator[_Started]:
    command = [
        _find("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
    ]  # fmt: skip
    with _running(command, ready=lambda: _listens(port), what="redis-server") as process:
        yield f"redis://127.0.0.1:{port}/0", process


@contextmanager
def redis_with_tls(folder: Path, password: str) -> Iterator[str]:
    """Run Redis behind TLS only, with a certificate signed by nobody known; yield its URL."""
    port, certificate, key = free_port(), folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            _find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=elsewhere.example", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    command = [
        _find("redis-server"), "--port", "0", "--bind", "127.0.0.1", "--tls-port", str(port),
        "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-auth-clients", "no", "--save", "", "--dir", str(folder), "--requirepass", password,
    ]  # fmt: skip
    with _running(command, ready=lambda: _listens(port), what="redis-server with TLS"):
        yield f"rediss://:{password}@127.0.0.1:{port}"


@contextmanager
def rabbitmq(folder: Path, port: int | None = None, *, vhosts: Sequence[str] = ()) -> Iterator[str]:
    """Run RabbitMQ with its data in ``folder`` and an epmd of its own; yield its URL.

    ``vhosts`` are there beside the usual one, each as good as a broker of its own.
    """
    if vhosts:
        (folder / "definitions.json").write_text(json.dumps(_definitions(["/", *vhosts])))
        (folder / "rabbitmq.conf").write_text(f"load_definitions = {folder}/definitions.json\n")
    with _rabbitmq(folder, port or free_port()) as (url, _):
        yield url


def _definitions(vhosts: Sequence[str]) -> dict[str, object]:
    every = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
        "vhosts": [{"name": name} for name in vhosts],
        "permissions": [{"user": "guest", "vhost": name, **every} for name in vhosts],
    }


@contextmanager
def _rabbitmq(folder: Path, port: int) -> Iterator[_Started]:
    dist_port, epmd_port = free_port(), free_port()
    epmd = _find("epmd")
    environment = os.environ | {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_SERVER_START_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
    }
    (folder / "plugins").write_text("[].\n")
    (folder / "env").write_text("")
    server = _find("rabbitmq-server", "/usr/lib/rabbitmq/bin")
    epmd_command = [epmd, "-address", "127.0.0.1", "-port", str(epmd_port)]
    with (
        _running(epmd_command, ready=lambda: _listens(epmd_port), what="epmd", env=environment),
        _running(
            [server], ready=lambda: _listens(port), what="rabbitmq-server", env=environment
        ) as process,
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}//", process


@contextmanager
def postgresql(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run PostgreSQL with its data in ``folder``; yield its URL.

    It refuses to run as root, so root hands its data and its process over to the user ``postgres``.
    """
    with _postgresql(folder, port or free_port()) as (url, _):
        yield url


@contextmanager
def _postgresql(folder: Path, port: int) -> Iterator[_Started]:
    binaries = [str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    initdb, server = _find("initdb", *binaries), _find("postgres", *binaries)
    prefix = list[str]()
    if os.geteuid() == 0:
        prefix = [_find("runuser"), "-u", "postgres", "--"]
        folder = _folder_of_postgres(folder)
    data = folder / "data"
    if not data.exists():
        subprocess.run(
            [*prefix, initdb, "-D", str(data), "-U", "test", "--auth=trust", "-N", "-E", "UTF8"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
    command = [
        *prefix, server, "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", f"unix_socket_directories={folder}", "-c", "max_connections=300",
    ]  # fmt: skip
    probe = [_find("pg_isready", *binaries), "-q", "-h", "127.0.0.1", "-p", str(port)]

    def ready() -> bool:
        return subprocess.run(probe, check=False).returncode == 0

    with _running(command, ready=ready, what="postgres", cwd=folder) as process:
        try:
            yield f"postgresql://test@127.0.0.1:{port}/postgres", process
        finally:
            if process.poll() is None:
                # SIGTERM waits for clients to leave, and runuser loses its patience after 2 s.
                with suppress(FileNotFoundError, ProcessLookupError):  # a test has killed it
                    postmaster = int((data / "postmaster.pid").read_text().split()[0])
                    os.kill(postmaster, signal.SIGINT)
                process.wait(60)


def _folder_of_postgres(folder: Path) -> Path:
    """Return the one that stands for ``folder``, outside of it.

    Whenever pytest starts it closes its own folders to other users, also those of a run that is
    going on: PostgreSQL would lose its data on the way.
    """
    link = folder / "elsewhere"
    if not link.exists():
        there = tempfile.mkdtemp(prefix="postgresql-")
        shutil.chown(there, "postgres")
        link.symlink_to(there)
        atexit.register(shutil.rmtree, there, ignore_errors=True)
    return link.resolve()


class Restartable:
    """A server that is stopped, or killed, and started again with its data and its address."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Prepare; ``kind`` is redis, rabbitmq or postgresql, ``folder`` is made when missing."""
        servers: dict[str, Callable[[Path, int], AbstractContextManager[_Started]]] = {
            "redis": _redis,
            "rabbitmq": _rabbitmq,
            "postgresql": _postgresql,
        }
        self._server, self._folder, self._port = servers[kind], folder, free_port()
        self._running = ExitStack()
        folder.mkdir(exist_ok=True)

    def start(self) -> str:
        """Start it and wait until it listens; return its URL."""
        url, self._process = self._running.enter_context(self._server(self._folder, self._port))
        return url

    def stop(self) -> None:
        """Stop it in order, as SIGTERM does."""
        self._running.close()

    def kill(self) -> None:
        """Kill it with all its processes, as a machine that loses its power would."""
        server = psutil.Process(self._process.pid)
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(60)
        # Those that are not our own children are gone when their new parent has noticed.
        psutil.wait_procs(processes, timeout=60)
        self.stop()
