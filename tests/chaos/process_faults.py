"""Faults of our own processes: killed, stopped, restarted, or living in another time."""

import os
import signal
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.judging import Allowed
from tests.chaos.scene import AGENTS, LEASE_S, SLOTS, Scene
from tests.processes import ROOT

__all__ = [
    "ListenerSigkill",
    "ListenerSigterm",
    "PoolChildSigkill",
    "RollingRestart",
    "WorkerClockOff",
    "WorkerSigkill",
    "WorkerSigstop",
]

CLOCK_AHEAD_S = 90


class WorkerSigkill(Fault):
    """One of two workers is killed at work; its successor comes some seconds later."""

    name = "worker-sigkill"
    ends_at_once = True
    allowed = Allowed(doubled=SLOTS)

    def strike(self, scene: Scene) -> None:
        scene.until_busy(scene.worker)
        scene.worker.kill()

    def heal(self, scene: Scene) -> None:
        scene.deployment.start()


class PoolChildSigkill(Fault):
    """A prefork worker loses one of its processes at work."""

    name = "pool-child-sigkill"
    ends_at_once = True
    allowed = Allowed(doubled=1)
    worker_options = "-P prefork -c 4"
    variables = {"AGENT": "chaos_agent:blocking"}  # noqa: RUF012, read only

    def strike(self, scene: Scene) -> None:
        os.kill(scene.until_busy(scene.worker), signal.SIGKILL)

    def heal(self, scene: Scene) -> None:
        if not scene.worker.is_running:
            scene.complain("the worker ended with its child")


class WorkerSigstop(Fault):
    """One of two workers stands still for longer than two leases, then goes on."""

    name = "worker-sigstop"
    ends_at_once = True
    lasts_s = 2 * LEASE_S + 2.0
    allowed = Allowed(doubled=SLOTS)

    def strike(self, scene: Scene) -> None:
        scene.until_busy(scene.worker)
        scene.worker.signal(signal.SIGSTOP)

    def heal(self, scene: Scene) -> None:
        scene.worker.signal(signal.SIGCONT)


class ListenerSigkill(Fault):
    """The only listener is killed, and started again by its process manager."""

    name = "listener-sigkill"
    lasts_s = 2.0
    cuts_socket = True
    allowed = Allowed(never_acked=None)

    def strike(self, scene: Scene) -> None:
        scene.listener.kill()

    def heal(self, scene: Scene) -> None:
        scene.over()
        scene.deployment.start()


class ListenerSigterm(Fault):
    """The only listener is told to stop, as in a deploy, and started again."""

    name = "listener-sigterm"
    lasts_s = 2.0
    cuts_socket = True
    allowed = Allowed(never_acked=None)

    def strike(self, scene: Scene) -> None:
        code, took_s = scene.listener.terminate(15)
        if code != 0 or took_s > 5:
            scene.complain(f"the listener ended with {code} after {took_s:.1f} s")

    def heal(self, scene: Scene) -> None:
        scene.over()
        scene.deployment.start()


class RollingRestart(Fault):
    """A deploy: both workers and the listener are told to stop and started again, in turn."""

    name = "rolling-restart"
    lasts_s = 8.0
    allowed = Allowed(never_acked=None)

    def strike(self, scene: Scene) -> None:
        for name in ("worker-one", "worker-two", "listener"):
            process = scene.deployment.processes[name]
            code, took_s = process.terminate(40)
            if code != 0 or took_s > 30:
                scene.complain(f"{name} ended with {code} after {took_s:.1f} s")
            scene.deployment.start()

    def heal(self, scene: Scene) -> None:
        """Nothing is left to do."""


class WorkerClockOff(Fault):
    """One of two workers is 90 s ahead of everybody, from its start on."""

    name = "worker-clock-off"
    ends_at_once = True
    not_for = {  # noqa: RUF012, read only
        "embedded": "one machine has one clock, and the embedded broker serves one machine",
    }
    variables_of = {  # noqa: RUF012, read only
        "worker-one": {
            "PYTHONPATH": f"{Path(__file__).parent / 'shifted_clock'}:{ROOT}:{AGENTS}",
            "CHAOS_CLOCK_AHEAD_S": str(CLOCK_AHEAD_S),
        }
    }

    def strike(self, scene: Scene) -> None:
        scene.until_busy(scene.worker)

    def heal(self, scene: Scene) -> None:
        times = {
            name: max(str(line["time"]) for process, line in scene.log_lines() if process == name
                      and "time" in line)
            for name in ("worker-one", "worker-two")
        }  # fmt: skip
        if times["worker-one"] < times["worker-two"]:
            scene.complain("the clock was not off")
