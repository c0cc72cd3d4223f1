"""What ``make run`` starts: ``scripts/run.py`` in a clone of its own, stopped as a person would."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.servers import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contract", "dingwire", "listener", "worker", "scripts")
FILES = ("celeryconfig.py", "Procfile.dev")
STOP_LIMIT_S = 60
BANNER = "celery-dingtalk runs; Ctrl-C stops it"


class Run:
    """One run, its output and everything it has started."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.folder, self.process, self._log = folder, process, log

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def until(self, words: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None or words in self.output, self.output
            return words in self.output

        wait_for(said, what=f"{words!r} in {self.output}")

    def address(self, name: str) -> str:
        found = re.search(rf"{name}\s+(http://127\.0\.0\.1:\d+)/", self.output)
        assert found, self.output
        return found[1]

    def processes(self) -> list[psutil.Process]:
        """Every living process of this run, found by its data folder, orphans included."""
        found = []
        for each in psutil.process_iter():
            try:
                is_ours = each.environ().get("DATA_DIR") == str(self.folder / "data")
                if is_ours and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def end(self, number: int) -> tuple[int, float]:
        """Send a signal; return the exit code and how long it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(STOP_LIMIT_S), time.monotonic() - started


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[Run]:
    clone, log = folder / "clone", folder / "run.log"
    clone.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, clone)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(clone),
        "DATA_DIR": str(folder / "data"),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "scripts/run.py"],
            cwd=clone,
            env=environment | variables,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    run = Run(folder, process, log)
    try:
        yield run
    finally:
        for each in run.processes():
            each.kill()
        process.wait(60)


def ask(run: Run, text: str) -> object:
    said = {"text": text, "wait": True, "timeout_s": 60}
    address = f"{run.address('chat page')}/control/say"
    return requests.post(address, json=said, timeout=90).json()["reply"]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_hello_is_answered_and_ctrl_c_leaves_nothing_running(tmp_path, pool):
    with running(tmp_path, WORKER_POOL=pool, WORKER_CONCURRENCY="2") as run:
        run.until(BANNER)
        assert ask(run, "hello") == "echo: hello", run.output
        assert len(run.processes()) > 4

        code, took_s = run.end(signal.SIGINT)

        assert code == 0, run.output
        assert took_s < STOP_LIMIT_S
        assert run.processes() == []
        assert "Traceback" not in run.output
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_flower_is_behind_the_password_that_is_printed(tmp_path):
    with running(tmp_path) as run:
        run.until(BANNER)
        ask(run, "hello")
        login = re.search(r"user (\S+), password (\S+)", run.output)
        assert login
        tasks = f"{run.address('Flower')}/api/tasks"

        assert requests.get(tasks, timeout=60).status_code == 401

        def states() -> list[str]:
            seen = requests.get(tasks, auth=(login[1], login[2]), timeout=60).json()
            return [task["state"] for task in seen.values()]

        wait_for(lambda: states() == ["SUCCESS"], what="the task in Flower")
        assert run.end(signal.SIGTERM)[0] == 0
        assert run.processes() == []


def test_the_printed_command_finds_everything_in_order(tmp_path):
    """A newcomer's first look as an operator: no variable has to be found out."""
    (tmp_path / "own_agent.py").write_text("def answer(message): return 'hello'\n")
    path = {"PYTHONPATH": f"{tmp_path / 'clone'}{os.pathsep}{tmp_path}"}
    with running(tmp_path, AGENT="own_agent:answer", **path) as run:
        run.until(BANNER)
        ask(run, "hello")
        command = re.search(r"^  commands +(\S.*)", run.output, re.MULTILINE)
        assert command

        found = subprocess.run(
            ["/bin/sh", "-c", command[1]],
            cwd=tmp_path / "clone",
            env={"PATH": "/usr/bin:/bin", **path},
            capture_output=True,
            text=True,
            check=False,
        )

        assert found.returncode == 0, found.stdout + found.stderr
        assert not re.search("FAIL|warn", found.stdout), found.stdout
        assert re.search(r"^agent +ok +own_agent:answer", found.stdout, re.MULTILINE)
        assert re.search(r"^listeners +ok +1 running", found.stdout, re.MULTILINE)
        assert re.search(r"^workers +ok", found.stdout, re.MULTILINE)


def test_one_process_that_dies_ends_the_run_and_the_exit_code_says_so(tmp_path):
    with running(tmp_path) as run:
        run.until(BANNER)
        listener = next(p for p in run.processes() if p.cmdline()[1:] == ["-m", "listener"])

        listener.kill()

        assert run.process.wait(STOP_LIMIT_S + 10) == 128 + signal.SIGKILL
        assert "one of the processes ended by itself" in run.output
        assert run.processes() == []


def test_a_second_run_beside_the_first_takes_other_ports(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running(first) as one:
        one.until(BANNER)
        with running(second) as other:
            other.until(BANNER)
            assert one.address("chat page") != other.address("chat page")
            assert one.address("Flower") != other.address("Flower")
            assert ask(other, "hello") == "echo: hello", other.output
            assert other.end(signal.SIGINT)[0] == 0
        assert ask(one, "still here?") == "echo: still here?", one.output
        assert one.end(signal.SIGINT)[0] == 0


def test_real_credentials_start_no_simulator_and_an_empty_allow_list_is_said_loudly(tmp_path):
    nobody = f"http://127.0.0.1:{free_port()}"
    bot = {"DINGTALK_CLIENT_ID": "dingbot", "DINGTALK_CLIENT_SECRET": "hunter2"}
    with running(tmp_path, DINGTALK_OPENAPI_ENDPOINT=nobody, **bot) as run:
        run.until("DINGTALK_ALLOWED_USERS is empty: EVERYBODY IS DENIED")
        assert "chat page" not in run.output
        assert "hunter2" not in run.output
        assert run.end(signal.SIGINT)[0] == 0
        assert run.processes() == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DINGTALK_CLIENT_ID": "dingbot"}, "DINGTALK_CLIENT_SECRET: not set"),
        ({"DINGTALK_CLIENT_SECRET": "hunter2"}, "DINGTALK_CLIENT_ID: not set"),
        ({"BROKER_URL": "http://hunter2", "LOG_LEVEL": "hunter2"}, "LOG_LEVEL: "),
        ({"BROKER_URL": "redis://user:hunter2/x@127.0.0.1/0"}, "BROKER_URL: cannot be read"),
        ({"STORE_URL": "redis://user:hunter2/x@127.0.0.1/0"}, "STORE_URL: cannot be read"),
        ({"DATA_DIR": "/proc/nope"}, "DATA_DIR: cannot be written to"),
    ],
)
def test_settings_that_cannot_be_used_start_nothing(tmp_path, variables, words):
    with running(tmp_path, **variables) as run:
        assert run.process.wait(60) == 2
        assert words in run.output
        assert "hunter2" not in run.output
        assert "Traceback" not in run.output
        assert "started" not in run.output


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    with running(tmp_path) as one:
        one.until(BANNER)
        with running(second, DATA_DIR=str(tmp_path / "data")) as other:
            assert other.process.wait(60) == 2
            assert f"already running here (DATA_DIR {tmp_path / 'data'})" in other.output
            assert "started" not in other.output
        assert ask(one, "still here?") == "echo: still here?", one.output
        assert one.end(signal.SIGINT)[0] == 0


def test_a_closed_terminal_leaves_nothing_running(tmp_path):
    with running(tmp_path) as run:
        run.until(BANNER)
        run.end(signal.SIGHUP)
        assert run.processes() == []


def test_a_signal_during_the_start_is_not_lost(tmp_path):
    with running(tmp_path) as run:
        run.until("started")
        assert run.end(signal.SIGINT)[0] == 0
        assert run.processes() == []
