"""Every kind of reply on the wire, as in tests/samples/replies, and what no reply is made of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dingwire.replies import (
    MAX_PROACTIVE_BYTES,
    ActionCard,
    Audio,
    Button,
    Card,
    FeedCard,
    FeedLink,
    File,
    Image,
    InvalidReplyError,
    Link,
    Markdown,
    Reply,
    Text,
    Video,
    proactive_message,
    replies_from_json,
    replies_to_json,
    webhook_body,
)

SAMPLES = Path(__file__).parents[2] / "samples" / "replies"
ADDRESS = "https://example.com/status"
PICTURE = "https://example.com/a.png"
SECRET = "my salary"


def _buttons(count: int) -> list[Button]:
    return [Button(title=f"Option {n}", url=f"{ADDRESS}/{n}") for n in range(1, count + 1)]


def _card(count: int, *, horizontal: bool = False) -> ActionCard:
    buttons = _buttons(count)
    return ActionCard(title="Deploy?", text="### Deploy?", buttons=buttons, horizontal=horizontal)


COVER = Image(media_id="@lADcover")
KINDS: dict[str, Reply] = {
    "text": Text(content="all 4 jobs are done"),
    "markdown": Markdown(title="Status", text="# Status\n\n- **all** done"),
    "link": Link(title="Status", text="all done", url=ADDRESS, picture=PICTURE),
    "action-card-single": _card(1),
    "action-card-2": _card(2),
    "action-card-2-horizontal": _card(2, horizontal=True),
    "action-card-3": _card(3),
    "action-card-4": _card(4),
    "action-card-5": _card(5),
    "feed-card": FeedCard(
        links=[
            FeedLink(title="Status", url=ADDRESS, picture=PICTURE),
            FeedLink(title="History", url=f"{ADDRESS}/old", picture="@lADpicture"),
        ]
    ),
    "image-by-address": Image(url=PICTURE),
    "image-uploaded": Image(media_id="@lADpicture"),
    "file": File(media_id="@lADfile", name="report.PDF"),
    "audio": Audio(media_id="@lADvoice", duration_s=4.2),
    "video": Video(media_id="$iAEvideo", duration_s=12, cover=COVER, width=640, height=360),
    "card": Card(template_id="abc.schema", values={"status": "ok"}, text="# Status\n\nall done"),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_its_documented_forms(name):
    reply = KINDS[name]
    key, param = proactive_message(reply)
    forms = {
        "goes_by_webhook": reply.goes_by_webhook,
        "goes_proactively": reply.goes_proactively,
        "webhook": webhook_body(reply),
        "msgKey": key,
        "msgParam": json.loads(param),
    }

    assert forms == json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


def test_every_sample_is_of_a_kind():
    assert {path.stem for path in SAMPLES.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_can_be_kept(name):
    assert replies_from_json(replies_to_json([KINDS[name]])) == [KINDS[name]]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_closest_to_a_kind_goes_every_way(name):
    closest = KINDS[name].closest()

    assert closest.goes_by_webhook
    assert closest.goes_proactively
    assert len(proactive_message(closest)[1].encode()) <= MAX_PROACTIVE_BYTES


LONG = SECRET * 2_000


def _make(kind: Callable[..., object], **fields: Any) -> object:
    return kind(**fields)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Text(content=" \n"), "Text: content: must not be blank"),
        (lambda: Text(content=3), "Text: content: input should be a valid string"),
        (
            lambda: _make(Text, contents=SECRET),
            "Text: content: field required; contents: extra inputs",
        ),
        (lambda: Text(content="a", at_user_ids=["u 1"]), "at_user_ids.0: must be a staff id"),
        (lambda: Text(content="a", at_user_ids=[""]), "at_user_ids.0: must be a staff id"),
        (lambda: Text(content="a", at_user_ids=["u" * 65]), "at_user_ids.0: must be a staff id"),
        (lambda: Markdown(title="", text="a"), "Markdown: title: must not be blank"),
        (lambda: _make(Markdown, title="a"), "Markdown: text: field required"),
        (lambda: Link(title=" ", text="a", url=ADDRESS), "Link: title: must not be blank"),
        (lambda: Link(title="a", text="a", url=f"javascript:{SECRET}"), "Link: url: must be an ad"),
        (lambda: Link(title="a", text="a", url="example.com"), "Link: url: must be an address"),
        (lambda: Link(title="a", text=LONG, url=ADDRESS), "15000 bytes of JSON: it has 18"),
        (lambda: _card(0), "ActionCard: buttons: tuple should have at least 1 item"),
        (lambda: _card(6), "ActionCard: buttons: tuple should have at most 5 items"),
        (lambda: Button(title="a", url="ftp://a.example/"), "Button: url: must be an address"),
        (lambda: FeedCard(links=[]), "FeedCard: links: tuple should have at least 1 item"),
        (lambda: _make(FeedLink, title="a", url=ADDRESS), "FeedLink: picture: field required"),
        (lambda: Image(), "Image: give one of media_id, path, data, url: 0 were given"),
        (lambda: Image(url=PICTURE, media_id="@a"), "Image: give one of .* 2 were given"),
        (lambda: Image(url="dingtalk://a/b.png"), "Image: url: must be an address"),
        (lambda: Image(path=f"{SECRET}.svg"), "Image: name: must end in one of bmp, gif, jpeg"),
        (lambda: File(path=f"{SECRET}.exe"), "File: name: must end in one of doc, docx"),
        (lambda: File(media_id="@a"), "File: name: must end in one of doc, docx"),
        (lambda: File(data=b"", name="a.pdf"), "File: data: must not be empty"),
        (lambda: _make(Audio, path="a.amr"), "Audio: duration_s: field required"),
        (lambda: Audio(path="a.amr", duration_s=0), "Audio: duration_s: input should be greater"),
        (lambda: _make(Video, path="a.mp4", duration_s=1), "Video: cover: field required"),
        (lambda: Video(path="a.mp4", duration_s=1, cover=Image(url=PICTURE)), "Video: cover: give"),
        (lambda: Video(path="a.avi", duration_s=1, cover=COVER), "Video: name: must end in one of"),
        (lambda: Card(template_id="", text="a"), "Card: template_id: string should have at least"),
        (lambda: Card(template_id="a", text=""), "Card: text: must not be blank"),
        (lambda: Card(template_id="a", text="a", values={"": 1}), "Card: values: a name has 1 to"),
        (lambda: Card(template_id="a", text="a", values={"a": object()}), "Card: values: must be"),
        (lambda: Card(template_id="a", text="a", values={"a": LONG}), "15000 bytes of JSON"),
    ],
)
def test_what_dingtalk_would_refuse_is_refused_when_it_is_made(make, problem):
    """The text tells the author which field and which limit, and nothing of what it held."""
    with pytest.raises(InvalidReplyError, match=problem) as caught:
        make()

    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_file_is_called_as_its_path_says():
    assert File(path="/srv/reports/march.pdf").name == "march.pdf"
    assert File(path="/tmp/x81.pdf", name="march.pdf").name == "march.pdf"


@pytest.mark.parametrize("scheme", ["http", "https", "dingtalk", "dtmd"])
def test_a_button_may_open_a_page_or_dingtalk_itself(scheme):
    assert Button(title="go", url=f"{scheme}://dingtalkclient/page").url.startswith(scheme)


def test_signs_that_utf_8_lacks_are_replaced():
    assert Text(content="a\ud800b").content == "a?b"


def test_signs_of_markdown_do_not_break_a_link_in_the_closest_form():
    link = Link(title="[a] b", text="x", url="https://example.com/wiki/A_(b)")

    assert link.closest().text == "[\\[a\\] b](https://example.com/wiki/A_%28b%29)\n\nx"
