"""A reply too long for one message is split so that it reads as one."""

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingwire.borders import json_bytes, pieces
from dingwire.parts import split
from dingwire.replies import (
    MAX_BODY_BYTES,
    MAX_PROACTIVE_BYTES,
    Markdown,
    Reply,
    Text,
    from_agent_text,
    proactive_message,
    webhook_body,
)

LIMIT = 1000


def _posted_bytes(reply: Reply) -> int:
    body = webhook_body(reply, msg_uuid="0" * 36)
    return len(json.dumps(body, ensure_ascii=False).encode())


def _words(reply: Reply) -> str:
    assert isinstance(reply, Text | Markdown)
    return reply.content if isinstance(reply, Text) else reply.text


def _numbered(parts: list[Reply]) -> list[str]:
    """Return the words of each part without its number, which is checked."""
    count, words = len(parts), []
    for number, part in enumerate(parts, start=1):
        head = f"({number}/{count})" + ("\n" if isinstance(part, Text) else "\n\n")
        assert _words(part).startswith(head)
        words.append(_words(part).removeprefix(head))
    return words


def _rejoined(parts: list[Reply]) -> str:
    """Undo what splitting added, given that no opening line or table head comes twice in the text.

    Line ends are left out: which blank lines stood at a cut is not kept.
    """
    if len(parts) == 1:
        return _words(parts[0]).replace("\n", "")
    seen, joined = set[str](), list[str]()
    for words in _numbered(parts):
        lines = words.split("\n")
        if lines[0] in seen and lines[0].startswith("```"):
            assert joined.pop() == "```", "the code block was closed in the part before"
            lines = lines[1:]
        elif lines[0] in seen and lines[0].startswith("|head"):
            assert lines[1] == "|---|"
            lines = lines[2:]
        seen.update(line for line in words.split("\n") if line.startswith(("```", "|head")))
        joined += lines
    return "".join(joined)


_sentences = st.text(
    st.sampled_from('abc xyz 0123,."\\\t你好世界，。！😀👍🏽é'), min_size=1, max_size=300
).map(lambda s: f"w{s}")
_lines = st.lists(st.text('abc def{}()"\\你好😀', max_size=60).map(lambda s: f"c{s}"), max_size=40)


@st.composite
def _markdown(draw: st.DrawFn) -> str:
    blocks = list[str]()
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["words", "code", "table", "list", "heading", "blank"]))
        if kind == "words":
            blocks.append(draw(_sentences))
        elif kind == "code":
            blocks.append("\n".join([f"```lang{number}", *draw(_lines), "```"]))
        elif kind == "table":
            rows = [f"|{row}|" for row in draw(_lines)]
            blocks.append("\n".join([f"|head{number}|", "|---|", *rows]))
        elif kind == "list":
            blocks.append("\n".join(f"- {item}" for item in draw(_lines)))
        elif kind == "heading":
            blocks.append(f"## {draw(_sentences)}")
        else:
            blocks.append(draw(st.sampled_from(["   ", "\n\n\n", "\u3000\n \n"])))
    return "\n\n".join(blocks)


@given(_markdown().filter(str.strip))
def test_parts_of_markdown_join_to_the_original_and_fit(words):
    reply = Markdown(title="t", text=words)

    parts = split(reply, limit_bytes=LIMIT)

    assert all(_posted_bytes(part) <= LIMIT for part in parts)
    assert _rejoined(parts) == words.replace("\n", "")


@given(st.text(st.characters() | st.sampled_from("\n\n\n  你😀"), max_size=3000).filter(str.strip))
def test_parts_of_any_text_join_to_the_original_and_fit(words):
    reply = Text(content=words)

    parts = split(reply, limit_bytes=LIMIT)

    assert parts
    assert all(_posted_bytes(part) <= LIMIT for part in parts)
    if len(parts) == 1 and parts != [reply]:
        assert _words(parts[0]).strip() == reply.content.strip(), "blanks only at its ends"
    else:
        joined = "".join(_numbered(parts) if len(parts) > 1 else [_words(parts[0])])
        assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", reply.content)


