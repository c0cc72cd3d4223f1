"""What a benchmark says: rows with a goal, and plots.

Scenarios yield them, ``report.py`` shows them.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

__all__ = ["Goal", "Plot", "Row"]


@dataclass(frozen=True)
class Goal:
    """What a figure must be: ``Goal("<=", 0.8, "(b)")`` is at most 0.8 times that of peer (b).

    Without a peer the bound is for our own figure, in its unit.
    """

    sign: Literal["<=", ">="]
    bound: float
    peer: str = ""

    def __str__(self) -> str:
        sign = {"<=": "≤", ">=": "≥"}[self.sign]
        return f"{sign} {self.bound:g} × {self.peer}" if self.peer else f"{sign} {self.bound:g}"

    def is_met(self, figure: float) -> bool:
        """Whether ``figure``, a ratio or a figure of our own, is good enough."""
        return figure <= self.bound if self.sign == "<=" else figure >= self.bound


@dataclass(frozen=True)
class Row:
    """One line of the table. Figures are medians of rounds that took turns in one run."""

    what: str
    broker: str
    unit: str
    ours: float
    peers: Mapping[str, float] = field(default_factory=dict)
    goal: Goal | None = None  # None: reported only
    ratio: float | None = None  # ours to the goal's peer
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def of(
        cls,
        what: str,
        broker: str,
        unit: str,
        ours: Sequence[float],
        peers: Mapping[str, Sequence[float]] | None = None,
        *,
        goal: Goal | None = None,
        note: str = "",
    ) -> Self:
        """Take the medians of what each round measured; the peers' by their names.

        The ratio is the median of those within the same round where there are as many of both.
        """
        measured = {name: list(figures) for name, figures in (peers or {}).items() if figures}
        ratio = None
        if goal is not None and goal.peer in measured:
            ratio = _ratio(ours, measured[goal.peer])
        return cls(
            what, broker, unit, statistics.median(ours),
            {name: statistics.median(figures) for name, figures in measured.items()},
            goal if goal is None or not goal.peer or goal.peer in measured else None,
            ratio,
            {"ours": list(ours), **measured},
            note,
        )  # fmt: skip

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is; None without one."""
        if self.goal is None:
            return None
        return self.goal.is_met(self.ours if self.ratio is None else self.ratio)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    if len(ours) == len(theirs):
        return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return statistics.median(ours) / statistics.median(theirs)


@dataclass(frozen=True)
class Plot:
    """Lines over one scale; ``name`` becomes the picture's file name."""

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    is_log_x: bool = False
