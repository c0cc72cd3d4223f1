"""Draws rows and curves as SVG; the only part that needs matplotlib (``.[bench]``)."""

from collections.abc import Sequence
from pathlib import Path

from bench.rows import Plot, Row

__all__ = ["draw"]

_FACTORS = (0.25, 0.5, 1, 2, 4)


def draw(rows: Sequence[Row], plots: Sequence[Plot], folder: Path) -> list[tuple[str, str]]:
    """Draw all; return each picture's file name and title."""
    # Here, as one scenario alone can be looked at without it.
    import matplotlib as mpl

    mpl.use("svg")
    # The same picture for the same figures, and text that can be read and searched.
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9})
    return [_draw_ratios(rows, folder), *(_draw_curve(plot, folder) for plot in plots)]


def _draw_ratios(rows: Sequence[Row], folder: Path) -> tuple[str, str]:
    """Draw how far each figure is from its goal: right of the line is better than asked for."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.goal is not None]
    names = [f"{row.what} [{row.broker}]" for row in shown]
    values = [_margin(row) for row in shown]
    figure = Figure(figsize=(10, 1 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, values, color=["#2a7f62" if v >= 1 else "#b3432b" for v in values])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(_FACTORS, labels=[f"{each:g}" for each in _FACTORS])
    axes.minorticks_off()
    axes.margins(y=0.01)
    axes.invert_yaxis()
    title = "Goal reached (right of the line) or missed, as a factor"
    axes.set_title(title)
    name = "performance-goals.svg"
    figure.savefig(folder / name, metadata={"Date": None})
    return name, title


def _margin(row: Row) -> float:
    assert row.goal is not None
    figure = row.ours if row.ratio is None else row.ratio
    return figure / row.goal.bound if row.goal.sign == ">=" else row.goal.bound / max(figure, 1e-9)


def _draw_curve(plot: Plot, folder: Path) -> tuple[str, str]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, points in plot.lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    if plot.is_log_x:
        axes.set_xscale("log")
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.set_title(plot.title)
    name = f"performance-{plot.name}.svg"
    figure.savefig(folder / name, metadata={"Date": None})
    return name, plot.title
