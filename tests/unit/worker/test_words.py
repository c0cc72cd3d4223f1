"""What the bot says: one catalogue in two languages, and a file of one's own words over it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.words import comments
from worker import words
from worker.phrases import OwnWords, Phrase, Voice
from worker.words import CATALOGUE

ROOT = Path(__file__).resolve().parents[3]
PHRASE = Phrase("还要 {how_long}", "{how_long} more")
SECONDS = Phrase("{n} 秒", "{n} s", "{n} s")
MENU = Phrase("一\n二", "one\ntwo")

every_text = pytest.mark.parametrize("phrase", CATALOGUE.values(), ids=list(CATALOGUE))


@pytest.mark.parametrize(
    ("language", "said"),
    [("zh", "还要 5 秒"), ("en", "5 s more"), ("both", "还要 5 秒 · 5 s more")],
)
def test_a_phrase_is_said_in_one_language_or_both_with_the_phrases_in_it(language, said):
    assert PHRASE.in_(language, how_long=SECONDS.with_(n=5)) == said


def test_several_lines_stand_below_each_other_and_a_text_for_both_replaces_the_two():
    assert MENU.in_("both") == "一\n二\none\ntwo"
    assert SECONDS.in_("both", n=5) == "5 s"


def test_what_is_filled_in_is_never_filled_itself():
    assert PHRASE.in_("en", how_long="{how_long} {0}") == "{how_long} {0} more"


@every_text
def test_every_text_has_both_languages_with_the_same_placeholders(phrase):
    assert re.search("[\u4e00-\u9fff]", phrase.zh)
    assert not re.search("[\u3000-\u9fff\uff00-\uffef]", phrase.en)
    for one in (phrase.en, phrase.both):
        assert not one or Phrase(one, one).placeholders == Phrase(phrase.zh, "").placeholders


@every_text
def test_every_text_says_when_it_is_said_and_what_its_placeholders_are(phrase):
    comment = comments()[phrase.key]
    assert {f"{{{name}}}" for name in phrase.placeholders} == set(re.findall(r"\{\w+\}", comment))


def test_every_text_has_its_name_and_every_name_its_text():
    named = {name: each for name, each in vars(words).items() if isinstance(each, Phrase)}
    assert {name.lower(): each for name, each in named.items()} == CATALOGUE


def test_every_text_is_said_somewhere():
    code = "".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "worker").rglob("*.py")
        if file.name != "words.py"
    )
    assert {key for key in CATALOGUE if not re.search(rf"\b{key.upper()}\b", code)} == set()


# DingTalk's own name of a reaction; where a text may be cut; and titles that operators read.
NOT_OURS_TO_SAY = {
    "🤔思考中",
    " \t。！？；，、",
    "本月 API 调用已用完 · API budget used up: ",
    "漏掉的回复 · Missed replies: ",
}
# The simulator's people, and what is called so in DingTalk's console.
ELSEWHERE = ("dingwire/simulator/", "dingwire/findings.py", "worker/doctor/")
CHINESE = re.compile("[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


def nodes_of_our_code() -> Iterator[tuple[str, ast.AST]]:
    for package in ("worker", "dingwire", "listener", "contract"):
        for file in (ROOT / package).rglob("*.py"):
            name = str(file.relative_to(ROOT))
            if not name.startswith(ELSEWHERE):
                nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
                docstrings = {id(each.value) for each in nodes if isinstance(each, ast.Expr)}
                yield from ((name, node) for node in nodes if id(node) not in docstrings)


def test_nothing_is_said_in_chinese_outside_of_the_catalogue():
    found = [
        (name, node.value)
        for name, node in nodes_of_our_code()
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CHINESE.search(node.value)
        and not re.fullmatch(r"/\w+", node.value)  # a command, which people write themselves
        and node.value not in NOT_OURS_TO_SAY
    ]
    assert found == []


def test_no_message_is_made_of_words_in_the_code():
    made = [
        (name, ast.unparse(node))
        for name, node in nodes_of_our_code()
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Text", "Markdown"}
        for given in [*node.args, *(each.value for each in node.keywords)]
        if isinstance(given, ast.Constant) and isinstance(given.value, str) and given.value
    ]
    # To nobody, to see whether the bot may send any.
    assert made == [("dingwire/openapi.py", "Text(content='test')")]


@pytest.fixture
def own(tmp_path):
    """Writes a file of one's own words, and reads it."""

    def read(text: str) -> OwnWords:
        file = tmp_path / "own.toml"
        file.write_text(text, encoding="utf-8")
        return OwnWords.read(str(file), CATALOGUE)

    return read


def test_texts_can_be_said_otherwise_one_by_one_in_one_language_or_both(own):
    voice = own('[thinking]\nen = "On it"\n[seconds]\nzh = "{n} 秒钟"')

    def said(phrase: Phrase, spoken: words.Spoken, **values: object) -> str:
        return phrase.in_(Voice(spoken, voice.phrases), **values)

    assert said(words.THINKING, "en") == "On it"
    assert said(words.THINKING, "zh") == words.THINKING.zh
    assert said(words.THINKING, "both") == f"{words.THINKING.zh} · On it"
    assert said(words.LATE, "en") == words.LATE.en
    assert (
        said(words.N_MORE, "zh", how_long=words.SECONDS.with_(n=5)) == "还在处理，大约还要 5 秒钟"
    )
    assert said(words.SECONDS, "both", n=5) == "5 秒钟 · 5 s"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[thinkng]\nzh = "x"', "thinkng: no such text; did you mean thinking?"),
        ('[thinking]\nfr = "x"', "thinking.fr: no such language: both, en, zh"),
        ('thinking = "x"', "thinking: write a table [thinking] with zh, en or both of them"),
        ('[late_answer]\nzh = "{qestion}"', "{qestion} here; did you mean question?"),
        ('[thinking]\nzh = "{name}"', "thinking.zh: no placeholder {name} here"),
        ('[picture]\nen = "{name.__class__}"', "a name in braces, not {name.__class__}"),
        ('[picture]\nen = "{name!r:>9}"', "a name in braces, not {name}"),
        ('[picture]\nen = "{"', "picture.en: "),
        ('[thinking]\nen = " "', "thinking.en: must be a text that says something"),
        ("[thinking]\nen = 5", "thinking.en: must be a text that says something"),
        (f'[thinking]\nen = "{"x" * 501}"', "thinking.en: has 501 characters, 500 at most"),
        (f'[late]\nen = "{"x" * 121}"', "late.en: has 121 characters, 120 at most"),
        ("[thinking", "own.toml: "),
    ],
    ids=[
        *("text", "language", "no table", "placeholder", "none here", "attribute", "format"),
        *("brace", "blank", "number", "long", "long note", "no TOML"),
    ],
)
def test_a_fault_in_ones_own_words_is_named_with_what_may_be_meant(own, text, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        own(text)


def test_all_faults_are_named_at_once(own):
    with pytest.raises(ValueError, match=r"own\.toml: thinkng: .*; late\.zz: "):
        own('[thinkng]\nzh = "x"\n[late]\nzz = "x"')
