"""``make run``: everything on this machine, under one Ctrl-C.

Without credentials a simulated DingTalk is part of it, and then, only then, everybody may write
to the bot and replies may go to the simulator. The processes are those of ``Procfile.dev``.
"""

import fcntl
import os
import secrets
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer

from contract.settings import Settings, SettingsError
from contract.variables import AGENT_VARIABLES, VARIABLES
from listener.settings import ListenerSettings
from worker.settings import MODEL, MODEL_AGENT, WorkerSettings

__all__ = ["AlreadyRunningError", "main"]

ROOT = Path(__file__).resolve().parent.parent
SIMULATOR_PORT = 8765
FLOWER_PORT = 5555
FLOWER_USER = "admin"
VARIABLES_FILE = "simulated.env"
READY_LIMIT_S = 20.0  # a process that fails to connect says so itself; the addresses are shown
KILL_AFTER_S = 20.0  # all have ended long before, save on a machine that is overloaded

# Without a terminal of its own each process would write JSON; a laptop's Ctrl-C is impatient.
DEFAULTS = {"LOG_FORMAT": "text", "SHUTDOWN_GRACE_S": "3", "PYTHONUNBUFFERED": "1"}

# What a line of each process holds once it can take a message.
READY_WORDS = {"listener": ("connected to DingTalk",), "worker": (" ready.",)}


class AlreadyRunningError(Exception):
    """Another run holds the data folder."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.data_dir = data_dir

    def __str__(self) -> str:
        return (
            f"already running here (DATA_DIR {self.data_dir}); name another DATA_DIR to run twice"
        )


@dataclass(frozen=True)
class Plan:
    """What will be started: the processes' environment, and what to tell the person."""

    environment: dict[str, str]
    data_dir: Path
    is_simulated: bool
    ports: tuple[int, ...]
    banner: str


class _Console(Printer):  # type: ignore[misc]  # honcho has no types
    """The processes' lines, and who of them has said that it is ready."""

    def __init__(self) -> None:
        super().__init__(sys.stdout, colour=not os.environ.get("NO_COLOR"))
        self.waiting_for = set(READY_WORDS)

    def write(self, message: Message) -> None:
        """Print one line; a terminal that is gone ends the run."""
        text = message.data
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if any(word in text for word in READY_WORDS.get(message.name, ())):
            self.waiting_for.discard(message.name)
        try:
            super().write(message)
        except OSError:
            os.kill(os.getpid(), signal.SIGTERM)


class _Run(Manager):  # type: ignore[misc]
    """honcho's manager, which also ends what does not end by itself."""

    def __init__(self, console: _Console, plan: Plan) -> None:
        super().__init__(console)
        self._console, self._plan = console, plan
        self.is_stopping = threading.Event()

    def terminate(self) -> None:
        """Ask all to stop, kill what is left later; safe while they are still starting."""
        self.is_stopping.set()
        if not self._all_started():
            self._later(0.1, self.terminate)
        elif not self._terminating:
            super().terminate()
            self._later(KILL_AFTER_S, self.kill)

    def loop(self) -> None:
        """Run until one process ends or a signal comes; nothing is left running after it."""
        # A closed terminal must stop the processes too, which live in sessions of their own.
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        try:
            super().loop()
        finally:
            for process in self._processes.values():
                with suppress(KeyError, ProcessLookupError, PermissionError):
                    os.killpg(process["pid"], signal.SIGKILL)

    def _start(self) -> None:
        super()._start()
        # Only now: honcho forks in it, which a running thread makes unsafe.
        self._later(0, self._announce)

    def _later(self, seconds: float, action: Any) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()

    def _announce(self) -> None:
        end = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < end and not self._is_ready():
            if self.is_stopping.wait(0.1):
                return
        with suppress(OSError):
            print(self._plan.banner, flush=True)

    def _is_ready(self) -> bool:
        return not self._console.waiting_for and all(map(_listens, self._plan.ports))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port(first: int) -> int:
    for port in range(first, first + 100):
        with socket.socket() as probe:
            # As servers do, so that a port is free again right after the last run.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise SettingsError(f"no free port from {first} to {first + 99}")


