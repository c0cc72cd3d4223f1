import json
from typing import Any

import pytest

from dingwire.simulator.filestore import File, FileStore
from dingwire.simulator.msgkeys import check_content, text_of
from dingwire.simulator.refusals import RefusedError

FILES = FileStore(lambda: 0)
MEDIA = FILES.keep(File(b"x", "x.png"))

CARD = {"title": "t", "text": "x"}
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("sampleText", {"content": "hello"}),
    ("sampleMarkdown", {"title": "t", "text": "x"}),
    ("sampleImageMsg", {"photoURL": "https://a/b.png"}),
    ("sampleImageMsg", {"photoURL": MEDIA}),
    ("sampleLink", {"title": "t", "text": "x", "messageUrl": "https://a", "picUrl": "https://b"}),
    ("sampleActionCard", {**CARD, "singleTitle": "s", "singleURL": "u"}),
    *[
        (
            f"sampleActionCard{count}",
            CARD
            | {f"actionTitle{number}": "b" for number in range(1, count + 1)}
            | {f"actionURL{number}": "u" for number in range(1, count + 1)},
        )
        for count in range(2, 6)
    ],
    (
        "sampleActionCard6",
        {**CARD, "buttonTitle1": "a", "buttonUrl1": "u", "buttonTitle2": "b", "buttonUrl2": "u"},
    ),
    ("sampleAudio", {"mediaId": MEDIA, "duration": "4000"}),
    ("sampleFile", {"mediaId": MEDIA, "fileName": "a.pdf", "fileType": "pdf"}),
    (
        "sampleVideo",
        {"duration": "5", "videoMediaId": MEDIA, "videoType": "mp4", "picMediaId": MEDIA},
    ),
]


def code(key: str, param: dict[str, Any], *, image_by_media_id: bool = True) -> str | None:
    body = {"msgKey": key, "msgParam": json.dumps(param)}
    try:
        check_content(body, FILES, image_by_media_id=image_by_media_id)
    except RefusedError as refused:
        return refused.code
    return None


@pytest.mark.parametrize(("key", "param"), GOOD)
def test_each_key_is_welcome_with_all_its_members_and_with_no_less(key, param):
    assert code(key, param) is None
    for name in param.keys() - {"picUrl"}:
        rest = {each: value for each, value in param.items() if each != name}
        found = code(key, rest)
        assert found is not None, name
        assert found.startswith(("miss.param.", "invalidParameter.msgParam")), name


def test_the_code_names_the_member_that_is_missing():
    assert code("sampleMarkdown", {"text": "x"}) == "miss.param.markdownTotitle"
    assert code("sampleMarkdown", {"title": "t"}) == "miss.param.markdownTotext"
    assert code("sampleFile", {"mediaId": MEDIA}) == "miss.param.file"


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("sampleFile", {"mediaId": "@unknown"}),
        ("sampleFile", {"fileType": "exe"}),
        ("sampleVideo", {"videoType": "avi"}),
        ("sampleAudio", {"duration": 4000}),
        ("sampleAudio", {"duration": "4 s"}),
        ("sampleImageMsg", {"photoURL": "not an address"}),
    ],
)
def test_a_member_can_be_there_and_wrong(key, changes):
    param = next(each for name, each in reversed(GOOD) if name == key)

    assert code(key, {**param, **changes}) == "invalidParameter.param.invalid"


def test_a_picture_by_its_media_id_can_be_switched_off():
    wrong = "invalidParameter.param.invalid"
    assert code("sampleImageMsg", {"photoURL": MEDIA}, image_by_media_id=False) == wrong


@pytest.mark.parametrize(
    ("key", "param", "text"),
    [
        ("sampleText", {"content": "hello"}, "hello"),
        ("sampleActionCard", {**CARD, "singleTitle": "s"}, "x"),
        ("sampleFile", {"fileName": "a.pdf"}, "[a.pdf]"),
        ("sampleImageMsg", {"photoURL": MEDIA}, "[image]"),
        ("sampleVideo", {}, "[video]"),
    ],
)
def test_the_text_is_what_people_see(key, param, text):
    assert text_of({"msgKey": key, "msgParam": json.dumps(param)}) == text
