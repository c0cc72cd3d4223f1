import json
import re
from dataclasses import fields
from pathlib import Path

from dingwire.simulator import Simulator, page
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


async def test_the_table_of_faults_names_what_the_page_and_the_control_api_have():
    table = DOCS.read_text(encoding="utf-8").split("## Faults")[1].split("\n## ")[0]
    lines = [each for each in table.splitlines() if each.startswith("| ")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    texts = json.loads((Path(page.__file__).with_name("texts.json")).read_text(encoding="utf-8"))
    async with Simulator() as simulator:
        paths = simulator.paths()
        members = dir(simulator)

    assert len(rows) > 15
    for _, shown, call, python, *_ in rows[1:]:
        name = shown.split(":")[0]
        assert any(each.startswith(name) for each in texts["en"].values()), name
        assert not call or f"/control/{call.strip('`')}" in paths, call
        assert [each for each in re.findall(r"`(\w+)\(", python) if each not in members] == []
