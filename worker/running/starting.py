"""Makes the processes that run agents ready at their start, not at their first message.

What one works with is built, and the agents' ``startup`` is called: in the worker's own process
with threads, in each of the pool's with prefork, as neither connections nor threads survive a fork.
"""

import mmap
import os
import signal
import time

import click
from celery.signals import worker_process_init

from contract.settings import SettingsError
from worker.agents.base import AgentLoadError

__all__ = ["has_failed", "start_here", "start_in_children"]

# One byte that a main process shares with the children it forks.
_failed = mmap.mmap(-1, 1)
# A child that cannot start is replaced by the pool, until the main process has heard of it.
_NOT_AGAIN_AT_ONCE_S = 2.0


def start_here(hostname: str) -> None:
    """Make this process ready.

    Args:
        hostname: In whose name Flower is told of other messages.

    Raises:
        AgentLoadError: An agent cannot be built, or its startup failed.
        SettingsError: The settings are not those any more that were read before.
    """
    from worker.tasks import prepare

    prepare(hostname)


def start_in_children(hostname: str) -> None:
    """Have each process of the prefork pool make itself ready; one that cannot ends the worker."""
    main_process = os.getpid()

    def start(**_: object) -> None:
        try:
            start_here(hostname)
        except (AgentLoadError, SettingsError) as error:
            _end_the_worker(error, main_process)

    worker_process_init.connect(start, weak=False)


def has_failed() -> bool:
    """Whether a process of the pool could not be made ready."""
    return _failed[:] != b"\0"


def _end_the_worker(error: Exception, main_process: int) -> None:
    if not has_failed():
        _failed[:] = b"\1"
        for line in str(error).splitlines():
            click.echo(f"cannot start the agent: {line}", err=True)
        if os.getppid() == main_process:  # else that is gone, and we are somebody else's child
            os.kill(main_process, signal.SIGTERM)
    time.sleep(_NOT_AGAIN_AT_ONCE_S)
    os._exit(1)
