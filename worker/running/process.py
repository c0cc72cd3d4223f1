"""The worker process: what ``celery -A worker worker`` starts.

Celery's own, with differences: settings and agent are checked before anything starts; pool and
concurrency come from ``WORKER_POOL`` and ``WORKER_CONCURRENCY`` unless given on the command line;
stopping has a limit; a process that has lost as many threads as it has slots, to agents that never
return, replaces itself; and it sweeps, says that it is there, alerts and shows metrics.
"""

import gc
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from celery.apps.worker import Worker as CeleryWorker
from celery.concurrency.thread import TaskPool as CeleryThreadPool
from celery.signals import worker_process_shutdown, worker_shutting_down
from celery.utils.text import str_to_list
from celery.worker import state
from click.core import ParameterSource

from contract.routing import COMMANDS
from contract.settings import SettingsError
from worker import wiring
from worker.agents.agent_settings import AgentSettingsError
from worker.agents.base import AgentLoadError
from worker.bots import load_agents
from worker.handlers import load_handlers
from worker.own_commands import load_commands
from worker.running import starting
from worker.running.lost_jobs import LostJobsStep
from worker.running.pool import ProcessPool, ThreadPool
from worker.running.presence import THREADS
from worker.running.steps import CommandStep, MetricsStep, RoundsStep, SweepStep
from worker.settings import WorkerSettings
from worker.store import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from worker.running.lane import CommandLane
    from worker.telling.metrics_server import MetricsServer

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

_EXIT_SETTINGS = 2
_STORE_LIMIT_S = 60.0
# They had the time in which agents ended.
_LAST_COMMANDS_S = 2.0


class Worker(CeleryWorker):
    """Celery's worker, checked at its start and bounded at its end."""

    class Blueprint(CeleryWorker.Blueprint):
        """Celery's steps and ours."""

        default_steps = CeleryWorker.Blueprint.default_steps | {
            SweepStep,
            LostJobsStep,
            RoundsStep,
            MetricsStep,
            CommandStep,
        }

    settings: WorkerSettings
    metrics: "MetricsServer | None" = None
    lane: "CommandLane | None" = None
    takes_commands = True

    hostname: str
    pool_cls: Any
    concurrency: int | None
    _is_to_be_replaced = _is_to_stay_away = False

    def on_before_init(self, **options: Any) -> None:  # type: ignore[override]
        """Read the settings and refuse to start on bad ones."""
        try:
            self.settings = WorkerSettings.load()
            if self.settings.metrics_port is not None:
                from worker.telling.metrics_server import MetricsServer

                self.metrics = MetricsServer(self.settings.metrics_port, self.settings.data_dir)
            load_agents(self.settings)
        except (SettingsError, AgentSettingsError) as error:
            _refuse("cannot read settings", error)
        except AgentLoadError as error:
            _refuse("cannot load the agent", error)
        try:
            load_handlers(self.settings)
        except AgentLoadError as error:
            _refuse("cannot load a handler", error)
        try:
            load_commands(self.settings)
        except AgentLoadError as error:
            _refuse("cannot load the commands", error)
        super().on_before_init(**options)

    def setup_defaults(  # type: ignore[override]
        self, concurrency: Any = None, pool: Any = None, **options: Any
    ) -> None:
        """Choose pool and concurrency: command line, environment, default."""
        pool_class = _own_pool(pool if _was_given("pool") else self.settings.worker_pool)
        if not _was_given("concurrency"):
            default = THREADS if pool_class is ThreadPool else None
            concurrency = self.settings.worker_concurrency or default
        super().setup_defaults(concurrency=concurrency, pool=pool_class, **options)

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """Leave the commands to the lane, whatever ``-Q`` says; ``-X commands`` has none here."""
        excluded = str_to_list(exclude) or []
        self.takes_commands = COMMANDS not in excluded
        super().setup_queues(include, [*excluded, COMMANDS])

    def prepare_args(self, **options: Any) -> dict[str, Any]:
        """Leave out the talk among workers: claims in the store do what it could do here."""
        return {**options, "without_mingle": True, "without_gossip": True}

    def on_init_blueprint(self) -> None:
        """Set up logging (Celery's), then make the store ready."""
        super().on_init_blueprint()
        _prepare_store(self.settings)
        if isinstance(self.pool_cls, type) and issubclass(self.pool_cls, ThreadPool | ProcessPool):
            self.pool_cls.grace_s = self.settings.shutdown_grace_s
        if self.pool_cls is ThreadPool:
            ThreadPool.hand_back = staticmethod(wiring.stop)
            wiring.lost_threads.tell_at(self.concurrency or 0, self._replace)

    def start(self) -> None:
        """Run until told to stop; then leave, even past a thread that never returns."""
        worker_shutting_down.connect(self._stay_away)
        worker_process_shutdown.connect(_clear_up)
        self._start_agents()
        # What is there by now stays to the end: no collection need look through it again, which
        # would be a tenth of the work with hundreds of messages in hand.
        gc.collect()
        gc.freeze()
        super().start()
        if self.lane is not None:
            self.lane.join(_LAST_COMMANDS_S)
        wiring.clear_up()
        if self.metrics is not None:
            self.metrics.remove()
        # An agent's own non-daemon threads would keep the interpreter.
        logging.shutdown()
        sys.stdout.flush()
        if self._is_to_be_replaced:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606, ourselves
        os._exit(1 if starting.has_failed() else self.exitcode or 0)

    def _start_agents(self) -> None:
        if isinstance(self.pool_cls, type) and issubclass(self.pool_cls, ProcessPool):
            starting.start_in_children(self.hostname)
            return
        try:
            starting.start_here(self.hostname)
        except (AgentLoadError, SettingsError) as error:
            _refuse("cannot start the agent", error, code=1)

    def _replace(self) -> None:
        """Stop as for SIGTERM, and start anew under the same process id."""
        if self._is_to_stay_away:
            return
        logger.error(
            "too many threads are lost to agents that never return; this worker starts anew",
            extra={"action": "worker_replaced", "abandoned": self.concurrency},
        )
        self._is_to_be_replaced = True
        state.should_stop = 0  # type: ignore[assignment]  # an exit code, as Celery sets it

    def _stay_away(self, **_: Any) -> None:
        """A signal says that this process is to end for good."""
        self._is_to_be_replaced, self._is_to_stay_away = False, True


def _clear_up(**_: Any) -> None:
    """In a pool child that ends."""
    wiring.clear_up()


def _was_given(option: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and (
        context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    )


def _own_pool(chosen: Any) -> Any:
    name = chosen if isinstance(chosen, str) else f"{chosen.__module__}"
    if chosen is CeleryThreadPool or name == "threads":
        return ThreadPool
    if name in {"prefork", "processes", "celery.concurrency.prefork"}:
        return ProcessPool
    return chosen


def _prepare_store(settings: WorkerSettings) -> None:
    """Wait a while for a store that starts at the same time as we do."""
    store = wiring.store_of(settings)
    give_up_at = time.monotonic() + _STORE_LIMIT_S
    while True:
        try:
            store.prepare()
            store.close()
        except StoreUnavailableError as error:
            if time.monotonic() > give_up_at:
                _refuse("cannot reach the store", error, code=1)
            logger.warning("waiting for the store: %s", error, extra={"action": "store_away"})
            time.sleep(1)
        except StoreError as error:
            _refuse("cannot use the store", error, code=1)
        else:
            return


def _refuse(what: str, error: Exception, *, code: int = _EXIT_SETTINGS) -> None:
    for line in str(error).splitlines():
        click.echo(f"{what}: {line}", err=True)
    sys.exit(code)
