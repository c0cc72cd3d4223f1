import json
from typing import Any

import pytest

from dingwire.simulator import payloads
from dingwire.simulator.faults import Faults
from dingwire.simulator.world import Conversation, Person

ALICE = Person("alice", "Alice")
PRIVATE = Conversation("cidPrivate", "alice", is_group=False)
GROUP = Conversation("cidGroup", "Ops room", is_group=True)


def data(
    *, conversation: Conversation = PRIVATE, kind: str = "text", text: str = "hello", **faults: Any
) -> dict[str, Any]:
    return payloads.message_data(
        text=text,
        kind=kind,
        message_id="msg1",
        sender=ALICE,
        conversation=conversation,
        created_at_ms=1767225600000,
        session_webhook="http://127.0.0.1:1/robot/sendBySession?session=0",
        expires_at_ms=1767231000000,
        faults=Faults(**faults),
    )


def test_numbers_are_numbers_and_the_conversation_type_is_a_string():
    message = data()

    assert message["createAt"] == 1767225600000
    assert message["sessionWebhookExpiredTime"] == 1767231000000
    assert message["conversationType"] == "1"


def test_a_private_message_has_no_leading_space_and_no_group_fields():
    message = data()

    assert message["text"] == {"content": "hello"}
    assert not {"conversationTitle", "isInAtList", "atUsers"} & set(message)


def test_a_group_message_starts_with_the_space_the_mention_left():
    message = data(conversation=GROUP)

    assert message["text"] == {"content": " hello"}
    assert message["conversationType"] == "2"
    assert message["conversationTitle"] == "Ops room"
    assert message["atUsers"] == [{"dingtalkId": message["chatbotUserId"]}]


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        ("richText", "richText"),
        ("picture", "downloadCode"),
        ("audio", "recognition"),
        ("video", "videoType"),
        ("file", "fileName"),
        ("hologram", "unknownMsgType"),
    ],
)
def test_every_other_kind_carries_content_instead_of_text(kind, member):
    message = data(kind=kind)

    assert message["msgtype"] == kind
    assert member in message["content"]
    assert "text" not in message


def test_the_payload_switches_bend_what_the_sheet_says_can_be_bent():
    assert data(strings_for_numbers=True)["sessionWebhookExpiredTime"] == "1767231000000"
    assert "senderStaffId" not in data(without_staff_id=True)
    assert "text" not in data(without_text=True)
    assert "fieldOfTomorrow" in data(extra_fields=True)


def test_a_used_up_quota_comes_without_text():
    message = data(quota_used_up=True)

    assert message["errorCode"] == "20001"
    assert "text" not in message


def test_a_frame_carries_its_data_and_its_time_as_strings():
    raw = payloads.frame(
        kind="CALLBACK", topic="t", push_id="p", now_ms=5, data='{"a":1}', connection_id="c"
    )

    frame = json.loads(raw)
    assert frame["specVersion"] == "1.0"
    assert frame["data"] == '{"a":1}'
    assert frame["headers"]["time"] == "5"
    assert {"appId", "connectionId"} <= set(frame["headers"])


def test_a_disconnect_frame_names_neither_app_nor_connection():
    raw = payloads.frame(
        kind="SYSTEM", topic="disconnect", push_id="p", now_ms=5, data="{}", connection_id=None
    )

    assert set(json.loads(raw)["headers"]) == {"contentType", "messageId", "time", "topic"}


def test_push_ids_never_repeat():
    assert len({payloads.new_push_id(5) for _ in range(1000)}) == 1000
