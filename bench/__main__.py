"""Run the benchmarks: ``make bench``, or ``python -m bench --only listening --rounds 1``.

With all of them it writes ``bench/results.json`` and the measured parts of docs/performance.md and
docs/scaling.md; with some it only prints. Nothing else should run meanwhile.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import (
    answering,
    idle,
    in_flight,
    listening,
    more_workers,
    scaling,
    store_growth,
    storm,
    tls_webhook,
)
from bench.place import Place
from bench.report import line, write
from bench.rows import Plot, Row

Scenario = Callable[[Place], Iterator[Row | Plot]]

SCENARIOS: Mapping[str, Scenario] = {
    "listening": listening.run,
    "answering": answering.run,
    "store_growth": store_growth.run,
    "storm": storm.run,
    "in_flight": in_flight.run,
    "more_workers": more_workers.run,
    "tls_webhook": tls_webhook.run,
    "idle": idle.run,
}


def main() -> int:
    """Run and print; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", choices=SCENARIOS, action="append", help="more than once if need be"
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows, plots, started = list[Row](), list[Plot](), time.monotonic()
    for name in options.only or SCENARIOS:
        since = time.monotonic()
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Place(Path(folder), rounds=options.rounds) as place,
        ):
            for found in SCENARIOS[name](place):
                if isinstance(found, Plot):
                    plots.append(found)
                else:
                    rows.append(found)
                    print(line(found), flush=True)
        print(f"# {name}: {time.monotonic() - since:.0f} s", flush=True)
    missed = [row for row in rows if row.is_met is False]
    took_s = time.monotonic() - started
    print(f"{len(rows)} rows in {took_s / 60:.1f} min, {len(missed)} goals missed")
    if not options.only:
        write(rows, plots, rounds=options.rounds, took_s=took_s)
        scaling.main()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
