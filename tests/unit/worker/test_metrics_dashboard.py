"""Dashboard, alert rules and the operations page speak of metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tests.unit.worker.fleet_parts import QUEUES, Scrape, listener, told
from worker.agents import Usage
from worker.agents.usage import summed
from worker.outcome import FinalState, Outcome
from worker.telling.metrics import Instruments

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
NAME = re.compile(r"dingtalk_\w+")
PARTS_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def of_workers() -> dict[str, set[str]]:
    """The labels of every metric of a worker, by its name."""
    registry = CollectorRegistry()
    used = {"usage": summed([Usage("a model", 1, 1)])}
    Instruments(registry).observe(Outcome(FinalState.SUCCESS, facts=used))
    scrape = Scrape(queues=lambda: QUEUES, store=lambda: told(listener("one")))
    families = [*registry.collect(), *scrape.families()]
    samples = [sample for family in families for sample in family.samples]
    return {s.name: set(s.labels) for s in samples if not s.name.endswith("_created")}


def of_listeners() -> dict[str, set[str]]:
    """The same of a listener, as the page has them, which a test of its own compares with it."""
    page = _section("Listener: health and metrics")
    known: dict[str, set[str]] = {}
    for name, labels in re.findall(r"(dingtalk_listener_\w+)(?:\{([\w,]+)\})?", page):
        known.setdefault(name, {"le"} if name.endswith("_bucket") else set()).update(
            labels.split(",") if labels else []
        )
    return known


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def expressions() -> Iterator[str]:
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
            yield target["expr"]
    for rule in rules():
        yield rule["expr"]


def rules() -> list[dict[str, Any]]:
    text = (ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_dashboard_and_alerts_ask_for_what_there_is(expression):
    """Prometheus answers a question about nothing with nothing, and no alert ever fires."""
    known = of_workers() | of_listeners()
    names = set(NAME.findall(expression))
    asked_by = re.findall(r"by \((\w+)\)|[{,]\s*(\w+)=", expression)
    labels = {label for pair in asked_by for label in pair if label}

    assert names
    assert names <= known.keys()
    for name in names:
        assert labels <= known[name]


def test_every_metric_of_a_worker_and_no_other_is_explained():
    exported = {name for name in of_workers() if not name.endswith(PARTS_OF_HISTOGRAMS)}
    histograms = {name.removesuffix("_count") for name in of_workers() if name.endswith("_count")}
    named = set(NAME.findall(_section("Worker: metrics")))
    plain = {name for name in named if not name.endswith(PARTS_OF_HISTOGRAMS)}

    assert plain - {"dingtalk_fleet_"} == exported | histograms
    assert named - plain <= of_workers().keys()


# Which number is right, only the place knows.
OWN_NUMBERS = {
    "dingtalk_listener_last_frame_age_seconds > 600",
    'increase(dingtalk_listener_frames_total{type="bot"}[2h]) == 0',
    "min(dingtalk_fleet_last_frame_age_seconds) > 600",
    "sum(increase(dingtalk_worker_sends_total[30d])) > 8000",
    "rate(dingtalk_worker_duplicates_total[1h]) > 1",
    "sum(increase(dingtalk_worker_model_tokens_total[1d])) > 1000000",
    "max(dingtalk_fleet_workers) < 2",
}


def test_the_alerts_of_the_page_are_rules_and_the_rules_are_on_the_page():
    sections = _section("Listener: health and metrics") + _section("Worker: metrics")
    cells = [re.split(r"(?<!\\)\|", line) for line in sections.splitlines() if "dingtalk_" in line]
    on_page = {
        code.replace("\\|", "|")
        for cell in cells
        if len(cell) > 4
        for code in re.findall(r"`([^`]+)`", cell[3])
    }

    assert {rule["expr"] for rule in rules()} == on_page - OWN_NUMBERS
    assert on_page >= OWN_NUMBERS


def test_every_alert_says_what_happened_and_how_urgent_it_is():
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"]["summary"].rstrip(".")[-1].isalnum(), rule["alert"]


def test_the_dashboard_is_one_that_grafana_can_place():
    """No two panels with one id, none over another."""
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert dashboard["schemaVersion"] >= 38
