"""Chat messages of every kind; the samples are in tests/samples."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dingwire.content import AtUser
from dingwire.messages import QUOTA_USED_UP, BotMessage, parse_bot_message

SAMPLES = Path(__file__).parents[2] / "samples"


def sample(name: str, **changed: Any) -> BotMessage:
    payload = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return parse_bot_message(payload | changed)


def test_a_group_message_is_read_whole():
    assert sample("text-group") == BotMessage(
        message_id="msgSampleGroup01+/==",
        conversation_id="cidSampleGroup01==",
        is_group=True,
        conversation_title="Night shift",
        sender_id="$:LWCP_v1:$SampleAlice==",
        sender_staff_id="u100",
        sender_nick="Alice",
        robot_code="dingsampleapp",
        kind="text",
        text="is the build green?",
        session_webhook=(
            "https://oapi.dingtalk.com/robot/sendBySession?session=00000000000000000000000000000001"
        ),
        webhook_expires_at=datetime(2026, 1, 1, 1, 30, 0, 260000, tzinfo=UTC),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        is_in_at_list=True,
        mentioned=(
            AtUser(dingtalk_id="$:LWCP_v1:$SampleBot==", is_bot=True),
            AtUser(staff_id="u200", dingtalk_id="$:LWCP_v1:$SampleBob=="),
        ),
        raw={
            "chatbotCorpId": "dingcorpsample",
            "senderCorpId": "dingcorpsample",
            "senderPlatform": "Mac",
        },
    )


def test_a_private_message_is_no_group_message():
    message = sample("text-private")

    assert not message.is_group
    assert message.conversation_title == ""
    assert not message.is_in_at_list


def test_a_kind_nobody_has_seen_arrives_too():
    message = sample("picture", msgtype="hologram", content={"text": "hi"})

    assert (message.kind, message.text) == ("hologram", "hi")


def test_a_message_beyond_the_quota_says_so():
    message = sample("quota-used-up")

    assert message.error_code == QUOTA_USED_UP
    assert (message.text, message.error_message) == ("", "quota used up")


def test_an_outsider_has_no_staff_id():
    assert sample("outsider").sender_staff_id is None
    assert sample("text-private", senderStaffId="").sender_staff_id is None
    assert sample("text-private", senderStaffId=None).sender_staff_id is None


def test_numbers_may_be_strings_strings_numbers_and_anything_null():
    message = sample("loose-types")

    assert message.is_group
    assert message.text == "12"
    assert message.sender_staff_id == "200"
    assert message.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert message.webhook_expires_at == datetime(2026, 1, 1, 1, 30, 0, 179000, tzinfo=UTC)
    assert (message.robot_code, message.sender_nick) == ("", "")


@pytest.mark.parametrize(
    "expiry",
    [None, "", "soon", 0, -1, 1767231000, True, 1e300, float("nan"), float("inf"), 10**40, "9" * 99,
     [], {}],
)  # fmt: skip
def test_an_absurd_expiry_is_none(expiry):
    assert sample("text-private", sessionWebhookExpiredTime=expiry).webhook_expires_at is None


@pytest.mark.parametrize("webhook", [None, "", "  ", [], {}, True])
def test_no_webhook_is_none(webhook):
    assert sample("text-private", sessionWebhook=webhook).session_webhook is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"richText": [{"msgType": "text", "content": "a"}, {"text": "b"}]}, "ab"),
        ({"richText": [{"type": "at", "atName": "Bot"}, {"text": " hi"}, "!", None, 7]}, "hi!7"),
        ({"richText": "plain"}, "plain"),
        ({"richText": None}, ""),
        ('{"richText":[{"text":"inside a string"}]}', "inside a string"),
        (None, ""),
        ([], ""),
    ],
)
def test_rich_text_is_joined_from_whatever_items_there_are(content, text):
    assert sample("rich-text", content=content).text == text


@pytest.mark.parametrize("text", ["hello ", {"content": " hello"}])
def test_a_text_may_come_without_its_object(text):
    assert sample("text-private", text=text).text == "hello"


def test_repr_shows_neither_webhook_nor_words_nor_names():
    shown = repr(sample("text-group")) + str(sample("text-group"))

    for private in ("sendBySession", "build green", "Alice", "Night shift"):
        assert private not in shown.replace("$:LWCP_v1:$SampleAlice==", "")


def test_a_message_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        sample("text-private").text = "other"  # type: ignore[misc]


def test_an_empty_payload_is_an_empty_message():
    assert parse_bot_message({}) == BotMessage()


@pytest.mark.parametrize(
    ("kind", "told", "duration_ms"),
    [
        ("audio", 900, 900), ("audio", "900", 900), ("audio", 4000, 4000), ("audio", 1, 1),
        ("file", 900, 900), ("video", "5", 5000), ("video", 999, 999_000), ("video", 1000, 1000),
        ("video", 0, None), ("audio", -1, None), ("audio", 10**12, None),
    ],
)  # fmt: skip
def test_only_a_video_may_tell_its_length_in_seconds(kind, told, duration_ms):
    content = {"downloadCode": "codeA", "duration": told}

    message = parse_bot_message({"msgtype": kind, "content": content})

    assert [each.duration_ms for each in message.media] == [duration_ms]


def test_a_name_without_an_id_is_given_to_nobody_else():
    items = [
        {"type": "text", "text": "ask "},
        {"type": "at", "atName": "Carol"},
        {"type": "at", "atName": "Dave"},
    ]
    message = parse_bot_message(
        {
            "msgtype": "richText",
            "content": {"richText": items},
            "chatbotUserId": "$:bot",
            "isInAtList": True,
            "atUsers": [{"dingtalkId": "$:bot"}, {"dingtalkId": "$:carol"}],
        }
    )

    assert message.text == "ask @Carol@Dave"
    assert [(each.dingtalk_id, each.name) for each in message.mentioned] == [
        ("$:bot", ""), ("$:carol", ""), ("", "Carol"), ("", "Dave"),
    ]  # fmt: skip


def test_a_bot_that_is_called_by_name_alone_is_the_one_in_the_list():
    items = [{"type": "at", "atName": "Helper"}, {"type": "text", "text": " hello"}]
    message = parse_bot_message(
        {
            "msgtype": "richText",
            "content": {"richText": items},
            "chatbotUserId": "$:bot",
            "isInAtList": True,
            "atUsers": [{"dingtalkId": "$:carol"}, {"dingtalkId": "$:bot"}],
        }
    )

    assert message.text == "hello"
    assert [(each.dingtalk_id, each.name, each.is_bot) for each in message.mentioned] == [
        ("$:carol", "", False), ("$:bot", "Helper", True),
    ]  # fmt: skip


FIELDS = [
    "msgtype", "msgId", "conversationId", "conversationType", "conversationTitle", "senderId",
    "senderStaffId", "senderNick", "robotCode", "sessionWebhook", "sessionWebhookExpiredTime",
    "createAt", "errorCode", "errCode", "errorMessage", "isInAtList", "text", "content",
    "atUsers", "chatbotUserId", "isAdmin", "quoteMessage", "originalMsgId",
]  # fmt: skip
any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["text", "richText", "audio", "at", "2", '{"richText":[{"text":"x"}]}']),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "content",
                    "richText",
                    "text",
                    "msgType",
                    "summary",
                    "type",
                    "atName",
                    "atUserId",
                    "downloadCode",
                    "duration",
                    "repliedMsg",
                    "isReplyMsg",
                    "chatRecord",
                    "dingtalkId",
                ]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), any_value))
def test_no_payload_raises_and_every_message_can_be_stored(payload):
    message = parse_bot_message(payload)

    assert BotMessage.model_validate_json(message.model_dump_json()) == message


@given(st.sampled_from(["text", "richText", "audio", "chatRecord"]), any_value, any_value)
def test_no_content_raises(kind, text, content):
    parse_bot_message({"msgtype": kind, "text": text, "content": content})
