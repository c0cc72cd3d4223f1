"""The official Node SDK, as tests and benchmarks run it."""

import shutil
import subprocess
from pathlib import Path

from tests.processes import ROOT
from tests.servers import MissingServerError

__all__ = ["SOURCES", "installed"]

SOURCES = ROOT / "tests" / "node"
_MODULES = ROOT / ".cache" / "node"


def installed() -> Path:
    """Return the folder with its modules, by ``package.json``; installed when they are not there.

    Raises:
        MissingServerError: Node or npm is not installed.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise MissingServerError(f"{program} is not installed; `make test` says how to get it")
    wanted = (SOURCES / "package.json").read_bytes()
    kept = _MODULES / "package.json"
    is_there = (_MODULES / "node_modules" / "dingtalk-stream").is_dir()
    if not is_there or not kept.is_file() or kept.read_bytes() != wanted:
        _MODULES.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(wanted)
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=_MODULES, check=True, timeout=100, capture_output=True)
    return _MODULES
