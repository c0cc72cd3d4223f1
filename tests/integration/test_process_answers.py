"""A real worker answers with each kind of reply, in private and to a group."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dingwire.simulator.records import Message
from tests.integration.worker_place import WorkerPlace, place
from tests.servers import wait_for

SAMPLES = Path(__file__).parents[1] / "samples" / "replies"
BOT = "dingprocess"
BY_WEBHOOK = [
    *("text", "markdown", "link", "feed-card", "action-card-single"),
    *("action-card-2", "action-card-2-horizontal", "action-card-5"),
]

# Says what it is asked for, by the name of the sample; what has content brings its own.
AGENT = """
from pathlib import Path

from tests.unit.dingwire.test_reply_kinds import KINDS
from worker.agents import Audio, Card, File, Image, Text, Video

HELD = {
    "picture": lambda: Image(data=b"a picture", name="chart.png"),
    "file": lambda: File(path=Path(__file__).with_name("report.pdf")),
    "voice": lambda: Audio(data=b"a voice", name="a.amr", duration_s=1.5),
    "film": lambda: Video(
        data=b"a film", name="a.mp4", duration_s=9, cover=Image(data=b"a cover", name="c.jpg")
    ),
    "card": lambda: Card(template_id="a.schema", values={"n": 1}, text="# one"),
    "several": lambda: ["first", HELD["picture"](), "# last"],
    "missing": lambda: [File(path="/nowhere/of-this-name.pdf", name="gone.pdf"), "but this"],
    "bad": lambda: Text(content="x", at_user_ids=["not an id"]),
    "wrong": lambda: {"text": "x"},
    "nothing": lambda: [],
}


async def answer(message):
    return HELD[message.text]() if message.text in HELD else KINDS[message.text]
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[WorkerPlace]:
    """One worker and one listener for all of them."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "saying.py").write_text(AGENT)
    (folder / "report.pdf").write_bytes(b"a report")
    with place(folder, redis_url) as here:
        here.worker(AGENT="saying:answer", REPLY_AT_SENDER="true")
        here.listener()
        yield here


@pytest.fixture(params=["private", "group"])
def where(request: pytest.FixtureRequest) -> str:
    """The kind of conversation."""
    return str(request.param)


def _say(here: WorkerPlace, text: str, where: str) -> Message:
    """Say it where nothing else was said, as far as a group is concerned."""
    return here.simulator.say(text, "alice", f"about {text}" if where == "group" else None)


def _posted(here: WorkerPlace, message: Message, count: int = 1) -> list[dict[str, Any]]:
    """Wait for so many posts after a message, and return their bodies."""

    def posts() -> list[dict[str, Any]]:
        later = (r for r in here.simulator.accepted if r.at_ms >= message.created_at_ms)
        return [r.body for r in later if r.conversation_id == message.conversation_id]

    wait_for(lambda: len(posts()) >= count, what=f"{count} posts after {message.text}")
    return posts()


def _sent(here: WorkerPlace, message: Message) -> tuple[str, dict[str, Any]]:
    """Wait for a send by the API to the message's conversation."""

    def sends() -> list[Any]:
        made = [s for s in here.simulator.proactive if s.at_ms >= message.created_at_ms]
        return [s for s in made if message.conversation_id in s.conversation_ids]

    wait_for(sends, what=f"a send after {message.text}")
    (send,) = sends()
    assert send.accepted
    return send.body["msgKey"], json.loads(send.body["msgParam"])


@pytest.mark.parametrize("kind", BY_WEBHOOK)
def test_what_a_webhook_carries_is_posted_as_documented(here, where, kind):
    message = _say(here, kind, where)

    (body,) = _posted(here, message)

    assert body.pop("msgUuid")
    expected = json.loads((SAMPLES / f"{kind}.json").read_text("utf-8"))["webhook"]
    if where == "group" and kind not in {"link", "feed-card"}:
        assert body.pop("at") == {"atUserIds": ["alice"], "isAtAll": False}
        shown = body[body["msgtype"]]
        name = "content" if "content" in shown else "text"
        mention = "@alice " if name == "content" else "@alice\n\n"
        assert shown[name].startswith(mention)
        shown[name] = shown[name].removeprefix(mention)
    assert body == expected


@pytest.mark.parametrize(
    ("text", "key", "held", "fields"),
    [
        ("picture", "sampleImageMsg", {"photoURL": b"a picture"}, {}),
        ("file", "sampleFile", {"mediaId": b"a report"}, {"fileName": "report.pdf"}),
        ("voice", "sampleAudio", {"mediaId": b"a voice"}, {"duration": "1500"}),
        (
            "film",
            "sampleVideo",
            {"videoMediaId": b"a film", "picMediaId": b"a cover"},
            {"duration": "9", "videoType": "mp4"},
        ),
    ],
)
def test_what_a_webhook_does_not_carry_is_uploaded_and_sent(here, where, text, key, held, fields):
    msg_key, param = _sent(here, _say(here, text, where))

    assert msg_key == key
    assert {name: here.simulator.uploaded(param[name]) for name in held} == held
    assert param | fields == param


def test_a_card_is_delivered_to_the_conversation(here, where):
    message = _say(here, "card", where)

    def cards() -> list[Any]:
        made = here.simulator.cards.values()
        return [each for each in made if each.created_at_ms >= message.created_at_ms]

    wait_for(cards, what="a card")
    (card,) = cards()
    assert (card.template_id, card.params) == ("a.schema", {"n": "1"})
    assert card.conversation_ids == [message.conversation_id]


def test_several_replies_arrive_in_order(here, where):
    message = _say(here, "several", where)

    first, last = _posted(here, message, 2)
    _, picture = _sent(here, message)

    assert first["text"]["content"].endswith("first")
    assert last["markdown"]["text"] == "# last"
    assert here.simulator.uploaded(picture["photoURL"]) == b"a picture"


def test_an_upload_that_fails_is_named_and_the_rest_arrives(here, where):
    gone, rest = _posted(here, _say(here, "missing", where), 2)

    assert gone["text"]["content"].endswith("[File] gone.pdf")
    assert rest["text"]["content"].endswith("but this")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("bad", "Text: at_user_ids.0: must be a staff id"),
        ("wrong", "returned dict, which is neither text nor a reply"),
    ],
)
def test_a_reply_that_cannot_be_made_is_told_to_the_operator(here, text, detail):
    message = _say(here, text, "private")

    def missed() -> list[dict[str, Any]]:
        return [each for each in here.missed() if each["message_id"] == message.message_id]

    wait_for(missed, what="a missed reply")
    (found,) = missed()
    assert found["reason"] == "agent_failed"
    assert found["detail"].startswith(detail)
