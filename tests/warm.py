"""``celery …`` as an operator runs it, in a process of its own that need not import first.

Half of the time of a command goes into imports that are the same for all. Here a process has done
them once, and becomes each command in a fork: with its arguments, environment, folder and output.
It is the same code from ``main()`` on, and whatever a command imports besides, or reads, it does
itself. That the program can be started at all, tests of its own show, which do not come here.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

__all__ = ["run"]

_LIMIT_S = 120
_lock = threading.Lock()


def run(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run an operator's command to its end; one that is not ``celery`` as it is.

    Raises:
        subprocess.TimeoutExpired: It took too long.
    """
    program, *arguments = command
    if program != "celery":
        return subprocess.run(
            command,
            env=env,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        order = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
        with _lock:
            code = _obeyed(order | {"out": str(out), "err": str(err)})
        said = [file.read_text(encoding="utf-8") for file in (out, err)]
    return subprocess.CompletedProcess(command, code, *said)


def _obeyed(order: Mapping[str, Any]) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    late = threading.Timer(_LIMIT_S, _end, [server])
    late.start()
    try:
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
    finally:
        late.cancel()
    if not answer:
        _server.cache_clear()
        raise subprocess.TimeoutExpired(["celery", *order["arguments"]], _LIMIT_S)
    return int(answer)


@functools.cache
def _server() -> "subprocess.Popen[str]":
    server = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    atexit.register(_end, server)
    return server


def _end(server: "subprocess.Popen[str]") -> None:
    """Kill it, with a command that it may be."""
    try:
        processes = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        processes = []
    for process in processes:
        process.kill()
    server.kill()


def _serve() -> dict[str, Any]:
    """Fork for each order; returns in the fork, with what it is to do."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return order
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    sys.exit()


def _become(order: Mapping[str, Any]) -> NoReturn:
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    _open(0, os.devnull, os.O_RDONLY)
    _open(1, order["out"], os.O_WRONLY | os.O_CREAT)
    _open(2, order["err"], os.O_WRONLY | os.O_CREAT)
    path = order["env"].get("PYTHONPATH", "")
    sys.path[:0] = [each for each in path.split(os.pathsep) if each]
    sys.argv = ["celery", *order["arguments"]]
    sys.modules["__main__"].__spec__ = None  # by which usage lines would name this module
    main()
    raise AssertionError("celery's main() ends the process")


def _open(number: int, file: str, flags: int) -> None:
    opened = os.open(file, flags)
    os.dup2(opened, number)
    os.close(opened)


if __name__ == "__main__":
    from celery.__main__ import main

    importlib.import_module("celery.bin.celery")  # and our commands, which are plugins of it
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()
    _become(_serve())
