"""Runs many cells, some at a time; used by ``__main__.py`` and by the short form in the tests."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.cells import Cell
from tests.chaos.load import Size
from tests.chaos.run import Result, run_cell
from tests.chaos.scene import SharedServers

__all__ = ["run_cells"]


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    *,
    size: Size,
    at_once: int,
    limit_s: float,
    tell: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Run cells, ``at_once`` at a time; those that cannot begin in time are failures.

    Args:
        cells: In this order; the results are in the same.
        folder: Gets a folder a cell, with its logs.
        size: Of each cell's load.
        at_once: How many run beside each other.
        limit_s: No cell begins that might end after this.
        tell: Called with every result as it comes.
    """
    give_up_at = time.monotonic() + limit_s
    shared = SharedServers(folder, len(cells))
    telling = threading.Lock()

    def run(cell: Cell) -> Result:
        if time.monotonic() + cell.fault.limit_s > give_up_at:
            result = Result(cell, None, (f"not begun within {limit_s / 60:g} min",), 0.0)
        else:
            result = run_cell(cell, folder / re.sub(r"\W", "-", cell.name), shared, size)
        with telling:
            tell(result)
        return result

    try:
        if any(cell.broker == "rabbitmq" for cell in cells):
            shared.start()
        with ThreadPoolExecutor(at_once) as pool:
            try:
                return list(pool.map(run, cells))
            except KeyboardInterrupt:
                # Cells that run end early, and stop what they have started.
                shared.interrupted.set()
                raise
    finally:
        shared.stop()