@contextmanager
def _alone_in(data_dir: Path) -> Iterator[None]:
    """Hold the folder: two runs in it would take, and refuse, each other's messages.

    A POSIX lock, which a forked process does not inherit and which ends with this one.

    Raises:
        AlreadyRunningError: Another run holds it.
    """
    with (data_dir / "run.lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(data_dir) from None
        yield


def _flower_password(data_dir: Path) -> str:
    """Return the password of this folder's Flower; made once, readable by its owner only."""
    path = data_dir / "flower-password"
    with suppress(FileNotFoundError):
        if kept := path.read_text(encoding="ascii").strip():
            return kept
    password = secrets.token_urlsafe(12)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(password + "\n")
    return password


def _is_simulated(settings: Settings) -> bool:
    has_id = bool(settings.client_id)
    has_secret = bool(settings.client_secret and settings.client_secret.get_secret_value())
    if has_id == has_secret:
        return not has_id and not settings.bots
    missing = "DINGTALK_CLIENT_SECRET" if has_id else "DINGTALK_CLIENT_ID"
    raise SettingsError(
        f"{missing}: not set, while the other credential is; "
        "set both for the real DingTalk, neither for a simulated one"
    )


def make_plan(outer: Mapping[str, str]) -> Plan:
    """Read the settings and decide what to start.

    Raises:
        SettingsError: Naming every variable that is wrong.
    """
    settings = WorkerSettings.load()
    is_simulated = _is_simulated(settings)
    environment = {k: v for k, v in dotenv_values(".env").items() if v}
    environment |= {k: v for k, v in outer.items() if v}
    environment = DEFAULTS | environment
    # PORT would make Flower public; here it is for this machine alone.
    environment.pop("PORT", None)
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
    )
    flower_port = _free_port(FLOWER_PORT)
    environment["FLOWER_PORT"] = str(flower_port)
    ports = [flower_port]
    lines = ["celery-dingtalk runs; Ctrl-C stops it", ""]
    if is_simulated:
        port = _free_port(SIMULATOR_PORT)
        ports.append(port)
        environment |= _simulated(port)
        lines.append(f"chat page   http://127.0.0.1:{port}/   a simulated DingTalk: write hello")
    else:
        bots = ListenerSettings.load().of_bots
        width = max(len(bot.label) for bot in bots)
        lines += [f"bot         {bot.label:{width}}   write to it in DingTalk" for bot in bots]
        if not all(bot.let_in for bot in bots):
            lines += [_deny_all(), ""]

    _make(settings.data_dir)
    login = "as your FLOWER_ variables say"
    if not (environment.get("FLOWER_BASIC_AUTH") or environment.get("FLOWER_AUTH")):
        password = _flower_password(settings.data_dir)
        environment["FLOWER_BASIC_AUTH"] = f"{FLOWER_USER}:{password}"
        login = f"user {FLOWER_USER}, password {password}"
    lines.append(f"agent       {_agents(settings, environment)}")
    lines.append(f"Flower      http://127.0.0.1:{flower_port}/   {login}")
    if is_simulated:
        file = settings.data_dir / VARIABLES_FILE
        known = VARIABLES | AGENT_VARIABLES
        given = {name: environment[name] for name in sorted(known & environment.keys())}
        _write_variables(file, given)
        lines.append(f"commands    . {file} && celery -A worker doctor")
    return Plan(environment, settings.data_dir, is_simulated, tuple(ports), _framed(lines))


def _agents(settings: WorkerSettings, environment: Mapping[str, str]) -> str:
    """Name those that answer, and the model that is asked; none is imported here."""
    model = environment.get(MODEL)
    return ", ".join(
        f"{spec}   {model}" if spec == MODEL_AGENT and model else spec
        for spec in dict.fromkeys(bot.agent for bot in settings.of_bots)
    )


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"DATA_DIR: cannot be made: {error.strerror}") from None


def _simulated(port: int) -> dict[str, str]:
    return {
        "SIMULATOR_PORT": str(port),
        "DINGTALK_CLIENT_ID": "simulated-bot",
        "DINGTALK_CLIENT_SECRET": "simulated-secret",
        "DINGTALK_OPENAPI_ENDPOINT": f"http://127.0.0.1:{port}",
        "DINGTALK_ALLOWED_USERS": "*",
        "DINGTALK_WEBHOOK_HOSTS": f"127.0.0.1:{port}",
        "DINGTALK_MEDIA_HOSTS": f"127.0.0.1:{port}",
    }


def _write_variables(file: Path, variables: Mapping[str, str]) -> None:
    """Write what an operator's commands in another terminal must know of this run."""
    known = {**variables, "DATA_DIR": str(file.parent.absolute())}
    known.pop("LOG_FORMAT", None)  # of the terminal that the processes share
    lines = [f"export {k}={shlex.quote(v)}\n" for k, v in known.items()]
    programs = shlex.quote(str(Path(sys.executable).parent))
    lines.append(f"export PATH={programs}:$PATH\n")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write("".join(lines))


def _deny_all() -> str:
    text = "!!! DINGTALK_ALLOWED_USERS is empty: EVERYBODY IS DENIED. Name staff ids, or * for all."
    return f"\033[1;31m{text}\033[0m" if _has_colours() else text


def _framed(lines: list[str]) -> str:
    rule = "=" * 78
    body = "\n".join([rule, *(f"  {line}".rstrip() for line in lines), rule])
    return f"\n\033[1m{body}\033[0m\n" if _has_colours() else f"\n{body}\n"


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def main() -> int:
    """Run until Ctrl-C; return the exit code.

    0 after Ctrl-C or SIGTERM, 2 for wrong settings or a folder in use, else the code of the
    process that ended.
    """
    os.chdir(ROOT)
    try:
        plan = make_plan(os.environ)
        with _alone_in(plan.data_dir):
            return _run(plan)
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"cannot read settings: {line}", file=sys.stderr)
        return 2
    except AlreadyRunningError as error:
        print(error, file=sys.stderr)
        return 2


def _run(plan: Plan) -> int:
    run = _Run(_Console(), plan)
    processes = parse_procfile((ROOT / "Procfile.dev").read_text(encoding="utf-8")).processes
    for name, command in processes.items():
        if name != "simulator" or plan.is_simulated:
            run.add_process(name, command, env=plan.environment, cwd=ROOT)
    run.loop()
    if run.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        return 0
    print("stopped, because one of the processes ended by itself; its lines say why")
    code = run.returncode or 1
    return code if code > 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
