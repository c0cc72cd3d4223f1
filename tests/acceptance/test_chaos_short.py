"""The short form of ``make chaos``: its most telling cells, with a smaller load.

All at once, because each of them waits most of the time.
"""

import pytest

from tests.chaos.cells import FAULTS, select
from tests.chaos.load import Size
from tests.chaos.matrix import run_cells
from tests.chaos.table import BEGIN, END
from tests.processes import ROOT

CELLS = (
    "redis/worker-sigkill",
    "redis/listener-sigkill",
    "rabbitmq/broker-restart",
    "embedded/worker-sigkill",
)
LIMIT_S = 600.0


# The cells start servers of their own; the fixtures know what to do where one is not installed.
@pytest.mark.usefixtures("redis_url", "rabbitmq_url", "postgresql_url")
@pytest.mark.timeout(LIMIT_S + 120)
def test_nothing_is_lost_or_out_of_order_when_processes_and_brokers_die(tmp_path):
    results = run_cells(
        select(CELLS), tmp_path, size=Size(messages=90, conversations=10), at_once=2,
        limit_s=LIMIT_S,
    )  # fmt: skip

    assert len(results) == len(CELLS)
    verdicts = {result.cell.name: result.verdict for result in results}
    told = "\n".join(f"{r.cell.name}: {r.verdict}\n{r.evidence}" for r in results if not r.is_good)
    assert verdicts == dict.fromkeys(verdicts, "ok"), told


def test_the_docs_explain_every_fault_and_have_a_place_for_the_table():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

    explained = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert explained == [fault.name for fault in FAULTS]
    assert text.index(BEGIN) < text.index(END)
