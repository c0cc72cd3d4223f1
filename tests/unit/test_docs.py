"""What the pages name exists: links, commands, variables, log actions; both READMEs agree."""

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from celery.bin.celery import celery as celery_command

from contract.variables import AGENT_VARIABLES, ALIASES, VARIABLES
from scripts.configuration import document
from scripts.words import PAGE as PAGE_OF_TEXTS
from scripts.words import with_table
from worker.outcome import FinalState, Outcome
from worker.phrases import OwnWords
from worker.pushes import PUSH_ACTIONS
from worker.words import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"

# Those of requests, of terminals and of platforms; and a name in the code.
FOREIGN = {"HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NO_COLOR"}
FOREIGN |= {"OLLAMA_CONTEXT_LENGTH"}
FOREIGN |= {"REMAP_SIGTERM", "DOKKU_SCALE", "MAX_BODY_BYTES"}
FOREIGN |= {"WEATHER_CITY"}  # of the example of an agent's settings

FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def section(title: str) -> str:
    """A part of the operations page."""
    page = text_of(ROOT / "docs" / "operations.md")
    return page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def titles_of(page: Path, level: str = "#+") -> list[str]:
    return re.findall(rf"^{level} (.+)$", FENCED.sub("", text_of(page)), re.MULTILINE)


def slug(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@every_page
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text_of(page)))
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in map(slug, titles_of(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=lambda page: page.name)
def test_every_page_can_be_found_from_a_readme(readme):
    pages = {str(page.relative_to(ROOT)) for page in PAGES} - {readme.name}
    assert pages - set(re.findall(r"\]\(([^)#]+)\)", text_of(readme))) == set()


def test_both_readmes_have_the_same_parts_and_the_same_code():
    english, chinese = text_of(ENGLISH), text_of(CHINESE)

    assert FENCED.findall(chinese) == FENCED.findall(english)
    for part in (r"^## ", r"^\d\. ", r"^\| `", r"^- ", r"!\["):
        assert len(re.findall(part, chinese, re.MULTILINE)) == len(
            re.findall(part, english, re.MULTILINE)
        ), part
    assert variables_of(chinese) == variables_of(english)


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of every ``celery -A worker …``."""
    for words in re.findall(r"celery -A worker ([^\s`][^`\n|;&#]*)", text):
        yield words.split()


def known_commands() -> dict[str, click.Command]:
    ours = {each.name: each.load() for each in entry_points(group="celery.commands")}
    return dict(celery_command.commands) | ours


@every_page
def test_every_celery_command_of_a_page_exists(page):
    known = known_commands()
    for name, *words in commands_of(text_of(page)):
        if name == "…":
            continue
        command = known[name.strip("`.,:")]
        if isinstance(command, click.Group):
            named = words[0] if words and words[0] in command.commands else "list"
            command = command.commands[named]
        options = {option for each in command.params for option in each.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= options, (name, words)


@every_page
def test_every_late_command_of_a_page_exists(page):
    late = known_commands()["late"]
    assert isinstance(late, click.Group)
    assert set(re.findall(r"`late ([a-z]+)", text_of(page))) <= late.commands.keys()


@every_page
def test_every_module_that_a_page_runs_exists(page):
    names = set(re.findall(r"python -m ([a-z_.]+[a-z])", text_of(page)))
    assert {name for name in names if find_spec(name) is None} == set()


@every_page
def test_every_test_that_a_page_names_exists(page):
    names = set(re.findall(r"`(tests/[\w/-]+\.\w+)`", text_of(page)))
    assert {name for name in names if not (ROOT / name).exists()} == set()


@every_page
def test_every_make_command_of_a_page_exists(page):
    rules = re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
    named = re.findall(r"(?:\$ |`|[A-Z]=\S+ )make ([a-z]+)", text_of(page))
    assert set(named) <= set(rules)


def variables_of(text: str) -> set[str]:
    """Every name in backticks, or set for a command, that looks like a variable."""
    spans = re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(?:=[^`]*)?`", text)
    assigned = re.findall(r"^ *(?:\$ |export )?([A-Z][A-Z0-9_]*_[A-Z0-9_]+)=", text, re.MULTILINE)
    return {*spans, *assigned}


@every_page
def test_every_variable_of_a_page_exists(page):
    read_by_others = set(re.findall(r"`([A-Z][A-Z_]+)`", document().split("## Read by others")[1]))
    known = VARIABLES | AGENT_VARIABLES | ALIASES.keys() | read_by_others | FOREIGN
    unknown = variables_of(text_of(page)) - known
    assert {name for name in unknown if not name.startswith("FLOWER_")} == set()


def logged_by(package: str) -> set[str]:
    files = (ROOT / package).rglob("*.py")
    return {each for file in files for each in re.findall(r'"action": "(\w+)"', text_of(file))}


def test_every_log_action_of_a_worker_and_no_other_is_explained():
    """The listener's have a test of their own."""
    ends = [Outcome(state) for state in FinalState]
    goes_on = [Outcome(None, duplicate=True), Outcome(None, parked=True), Outcome(None)]
    logged = logged_by("worker") | {outcome.action for outcome in [*ends, *goes_on]} | PUSH_ACTIONS

    tables = "".join(map(section, ("Log actions of the worker", "Worker: metrics", "Alerts")))
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (?:INFO|WARNING|ERROR)", tables, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == logged


def test_what_both_processes_share_logs_nothing_that_no_page_explains():
    page = text_of(ROOT / "docs" / "operations.md")
    shared = logged_by("contract") | logged_by("dingwire")
    assert {action for action in shared if f"`{action}`" not in page} == set()


def test_the_first_minute_on_call_leads_to_every_section():
    first, *others = titles_of(ROOT / "docs" / "operations.md", "##")

    assert first == "The first minute"
    anchors = re.findall(r"\]\(#([\w-]+)\)", section(first))
    assert {title for title in others if slug(title) not in anchors} == set()


def test_the_table_of_what_the_bot_says_is_the_catalogue():
    page = text_of(PAGE_OF_TEXTS)
    assert page == with_table(page), "run make docs"


def test_the_words_of_ones_own_in_the_docs_are_some_that_a_worker_takes(tmp_path):
    (example,) = re.findall(
        r"```toml\n(# my_words\.toml\n.*?)```", text_of(PAGE_OF_TEXTS), re.DOTALL
    )
    file = tmp_path / "my_words.toml"
    file.write_text(example, encoding="utf-8")
    assert OwnWords.read(str(file), CATALOGUE).phrases.keys() == {"thinking", "late_answer"}
