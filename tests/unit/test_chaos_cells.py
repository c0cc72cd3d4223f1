"""The rest of ``make chaos`` that can be wrong without anybody noticing."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.chaos.__main__ import main
from tests.chaos.cells import FAULTS, Cell, select
from tests.chaos.judging import Allowed, History, Sent, judge
from tests.chaos.run import Result
from tests.chaos.table import BEGIN, END, as_markdown, write_into
from tests.processes import ROOT


def lost_one(cell: Cell) -> Result:
    history = History([Sent("m0001", "id1", "here")], [], acked={"id1"})
    return Result(cell, judge(history, Allowed()), (), 1.0)


def test_a_pattern_selects_cells_and_no_pattern_selects_all():
    assert [c.name for c in select(["redis/worker-sigkill"])] == ["redis/worker-sigkill"]
    assert {c.broker for c in select(["*/webhook-5xx"])} == {"redis", "rabbitmq", "embedded"}
    assert len(select([])) == 3 * len(FAULTS)


def test_a_pattern_that_matches_nothing_is_refused(capsys):
    assert main(["--only", "redis/no-such-fault"]) == 2
    assert "redis/no-such-fault" in capsys.readouterr().err


def test_a_fault_that_makes_no_sense_is_marked_with_its_reason():
    [cell] = select(["embedded/broker-restart"])

    assert cell.not_run.startswith("n/a: the embedded broker is files")


@pytest.mark.parametrize(("complaints", "found"), [((), "1 lost"), (("it ended",), "it ended")])
def test_a_cell_that_broke_its_promise_or_went_wrong_is_no_good(complaints, found):
    [cell] = select(["redis/worker-sigkill"])
    result = lost_one(cell)
    result = Result(cell, result.judgement, complaints, 1.0)

    assert not result.is_good
    assert found in result.verdict


def test_the_table_replaces_the_old_one_and_nothing_else(tmp_path):
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    [cell] = select(["redis/worker-sigkill"])

    table = as_markdown([lost_one(cell)], [], ran_with="this and that", today=date(2026, 1, 2))
    write_into(document, table)

    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\nRun on 2026-01-02 with this and that.")
    assert text.endswith(f"{END}\nafter\n")
    assert "| redis/worker-sigkill | 1 | 0 | 0 | 1 |" in text
    assert "old" not in text


def test_the_clock_of_a_process_can_be_wrong():
    program = (
        "import time, datetime; from pydantic import BaseModel\n"
        "class M(BaseModel): at: datetime.datetime\n"
        "now = datetime.datetime.now(datetime.UTC)\n"
        "assert abs(M(at=now).at.timestamp() - time.time()) < 5\n"
        "assert isinstance(M(at='2026-01-01T00:00:00Z').at, datetime.datetime)\n"
        "print(time.time())"
    )
    folder = Path(ROOT, "tests", "chaos", "shifted_clock")
    environment = {**os.environ, "PYTHONPATH": str(folder), "CHAOS_CLOCK_AHEAD_S": "90"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert 80 < float(done.stdout) - datetime.now(UTC).timestamp() < 91
