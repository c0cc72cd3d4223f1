"""The matrix: every fault on every broker, and which of them make sense."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.chaos import dingtalk_faults, outages, process_faults
from tests.chaos.fault import BROKERS, Fault

__all__ = ["FAULTS", "Cell", "select"]

FAULTS: tuple[type[Fault], ...] = (
    process_faults.WorkerSigkill,
    process_faults.PoolChildSigkill,
    process_faults.WorkerSigstop,
    process_faults.WorkerClockOff,
    process_faults.ListenerSigkill,
    process_faults.ListenerSigterm,
    process_faults.RollingRestart,
    outages.ListenerSigkillSpooling,
    outages.BrokerRestart,
    outages.BrokerSigkill,
    outages.StoreRestart,
    outages.SpoolDiskFull,
    dingtalk_faults.SocketDrop,
    dingtalk_faults.PoliteDisconnect,
    dingtalk_faults.HalfOpenSocket,
    dingtalk_faults.Gateway503,
    dingtalk_faults.Gateway401,
    dingtalk_faults.Webhook5xx,
    dingtalk_faults.WebhookHang,
    dingtalk_faults.WebhookBusy,
    dingtalk_faults.Webhook130101,
    dingtalk_faults.Webhook300001,
    dingtalk_faults.Redelivery,
)


@dataclass(frozen=True)
class Cell:
    """One fault on one broker."""

    broker: str
    fault: type[Fault]

    @property
    def name(self) -> str:
        return f"{self.broker}/{self.fault.name}"

    @property
    def not_run(self) -> str:
        """Why the cell is left out; empty when it is run."""
        reason = self.fault.not_for.get(self.broker, "")
        if reason:
            return f"n/a: {reason}"
        if self.fault is outages.SpoolDiskFull and os.geteuid() != 0:
            return "needs root, to mount a small disk"
        return ""


def select(patterns: Sequence[str]) -> list[Cell]:
    """Return the cells whose names match one of the patterns, all without a pattern.

    Raises:
        ValueError: A pattern matches no cell.
    """
    cells = [Cell(broker, fault) for broker in BROKERS for fault in FAULTS]
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            raise ValueError(f"no cell is named {pattern!r}; --list shows them all")
    return [c for c in cells if not patterns or any(fnmatchcase(c.name, p) for p in patterns)]
