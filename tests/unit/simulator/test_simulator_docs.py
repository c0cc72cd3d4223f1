import re
from dataclasses import fields
from pathlib import Path

from dingwire.simulator import Simulator
from dingwire.simulator.control import RECORDS
from dingwire.simulator.faults import Faults
from dingwire.simulator.page import assets

DOCS = Path(__file__).parents[3] / "docs" / "simulator.md"
OPTIONS = {"on": True, "off": False, "none": (), "": ""}


def documented() -> dict[str, str]:
    table = DOCS.read_text(encoding="utf-8").split("## Switches")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table.replace("| |", "|  |"), re.MULTILINE))


def test_every_switch_is_documented_with_its_default():
    faults = Faults()
    written = documented()

    assert list(written) == [each.name for each in fields(faults)]
    for name, default in written.items():
        text = default.strip().strip("`")
        actual = getattr(faults, name)
        expected = OPTIONS[text] if text in OPTIONS else type(actual)(text)
        assert actual == expected, name


async def test_every_address_and_every_kind_of_record_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    async with Simulator() as simulator:
        paths = simulator.paths()

    assert "/control/say" in paths
    assert "/v1.0/card/streaming" in paths
    assert [each for each in sorted(paths - assets().keys()) if each not in text] == []
    assert [each for each in RECORDS if each not in text] == []
