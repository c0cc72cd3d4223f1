"""What a language model is shown of attachments."""

import asyncio
import base64

import pytest

from tests.unit.worker.openai_parts import PNG, code, message
from worker.agents.openai.reading import Reader

READER = Reader(takes_pictures=True, picture_bytes=1000, text_bytes=1024)


def shown(tmp_path, *codes, reader=READER, has_words=False, **files):
    named = {name.replace("_", "."): content for name, content in files.items()}
    attachments = message(attachments=codes, files=named, folder=tmp_path).attachments
    return asyncio.run(reader.read(attachments, has_words=has_words))


def test_a_picture_is_shown_as_it_is(tmp_path):
    [picture] = shown(tmp_path, code("p", "picture"), p=PNG)

    assert picture.words == ""
    assert picture.picture == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"RIFF\0\0\0\0WEBP", "webp")],
    ids=["jpeg", "gif", "webp"],
)
def test_its_kind_is_what_it_begins_with(tmp_path, content, kind):
    [picture] = shown(tmp_path, code("p", "picture"), p=content)
    assert picture.picture.startswith(f"data:image/{kind};base64,")


def test_a_model_that_takes_no_pictures_is_told_of_them_and_none_is_fetched(tmp_path):
    [picture] = shown(tmp_path, code("p", "picture"), reader=Reader(False, 1000, 1024))
    assert (picture.words, picture.picture) == ("[picture p: you are not shown what is in it]", "")


def test_what_is_too_large_or_no_picture_is_said_to_be(tmp_path):
    [large] = shown(tmp_path, code("p", "picture"), p=PNG + bytes(1000))
    [other] = shown(tmp_path, code("p", "picture"), p=b"<svg/>")

    assert (large.words, large.picture) == ("[picture: it is too large to be shown to you]", "")
    assert (other.words, other.picture) == ("[picture: of a kind that cannot be shown to you]", "")


def test_of_very_many_pictures_the_first_are_shown(tmp_path):
    pictures = shown(tmp_path, *[code("p", "picture")] * 10, p=PNG)
    assert [bool(each.picture) for each in pictures] == [True] * 8 + [False] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_text_file_is_shown_in_words(tmp_path, encoding):
    text = "价格，报价\n一，二\n"

    [file] = shown(tmp_path, code("a.csv"), a_csv=text.encode(encoding))

    assert file.words == "[file a.csv:]\n价格，报价\n一，二\n[end of a.csv]"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_long_one_is_cut_and_said_to_be_even_inside_a_character(tmp_path, encoding):
    content = ("x" + "好" * 2000).encode(encoding)

    [file] = shown(tmp_path, code("a.txt"), a_txt=content)

    head, text, cut, end = file.words.split("\n")
    assert (head, end) == ("[file a.txt:]", "[end of a.txt]")
    assert set(text) == {"x", "好"}
    assert 300 < len(text) <= 1024
    assert cut == "[cut: only its first 1 KiB are shown]"


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xff\xff\xff"], ids=["nul", "no encoding"])
def test_what_only_has_the_name_of_a_text_is_no_text(tmp_path, content):
    [file] = shown(tmp_path, code("a.txt"), a_txt=content)
    assert file.words == "[file a.txt: it is no text]"


def test_other_files_are_named_and_not_fetched(tmp_path):
    shown_ = shown(tmp_path, code("a\n.pdf"), code("v", "video", duration_ms=2500))
    assert [each.words for each in shown_] == [
        "[file a .pdf: you are not shown what is in it]",
        "[video v of 2.5 s: you are not shown what is in it]",
    ]
    [none] = shown(tmp_path, code("a.txt"), reader=Reader(True, 1000, 0))
    assert none.words == "[file a.txt: you are not shown what is in it]"


def test_what_cannot_be_fetched_is_told_to_the_model(tmp_path):
    [file] = shown(tmp_path, code("a.txt"))
    assert file.words == "[file a.txt: it could not be fetched: its code is too old]"


def test_of_voice_that_has_words_nothing_more_is_said(tmp_path):
    voice = code("", "audio", duration_ms=3000)

    [with_words] = shown(tmp_path, voice, has_words=True)
    [without] = shown(tmp_path, voice)

    assert with_words.words == ""
    assert without.words == "[audio of 3 s: you are not shown what is in it]"
