"""Real servers for the tests: each on a free port of 127.0.0.1, in a folder of its own.

Used by the fixtures in ``conftest.py``. A server is stopped by the pid that was started here.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "MissingServerError",
    "free_port",
    "postgresql",
    "rabbitmq",
    "redis",
    "redis_with_tls",
    "wait_for",
]

START_LIMIT_S = 60


class MissingServerError(Exception):
    """A program the tests need is not installed."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], *, limit_s: float, what: str) -> None:
    """Poll ``condition`` until it is true; fail naming ``what`` after ``limit_s``."""
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
            wait_for(up, limit_s=START_LIMIT_S, what=what)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(10)


@contextmanager
def redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run Redis with its data in ``folder``; yield its URL."""
    port = port or free_port()
    command = [
        _find("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
    ]  # fmt: skip
    with _running(command, ready=lambda: _listens(port), what="redis-server"):
        yield f"redis://127.0.0.1:{port}/0"


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
def rabbitmq(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run RabbitMQ with its data in ``folder`` and an epmd of its own; yield its URL."""
    port, dist_port, epmd_port = port or free_port(), free_port(), free_port()
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
        _running([server], ready=lambda: _listens(port), what="rabbitmq-server", env=environment),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


@contextmanager
def postgresql(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run PostgreSQL with its data in ``folder``; yield its URL.

    It refuses to run as root, so root hands folder and process over to the user ``postgres``.
    """
    port = port or free_port()
    binaries = [str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    initdb, server = _find("initdb", *binaries), _find("postgres", *binaries)
    data, prefix = folder / "data", list[str]()
    if os.geteuid() == 0:
        prefix = [_find("runuser"), "-u", "postgres", "--"]
        for part in (folder, *folder.parents):
            if part.stat().st_uid == 0 and tempfile.gettempdir() in str(part.parent):
                part.chmod(0o755)
        shutil.chown(folder, "postgres")
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

    with _running(command, ready=ready, what="postgres", cwd=folder):
        yield f"postgresql://test@127.0.0.1:{port}/postgres"
