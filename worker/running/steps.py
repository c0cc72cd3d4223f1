"""What a worker's main process does beside taking messages, as steps of Celery's.

``worker/running/process.py`` adds them. Each has a store connection of its own, made after the pool
has forked.
"""

import os
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from celery import bootsteps
from celery.worker import state

from contract.broker import Broker
from contract.routing import COMMANDS
from dingwire.robot import GroupRobot
from worker import wiring
from worker.running.command_parts import build_command_work
from worker.running.lane import CommandLane
from worker.running.pool import ProcessPool, ThreadPool
from worker.running.presence import Presence, facts_of
from worker.running.rounds import Rounds
from worker.running.sweep import Sweeper
from worker.telling import metrics
from worker.telling.alerts import Alerts
from worker.telling.budget_alert import BudgetAlert

__all__ = ["CommandStep", "MetricsStep", "RoundsStep", "SweepStep"]

_ROUNDS_EVERY_S = 10.0
# On Redis the lane looks up five times a second, and need not look each time for what others left
# lying; the pool does.
_LANE_OPTIONS = {"unacked_restore_throttle": 25}


class SweepStep(bootsteps.StartStopStep):
    """Runs the sweeper in the main process, after the pool has forked."""

    requires = ("celery.worker.components:Pool",)

    def create(self, w: Any) -> Sweeper:  # type: ignore[override]
        """Build the sweeper on a store connection of its own."""
        from worker.tasks import publish

        self._store = wiring.store_of(w.settings)
        return Sweeper(self._store, publish, lease_s=w.settings.lease_s)

    def stop(self, w: Any) -> None:
        """Stop sweeping and close the connection."""
        super().stop(w)
        self._store.close()


class RoundsStep(bootsteps.StartStopStep):
    """Says that this worker is there, and tells a group of missed replies."""

    requires = ("celery.worker.components:Pool",)

    def create(self, w: Any) -> Rounds:  # type: ignore[override]
        """Build the duties on a store connection of their own."""
        self._store = wiring.store_of(w.settings)
        presence = Presence(self._store, w.hostname, _facts_of(w), in_flight=_in_flight)
        duties = [presence.say_that_we_are_here]
        if w.settings.alert_webhook is not None:
            secret = w.settings.alert_secret
            robot = GroupRobot(
                w.settings.alert_webhook.get_secret_value(),
                secret and secret.get_secret_value(),
                clock=wiring.clock,
            )
            alerts = Alerts(self._store, robot, clock=wiring.clock)
            duties.append(alerts.tell_of_missed_replies)
            duties.append(BudgetAlert(self._store, robot).tell_of_used_up_budgets)
        return Rounds(duties, every_s=_ROUNDS_EVERY_S, at_end=presence.take_back)

    def stop(self, w: Any) -> None:
        """Stop, and close the connection."""
        super().stop(w)
        self._store.close()


class MetricsStep(bootsteps.StartStopStep):
    """Serves the metrics, to the end of the process: also while agents get their grace."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, w: Any) -> bool:
        """Whether anything is measured."""
        return w.metrics is not None

    def start(self, w: Any) -> None:
        """Open the port, now that the pool has forked."""
        from worker.running.queues import read_queues
        from worker.telling.fleet_metrics import FleetMetrics, read_store

        settings = w.settings
        broker = Broker.from_url(settings.broker_url, settings.data_dir)
        store = wiring.store_of(settings)
        fleet = FleetMetrics(
            queues=lambda: read_queues(broker),
            store=lambda: read_store(store, settings, wiring.clock()),
            clock=wiring.clock,
            order=settings.order,
            slots=w.concurrency,
            in_flight=_in_flight,
        )
        w.metrics.start(fleet)


class CommandStep(bootsteps.StartStopStep):
    """Takes the commands that overtake, beside the pool.

    Stopping it waits for nothing: what is in hand goes on while agents have their grace, and
    ``worker/running/process.py`` waits for it at the end.
    """

    requires = ("celery.worker.components:Pool",)

    def include_if(self, w: Any) -> bool:
        """Whether this worker takes any."""
        return bool(w.takes_commands)

    def create(self, w: Any) -> CommandLane:  # type: ignore[override]
        """Build it on connections of its own."""
        from worker.tasks import pass_on, publish, tell_of_another

        app, tell = w.app, partial(tell_of_another, sender=w.hostname)
        w.lane = lane = CommandLane(
            lambda: app.connection_for_read(
                heartbeat=app.conf.broker_heartbeat, transport_options=_LANE_OPTIONS
            ),
            app.amqp.queues[COMMANDS],
            build_command_work(w.settings, publish=publish, tell=tell),
            pass_on=pass_on,
            tell=tell,
            observe=metrics.observe,
        )
        return lane


def _in_flight() -> int:
    return len(state.active_requests)


def _facts_of(worker: Any) -> dict[str, Any]:
    pools = {ThreadPool: "threads", ProcessPool: "prefork"}
    return facts_of(
        worker.settings,
        node=worker.hostname,
        pid=os.getpid(),
        release=_release(),
        pool=pools.get(worker.pool_cls, "other"),
        concurrency=worker.concurrency,
        queues=_queues_of(worker),
        started_at=wiring.clock(),
    )


def _queues_of(worker: Any) -> list[str]:
    own = [COMMANDS] if worker.takes_commands else []
    return sorted({*worker.app.amqp.queues.consume_from, *own})


def _release() -> str:
    try:
        return version("celery-dingtalk")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