@given(
    st.text(st.sampled_from('`~|-#>*. \t\r\nab你😀"\\1)'), max_size=3000).filter(str.strip),
    st.lists(st.text("abc123你", min_size=1, max_size=20), max_size=5),
)
def test_parts_of_broken_markdown_fit_with_their_mentions(words, mentions):
    limit = LIMIT + 1000
    reply = Markdown(title="t", text=words, at_user_ids=mentions, addressee='爱丽丝 "Alice"')

    parts = split(reply, limit_bytes=limit)

    assert parts
    assert all(_posted_bytes(part) <= limit for part in parts)
    assert all(len(proactive_message(part)[1].encode()) <= limit for part in parts)


def test_only_the_first_part_mentions_anybody():
    reply = Text(content="word " * 1000, at_user_ids=["u1"], addressee="Alice")

    first, *others = split(reply, limit_bytes=LIMIT)

    assert webhook_body(first)["text"]["content"].startswith("@u1 (1/")
    assert webhook_body(first)["at"]["atUserIds"] == ["u1"]
    assert proactive_message(first)[1].startswith('{"content": "@Alice (1/')
    for part in others:
        assert "at" not in webhook_body(part)
        assert "Alice" not in proactive_message(part)[1]


@given(st.text(max_size=2000), st.integers(100, 500), st.booleans())
def test_pieces_join_to_the_original_to_the_letter(words, largest, is_markdown):
    taken = list(pieces(words, largest=largest, is_markdown=is_markdown))

    assert "".join(piece.words for piece in taken) == words
    assert all(piece.size == json_bytes(piece.words) <= largest for piece in taken)


@settings(max_examples=20)
@given(st.integers(1, 60).map(lambda n: "你好😀\n\n" * n * 100))
def test_the_default_limits_are_those_of_dingtalk(words):
    for reply in (Text(content=words), Markdown(title="t", text=words)):
        assert all(_posted_bytes(part) <= MAX_BODY_BYTES for part in split(reply))
        for part in split(reply, limit_bytes=MAX_PROACTIVE_BYTES):
            assert len(proactive_message(part)[1].encode()) <= MAX_PROACTIVE_BYTES


@pytest.mark.parametrize("words", ["short", "a\n\n\n", "# heading\n\n```py\nx\n```"])
def test_a_reply_that_fits_is_left_as_it_is(words):
    reply = from_agent_text(words)

    assert split(reply) == [reply]


def test_a_cut_is_at_a_paragraph_when_there_is_one():
    paragraphs = [f"paragraph {n} " + "word " * 30 for n in range(12)]

    parts = split(Text(content="\n\n".join(paragraphs)), limit_bytes=LIMIT)

    assert len(parts) > 2
    for words in _numbered(parts):
        assert words.startswith("paragraph ")
        assert words.endswith("word ")


def test_a_cut_is_at_a_list_item_and_not_in_one():
    items = [f"- item {n}\n  more of it\n  and more of it " + "x" * 30 for n in range(40)]

    parts = split(Markdown(title="t", text="\n".join(items)), limit_bytes=LIMIT)

    assert len(parts) > 2
    assert all(words.startswith("- item") for words in _numbered(parts))


def test_a_heading_stays_with_its_text():
    sections = [f"## heading {n}\n\n" + "word " * 40 for n in range(12)]

    parts = split(Markdown(title="t", text="\n\n".join(sections)), limit_bytes=LIMIT)

    assert len(parts) > 2
    assert all(words.startswith("## heading") for words in _numbered(parts))


@pytest.mark.parametrize("mark", ["```", "~~~~", "  ```"])
def test_a_code_block_cut_in_two_is_closed_and_opened_again_with_its_language(mark):
    code = "\n".join(f"print({n})" for n in range(300))

    parts = split(Markdown(title="t", text=f"{mark}python\n{code}\n{mark}"), limit_bytes=LIMIT)

    assert len(parts) > 2
    for words in _numbered(parts):
        first, *lines, last = words.split("\n")
        assert (first, last) == (f"{mark}python", mark)
        assert all(re.fullmatch(r"print\(\d+\)", line) for line in lines)


