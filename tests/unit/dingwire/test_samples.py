"""Every sample of a message, and exactly what is read of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dingwire.content import AtUser, Media
from dingwire.messages import parse_bot_message
from dingwire.quotes import QuotedMessage

SAMPLES = Path(__file__).parents[2] / "samples"

PICTURE = Media(kind="picture", download_code="codeA")
BOT = AtUser(dingtalk_id="$:LWCP_v1:$SampleBot==", is_bot=True)
CAROL = AtUser(staff_id="u300", dingtalk_id="$:LWCP_v1:$SampleCarol==")


def _quoted(**fields: Any) -> QuotedMessage:
    usual = {
        "message_id": "msgOld==",
        "sender_id": "$:LWCP_v1:$SampleCarol==",
        "sender_nick": "Carol",
        "created_at": datetime(2025, 12, 31, 23, 50, tzinfo=UTC),
        "process_query_key": "pqkSample1",
    }
    return QuotedMessage(**{**usual, **fields})


def _quoting(kind: str = "text", **fields: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "text": "and this one?",
        "mentioned": (BOT,),
        "quoted": _quoted(**fields),
    }


DEPLOYED = {"kind": "text", "text": "deploy finished"}
OLD_PICTURE = Media(kind="picture", download_code="codeOld")

# What differs from a text message without words.
EXPECTED: dict[str, dict[str, Any]] = {
    "audio": {
        "kind": "audio",
        "text": "turn the lights off",
        "media": (Media(kind="audio", download_code="codeA", duration_ms=4000),),
    },
    "audio-without-words": {
        "kind": "audio",
        "media": (Media(kind="audio", download_code="codeA"),),
    },
    "card-with-words": {
        "kind": "interactiveCard",
        "text": "Weekly plan",
        "raw": {
            "content": {
                "title": "Weekly plan",
                "biz_custom_action_url": "dingtalk://sample/preview?spaceId=1&fileId=2",
            }
        },
    },
    "chat-record": {
        "kind": "chatRecord",
        "text": "Alice: done\nBob: thanks",
        "raw": {
            "content": {
                "summary": "Alice: done\nBob: thanks",
                "title": "Chat of Alice and Bob",
                "chatRecord": "[]",
            }
        },
    },
    "chat-record-array": {
        "kind": "chatRecord",
        "text": "Alice: look\nBob: nice\nodd entry",
        "media": (PICTURE,),
        "raw": ...,
    },
    "chat-record-entries": {
        "kind": "chatRecord",
        "text": "Alice: deploy done\nBob: [picture]\nAlice: thanks",
        "media": (PICTURE,),
        "raw": ...,
    },
    "content-in-a-string": {"kind": "richText", "text": "inside", "media": (PICTURE,)},
    "delegated": {
        "text": "is he in?",
        "session_webhook": None,
        "raw": {
            "hostingContext": {"userId": "u400", "nick": "Dan"},
            "conversationMsgContext": [
                {"readStatus": "1", "senderUserId": "u200", "sendTime": 1767225590000}
            ],
        },
    },
    "extra-fields": {
        "text": "hello",
        "raw": {
            "senderPlatform": "Mac",
            "senderUnionId": "union1",
            "ai_robot_sessionid": "",
            "fieldOfTomorrow": {"nested": [1, "two", None]},
        },
    },
    "file": {
        "kind": "file",
        "media": (Media(kind="file", download_code="codeA", name="plan.pdf"),),
        "raw": {
            "content": {
                "spaceId": "1",
                "fileName": "plan.pdf",
                "downloadCode": "codeA",
                "fileId": "2",
            }
        },
    },
    "file-without-code": {
        "kind": "file",
        "media": (Media(kind="file", name="plan.pdf"),),
        "raw": {"content": {"spaceId": "1", "fileName": "plan.pdf", "fileId": "2"}},
    },
    "loose-types": {"text": "12", "sender_staff_id": "200", "sender_nick": ""},
    "markdown": {"kind": "markdown", "text": "**bold** words"},
    "mentions": {
        "text": "please look",
        "mentioned": (BOT, CAROL, AtUser(dingtalk_id="$:LWCP_v1:$SampleOutsider==")),
    },
    "not-a-quote": {"text": "hello"},
    "nulls": {
        "text": "hello",
        "sender_staff_id": None,
        "sender_nick": "",
        "sender_is_admin": False,
    },
    "outsider": {
        "text": "hi from outside",
        "sender_staff_id": None,
        "sender_is_admin": False,
    },
    "picture": {"kind": "picture", "media": (PICTURE,)},
    "quota-used-up": {"error_code": 20001, "error_message": "quota used up"},
    "quote": {
        "text": "and this one?",
        "quoted": QuotedMessage(message_id="msgOld==", **DEPLOYED),
    },
    "quote-audio": _quoting(
        kind="text",
    )
    | {
        "quoted": _quoted(
            kind="audio",
            media=(Media(kind="audio", download_code="codeOld", duration_ms=2000),),
        )
    },
    "quote-chat-record": _quoting() | {"quoted": _quoted(kind="chatRecord")},
    "quote-file": _quoting()
    | {"quoted": _quoted(kind="file", media=(Media(kind="file", name="plan.pdf"),))},
    "quote-in-a-string": _quoting() | {"quoted": _quoted(**DEPLOYED)},
    "quote-legacy": {
        "text": "and this one?",
        "quoted": _quoted(**DEPLOYED, created_at=None, process_query_key=""),
    },
    "quote-malformed": _quoting()
    | {"quoted": QuotedMessage(message_id="msgOld==", process_query_key="pqkSample1")},
    "quote-own-card": _quoting()
    | {
        "quoted": _quoted(
            kind="interactiveCard",
            sender_id="$:LWCP_v1:$SampleBot==",
            sender_nick="",
            is_from_bot=True,
        )
    },
    "quote-picture": _quoting() | {"quoted": _quoted(kind="picture", media=(OLD_PICTURE,))},
    "quote-rich-text": _quoting()
    | {"quoted": _quoted(kind="richText", text="look", media=(OLD_PICTURE,))},
    "quote-text": _quoting() | {"quoted": _quoted(**DEPLOYED)},
    "quote-under-content": _quoting(kind="richText") | {"quoted": _quoted(**DEPLOYED)},
    "quote-unknown": _quoting() | {"quoted": _quoted(kind="unknownMsgType", text="a vote")},
    "quote-video": _quoting()
    | {
        "quoted": _quoted(
            kind="video",
            media=(
                Media(
                    kind="video",
                    download_code="codeOld",
                    duration_ms=2000,
                    media_type="video/mp4",
                ),
            ),
        )
    },
    "rich-text": {"kind": "richText", "text": "look at \nthis, please", "media": (PICTURE,)},
    "rich-text-harmonyos": {
        "kind": "richText",
        "text": "is the build green?",
        "media": (PICTURE,),
        "mentioned": (BOT,),
    },
    "rich-text-mentions": {
        "kind": "richText",
        "text": "ask @Carol\n[微笑]\nabout these",
        "media": (PICTURE, Media(kind="picture", download_code="codeC")),
        "mentioned": (
            BOT.model_copy(update={"name": "Helper"}),
            CAROL.model_copy(update={"name": "Carol"}),
        ),
    },
    "rich-text-only-pictures": {"kind": "richText", "media": (PICTURE,)},
    "rich-text-unknown-item": {
        "kind": "richText",
        "text": "see this",
        "raw": {"content": {"richText": [{"type": "hologram", "hologramId": "h1"}]}},
    },
    "shared-card": {
        "kind": "interactiveCard",
        "raw": {"content": {"biz_custom_action_url": "dingtalk://sample/preview"}},
    },
    "text-group": {
        "text": "is the build green?",
        "sender_staff_id": "u100",
        "sender_nick": "Alice",
        "sender_is_admin": False,
        "mentioned": (
            BOT,
            AtUser(staff_id="u200", dingtalk_id="$:LWCP_v1:$SampleBob=="),
        ),
        "raw": {"senderPlatform": "Mac"},
    },
    "text-private": {"text": "hello"},
    "unknown-type": {
        "kind": "unknownMsgType",
        "raw": {
            "ai_robot_sessionid": "",
            "content": {"unknownMsgType": "this kind of message is not supported"},
        },
    },
    "video": {
        "kind": "video",
        "media": (
            Media(kind="video", download_code="codeA", duration_ms=5000, media_type="video/mp4"),
        ),
    },
    "video-milliseconds": {
        "kind": "video",
        "media": (
            Media(kind="video", download_code="codeA", duration_ms=4000, media_type="video/mp4"),
        ),
    },
}
USUAL: dict[str, Any] = {
    "kind": "text",
    "text": "",
    "media": (),
    "quoted": None,
    "mentioned": (),
    "raw": {},
    "error_code": None,
    "error_message": "",
    "sender_staff_id": "u200",
    "sender_nick": "Bob",
    "sender_is_admin": True,
    "session_webhook": ...,
}
# In every sample, and told nowhere else.
CORPORATIONS = {"senderCorpId": "dingcorpsample", "chatbotCorpId": "dingcorpsample"}


def _payload(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return payload


def test_every_sample_is_here():
    assert set(EXPECTED) == {path.stem for path in SAMPLES.glob("*.json")}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_is_read_as_it_should(name):
    payload = _payload(name)
    message = parse_bot_message(payload)

    expected = USUAL | EXPECTED[name]
    found = {field: getattr(message, field) for field in expected}
    if expected["raw"] is ...:
        # A forwarded chat, of which everything is kept as it came.
        expected["raw"] = {"content": payload["content"]}
    expected["raw"] = expected["raw"] | CORPORATIONS
    if expected["session_webhook"] is ...:
        expected["session_webhook"] = payload["sessionWebhook"]
    assert found == expected
    assert (message.message_id, message.robot_code) == (
        payload["msgId"], payload["robotCode"] or "",
    )  # fmt: skip
    assert message.is_group == (str(payload["conversationType"]) == "2")


@pytest.mark.parametrize("name", EXPECTED)
def test_no_sample_shows_what_is_private(name):
    payload = _payload(name)
    message = parse_bot_message(payload)

    shown = repr(message)
    for private in ("sendBySession", "Bob", "Carol", "codeA", "codeOld", "plan.pdf", "finished"):
        assert private not in shown.replace("$:LWCP_v1:$SampleBob==", "").replace(
            "$:LWCP_v1:$SampleCarol==", ""
        )


def test_what_nobody_reads_is_bounded_and_holds_no_webhook():
    payload = _payload("extra-fields") | {
        "large": "x" * 20_000,
        "otherWebhookUrl": "https://oapi.dingtalk.com/robot/sendBySession?session=other",
        "\ud800": "half",
        "number": float("nan"),
        "huge": 10**40,
        "deep": json.loads("[" * 50 + "]" * 50),
    }

    raw = parse_bot_message(payload).raw

    assert "large" not in raw
    assert "sendBySession" not in json.dumps(raw)
    assert raw["fieldOfTomorrow"] == {"nested": [1, "two", None]}
    assert (raw["?"], raw["number"], raw["huge"]) == ("half", None, None)
    assert len(json.dumps(raw)) < 16 * 1024


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        (4000, 4000), ("4000", 4000), (5, 5000), ("5", 5000), (999, 999_000), (1000, 1000),
        (0, None), (-5, None), (None, None), ("long", None), (10**12, None), ([], None),
    ],
)  # fmt: skip
def test_a_duration_too_short_for_milliseconds_is_seconds(duration, ms):
    payload = _payload("video")
    payload["content"]["duration"] = duration

    assert parse_bot_message(payload).media[0].duration_ms == ms


@pytest.mark.parametrize(
    "quote", [None, 7, "text", [], {}, {"content": [1]}, '"x"', {"msgType": {}}]
)
@pytest.mark.parametrize("holder", ["text", "content", None])
def test_a_quote_never_costs_the_message(quote, holder):
    payload = _payload("text-private")
    members = {"isReplyMsg": True, "repliedMsg": quote, "quoteMessage": quote}
    if holder:
        payload[holder] = {**payload.get(holder, {}), **members}
    else:
        payload |= members

    message = parse_bot_message(payload)

    assert message.text == "hello"
    assert message.quoted is not None


def test_a_mention_written_out_is_cut_only_where_the_bot_was_mentioned():
    private = _payload("rich-text") | {"content": {"richText": [{"text": "@Carol knows"}]}}
    group = _payload("rich-text-harmonyos") | {"content": {"richText": [{"text": "@Helper "}]}}
    once = _payload("rich-text-harmonyos") | {
        "content": {"richText": [{"text": "@Helper\u2005ask @Carol"}]}
    }

    assert parse_bot_message(private).text == "@Carol knows"
    assert parse_bot_message(group).text == ""
    assert parse_bot_message(once).text == "ask @Carol"


def test_as_many_items_as_fit_into_a_frame_are_read_at_once():
    """What takes a time that grows with the square of them would hold up the socket."""
    payload = _payload("rich-text-mentions")
    items = payload["content"]["richText"] + [{"text": "a"}] * 100_000
    items += [{"type": "at", "atUserId": f"u{n}", "atName": "x"} for n in range(20_000)]
    payload["content"]["richText"] = items
    payload["atUsers"] += [{"dingtalkId": f"$:{n}", "staffId": f"u{n}"} for n in range(20_000)]

    message = parse_bot_message(payload)

    assert len(message.text) > 100_000
    assert len(message.mentioned) == 20_002
