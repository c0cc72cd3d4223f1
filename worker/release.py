"""The Procfile's release step: reads the settings, then creates or checks the store's schema.

``python -m worker.release`` exits 0 when a worker can start, 1 when the store cannot be used, 2
when settings cannot be read.
"""

import sys

from contract.settings import SettingsError
from worker.agents.base import AgentLoadError, load_agent
from worker.settings import WorkerSettings
from worker.store import StoreError
from worker.wiring import store_of

__all__ = ["main"]


def _say(text: str, *, to_stderr: bool = False) -> None:
    (sys.stderr if to_stderr else sys.stdout).write(f"{text}\n")


def main() -> int:
    """Check and prepare; return the exit code."""
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        for line in str(error).splitlines():
            _say(f"cannot read settings: {line}", to_stderr=True)
        return 2
    try:
        load_agent(settings.agent)
    except AgentLoadError as error:
        _say(f"cannot load the agent: {error}", to_stderr=True)
        return 2
    _say("settings  ok")
    try:
        store = store_of(settings)
        store.prepare()
        store.check()
        store.close()
    except StoreError as error:
        _say(f"store     FAIL  {error}", to_stderr=True)
        return 1
    _say("store     ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
