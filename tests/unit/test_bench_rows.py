"""What a benchmark says of its figures: medians, ratios within a round, goals met and missed."""

import json

import pytest

from bench import report
from bench.pages import BEGIN, END
from bench.rows import Goal, Plot, Row


def test_a_row_takes_medians_and_the_ratio_of_each_round():
    # The machine was slow in the second round, for both.
    row = Row.of("x", "redis", "ms", [1, 30, 2], {"(b)": [2, 40, 4]}, goal=Goal("<=", 0.8, "(b)"))

    assert (row.ours, row.peers["(b)"]) == (2, 4)
    assert row.ratio == 0.5
    assert row.is_met


@pytest.mark.parametrize(
    ("sign", "bound", "figure", "is_met"),
    [
        ("<=", 2.0, 2.0, True),
        ("<=", 2.0, 2.1, False),
        (">=", 2.0, 2.0, True),
        (">=", 2.0, 1.9, False),
    ],
)
def test_a_goal_of_our_own_figure(sign, bound, figure, is_met):
    row = Row.of("x", "redis", "s", [figure], goal=Goal(sign, bound))

    assert row.ratio is None
    assert row.is_met is is_met


def test_a_goal_whose_peer_was_not_there_is_none():
    row = Row.of("x", "embedded", "ms", [1], {}, goal=Goal("<=", 0.8, "(b)"))

    assert row.goal is None
    assert row.is_met is None


def test_a_line_names_the_figures_the_goal_and_whether_it_is_met():
    row = Row.of("burst", "redis", "/s", [100], {"(b)": [80]}, goal=Goal(">=", 2.5, "(b)"))

    assert report.line(row) == "burst [redis]: 100 /s; (b) 80; ratio 1.25; ≥ 2.5 × (b): missed"


def test_what_limits_a_goal_is_said_where_it_is_missed_and_nowhere_else():
    what = "listener: resident memory after 5000 messages"
    missed = Row.of(what, "redis", "MB", [51], {"(b)": [58]}, goal=Goal("<=", 0.75, "(b)"))
    met = Row.of(what, "redis", "MB", [51], {"(a)": [95]}, goal=Goal("<=", 1, "(a)"))

    assert report.line(missed).endswith(": missed (what is imported)")
    assert report.line(met).endswith(": met")


def test_the_page_is_written_between_its_markers(tmp_path, monkeypatch):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(report, "draw", lambda *_: [("goals.svg", "Goals")])
    rows = [
        Row.of("burst", "redis", "/s", [1345, 1400], {"(b)": [832]}, goal=Goal(">=", 1.5, "(b)")),
        Row.of("start", "embedded", "s", [0.4321], note="once"),
    ]
    plots = [Plot("workers", "Workers", "workers", "replies/s", {"ours": [(1, 2.0)]})]

    report.write(rows, plots, rounds=2, took_s=61)

    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    assert "| burst | redis | 1,372 /s | (b) 832 | 1.65 | ≥ 1.5 × (b) | met |" in written
    assert "| start | embedded | 0.432 s |  |  |  | once |" in written
    assert "![Goals](images/goals.svg)" in written
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [row["is_met"] for row in kept["rows"]] == [True, None]
    assert kept["rows"][0]["rounds"]["ours"] == [1345, 1400]
    assert kept["plots"][0]["lines"] == {"ours": [[1, 2.0]]}
