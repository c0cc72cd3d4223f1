"""What a check finds, how it is shown, and how many are made at once.

Used by ``celery -A worker doctor`` and by ``python -m listener --check``. A check never shows a
secret: whoever makes one passes on only words that hold none.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Protocol, Self

__all__ = [
    "EXIT_UNREADABLE",
    "Check",
    "Examination",
    "Finding",
    "Status",
    "as_json",
    "as_table",
    "examine",
    "exit_code",
    "named",
]

EXIT_UNREADABLE = 2  # settings that cannot be read


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"  # works, but somebody should look
    FAIL = "FAIL"
    SKIP = "skip"  # not looked at; the reason says why


class Finding(Protocol):
    """What :mod:`dingwire.probe` finds, which knows nothing of us."""

    @property
    def status(self) -> str:
        """One of :class:`Status`."""

    @property
    def reason(self) -> str:
        """What was found."""

    @property
    def fix(self) -> str:
        """What to do."""


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    reason: str = ""
    fix: str = ""

    @classmethod
    def ok(cls, name: str, reason: str = "") -> Self:
        """Nothing to do."""
        return cls(name, Status.OK, reason)

    @classmethod
    def warn(cls, name: str, reason: str, fix: str = "") -> Self:
        """It works, but somebody should look."""
        return cls(name, Status.WARN, reason, fix)

    @classmethod
    def fail(cls, name: str, reason: str, fix: str = "") -> Self:
        """It does not work."""
        return cls(name, Status.FAIL, reason, fix)

    @classmethod
    def skip(cls, name: str, reason: str, fix: str = "") -> Self:
        """It was not looked at."""
        return cls(name, Status.SKIP, reason, fix)

    @classmethod
    def of(cls, name: str, finding: Finding) -> Self:
        """Give a finding its name."""
        return cls(name, Status(finding.status), finding.reason, finding.fix)

    def about(self, bot: str) -> Self:
        """Return it as one bot's of several; as it is with an empty name."""
        return replace(self, name=named(self.name, bot))


def named(name: str, bot: str) -> str:
    """Return the name of a check that is made for each of several bots."""
    return f"{name} ({bot})" if bot else name


@dataclass(frozen=True)
class Examination:
    """Checks that are made one after the other, since the later rest on the earlier.

    ``run`` yields them; ``names`` are those it will yield at least once each, in their order.
    """

    names: tuple[str, ...]
    run: Callable[[], Iterable[Check]]


def examine(examinations: Sequence[Examination], *, limit_s: float) -> list[Check]:
    """Run all at once; return their checks in the order of the examinations.

    What is not done after ``limit_s`` fails, and what was to come after it is skipped.
    """
    end = time.monotonic() + limit_s
    runs = [_Run(each) for each in examinations]
    return [check for run in runs for check in run.result(end, limit_s)]


class _Run:
    """One examination in a thread of its own, which does not keep the process from ending."""

    def __init__(self, examination: Examination) -> None:
        self._names = examination.names
        self._found: list[Check] = []
        self._broken = ""
        self._thread = threading.Thread(target=self._work, args=(examination,), daemon=True)
        self._thread.start()

    def _work(self, examination: Examination) -> None:
        try:
            for check in examination.run():
                self._found.append(check)
        except Exception as error:  # noqa: BLE001, the other checks are worth showing all the same
            # Its text is not ours, so it may hold anything.
            self._broken = f"the check itself failed ({type(error).__name__})"

    def result(self, end: float, limit_s: float) -> list[Check]:
        self._thread.join(max(0.0, end - time.monotonic()))
        reason = f"no answer within {limit_s:g} s" if self._thread.is_alive() else self._broken
        found = list(self._found)
        left = [name for name in self._names if name not in {check.name for check in found}]
        if left and reason:
            found.append(Check.fail(left[0], reason, "try again, and look at its server"))
        return [*found, *(Check.skip(name, f"{left[0]} comes first") for name in left[1:])]


def exit_code(checks: Iterable[Check]) -> int:
    """Return 1 when something fails, else 0."""
    return int(any(check.status is Status.FAIL for check in checks))


def as_table(checks: Sequence[Check]) -> str:
    """Return one line a check, for people."""
    width = max((len(check.name) for check in checks), default=0) + 2
    return "\n".join(_line(check, width) for check in checks)


def _line(check: Check, width: int) -> str:
    words = "; ".join(part for part in (check.reason, check.fix) if part)
    return f"{check.name:{width}}{check.status:6}{words}".rstrip()


def as_json(checks: Sequence[Check]) -> str:
    """Return the same for machines: ``overall`` is the worst status there is."""
    statuses = {check.status for check in checks}
    worst = next((s for s in (Status.FAIL, Status.WARN) if s in statuses), Status.OK)
    shown = {"overall": worst, "checks": [asdict(check) for check in checks]}
    return json.dumps(shown, ensure_ascii=False, indent=2)
