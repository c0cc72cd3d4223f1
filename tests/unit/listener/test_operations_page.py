"""docs/operations.md names every metric and every log action of the listener, and no other."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from contract.broker import Broker
from listener.enqueue import Enqueuer
from listener.metrics import registry_of
from listener.settings import ListenerSettings
from listener.spool import Spool
from listener.tally import MESSAGE_ACTIONS, PUSH_ACTIONS, Tally
from listener.vitals import Vitals
from listener.watchdog import Pulse

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _now() -> datetime:
    return datetime.now(UTC)


def _metrics(folder: Path) -> Iterator[str]:
    spool = Spool(folder / "spool", max_bytes=2**20)
    vitals = Vitals(
        ListenerSettings.load(client_id="ding1", client_secret="s3cret"),
        tally=Tally(),
        streams=[],
        enqueuer=Enqueuer(Broker.from_url("embedded://", folder), spool, clock=_now),
        spool=spool,
        pulse=Pulse(print, clock=_now, monotonic=lambda: 0.0),
        clock=_now,
    )
    for family in registry_of([vitals]).collect():
        for sample in family.samples:
            if sample.name.startswith("dingtalk_listener_"):
                yield sample.name


def test_every_metric_and_no_other_is_explained(tmp_path):
    exported = set(_metrics(tmp_path))
    named = set(re.findall(r"dingtalk_listener_\w*\w", _section("Listener: health and metrics")))
    exported |= {name.removesuffix("_count") for name in exported if name.endswith("_count")}

    assert named - {"dingtalk_listener_"} <= exported
    parts_of_histograms = ("_bucket", "_sum", "_count")
    assert {name for name in exported if not name.endswith(parts_of_histograms)} <= named


def test_every_log_action_and_no_other_is_explained():
    logged = {"frame_malformed", "frame_unhandled", *MESSAGE_ACTIONS}
    logged |= {action for _, action in PUSH_ACTIONS}
    for path in (ROOT / "listener").glob("*.py"):
        logged |= set(re.findall(r'"action": "(\w+)"', path.read_text(encoding="utf-8")))

    table = _section("Log actions of the listener")
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) - {"action"} == logged