def test_no_part_shows_a_code_block_without_code():
    for count in range(100, 300):
        words = "```\n" + "code\n" * count + "```\n\nafter it"

        parts = split(Markdown(title="t", text=words), limit_bytes=LIMIT)

        assert not any("```\n```" in words for words in map(_words, parts))


def test_a_blank_line_of_code_at_a_cut_is_kept():
    code = "\n\n".join(f"def f{n}(): ..." for n in range(200))

    parts = split(Markdown(title="t", text=f"```\n{code}\n```"), limit_bytes=LIMIT)

    lines = [line for words in _numbered(parts) for line in words.split("\n")[1:-1]]
    assert "\n".join(lines) == code


def test_code_of_which_nothing_is_left_is_not_opened_again():
    code = f"```\n{'x' * 700}\n```"
    words = f"{code}\n\nafter it\n\n{code}"

    parts = split(Markdown(title="t", text=words), limit_bytes=LIMIT)

    assert _numbered(parts) == [f"{code}\n\nafter it", code]


def test_a_table_cut_in_two_has_its_head_in_both():
    head = "| a | b |\n|---|:-:|"
    rows = "\n".join(f"| {n} | x |" for n in range(300))

    parts = split(Markdown(title="t", text=f"{head}\n{rows}\n\nafter"), limit_bytes=LIMIT)

    assert len(parts) > 2
    assert all(words.startswith(f"{head}\n| ") for words in _numbered(parts))
    assert _numbered(parts)[-1].endswith("\n\nafter")


def test_plain_text_has_no_code_blocks_and_no_tables():
    words = "```\n" + "x\n" * 1000 + "|a|\n|-|\n" + "|b|\n" * 500

    parts = split(Text(content=words), limit_bytes=LIMIT)

    assert "".join(_numbered(parts)).replace("\n", "") == words.replace("\n", "")


def test_a_long_line_is_cut_at_words():
    parts = split(Text(content="three little words " * 200), limit_bytes=LIMIT)

    assert len(parts) > 2
    assert {w for words in _numbered(parts) for w in words.split()} == {"three", "little", "words"}


@pytest.mark.parametrize("sign", ["👨‍👩‍👧‍👦", "👍🏽", "é", "❤️"])
def test_a_sign_of_several_characters_is_not_torn(sign):
    parts = split(Text(content=sign * 1000), limit_bytes=LIMIT)

    assert len(parts) > 2
    assert all(words == sign * (len(words) // len(sign)) for words in _numbered(parts))


@pytest.mark.parametrize("blank", ["\n", " ", "\u3000", " \n"])
def test_blanks_around_a_word_do_not_become_parts(blank):
    words = blank * 50_000 + "word" + blank * 50_000

    for reply in (Text(content=words), Markdown(title="t", text=words)):
        (only,) = split(reply)
        assert _words(only).strip() == "word"
        assert _posted_bytes(only) <= MAX_BODY_BYTES


def test_a_title_too_long_for_a_post_is_shortened():
    reply = Markdown(title="长" * 10_000, text="short")

    assert split(reply) == [Markdown(title="长" * 60, text="short")]


def test_a_limit_without_room_is_refused():
    with pytest.raises(ValueError, match="no room"):
        split(Text(content="x" * 1000), limit_bytes=300)


@pytest.mark.parametrize(
    "words",
    [
        "word 你好😀 " * 300_000,
        f"a paragraph {'word ' * 20}\n\n" * 45_000,
        f"```\n{'x' * 5_000_000}",
    ],
    ids=["one line", "paragraphs", "one line of code"],
)
def test_an_answer_of_megabytes_takes_seconds_at_most(words):
    """Splitting that copied the rest at each cut would take minutes with small parts."""
    started = time.process_time()

    parts = split(Markdown(title="t", text=words), limit_bytes=2_000)

    assert len(parts) > 1000
    assert time.process_time() - started < 20
