"""The words of the chat page: both languages have all of them, and no other."""

import json
import re
from dataclasses import fields
from pathlib import Path

from dingwire.simulator.faults import Faults

FOLDER = Path(__file__).parents[3] / "dingwire" / "simulator"
TEXTS = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))
CODE = "\n".join(
    each.read_text(encoding="utf-8") for each in [*FOLDER.glob("*.js"), FOLDER / "chat.html"]
)
GROUPS = (FOLDER / "switches.js").read_text(encoding="utf-8")
# Keys that are put together from a part and the name of something.
BEGINNINGS = {
    *("switch.", "kind.", "attach.", "state.", "cardstate.", "click.", "sample.", "keys.", "wire."),
    *("faults.", "card."),
}


def test_both_languages_have_the_same_keys_and_places_for_values():
    english, chinese = TEXTS["en"], TEXTS["zh"]

    assert english.keys() == chinese.keys()
    places = {key: set(re.findall(r"\{\w+\}", text)) for key, text in english.items()}
    assert {key: set(re.findall(r"\{\w+\}", text)) for key, text in chinese.items()} == places
    assert [key for key in english if not (english[key] and chinese[key])] == []


def test_every_key_that_the_page_names_exists():
    named = set(re.findall(r"\bt\(\"([\w.]+)\"", CODE))
    named |= set(re.findall(r"data-(?:text|label|placeholder)=\"([\w.]+)\"", CODE))

    assert named - TEXTS["en"].keys() == set()


def test_every_text_is_used():
    named = set(re.findall(r"[\"`]([a-z_]+\.[\w.]+)[\"`]", CODE))
    left = [
        key.removesuffix(".one") for key in TEXTS["en"] if key.removesuffix(".one") not in named
    ]

    assert [key for key in left if not key.startswith(tuple(BEGINNINGS))] == []


def test_every_switch_is_in_one_group_with_a_text():
    switches = [each.name for each in fields(Faults)]
    listed = re.findall(r'"(\w+)"', GROUPS.split("REPLY_FAULTS")[0])
    shown = [each for each in listed if each in switches]

    names = ("webhook", "pushes", "connection", "payload", "api", "cards", "events", "files")
    assert sorted(shown) == sorted([*switches, "pushes"] if "pushes" not in shown else shown)
    assert set(shown) == set(switches)
    assert [each for each in listed if each not in {*switches, *names}] == []
    assert {f"switch.{each}" for each in switches} == {
        key for key in TEXTS["en"] if key.startswith("switch.")
    }
