"""Whatever DingTalk sends becomes an envelope."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from contract.content import Attachment, Mention, Quoted
from contract.envelope import Conversation, Envelope
from contract.sealing import IN_CLEAR, Sealer
from dingwire.frames import BOT_DELEGATE, BOT_MESSAGE
from dingwire.messages import parse_bot_message
from dingwire.protocol import BotPush, StreamProtocol
from listener.task_message import answer_task
from listener.translate import to_envelope
from tests.fuzz import structures
from worker.agents import Message
from worker.agents.echo import agent as echo

NOW = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
EXPIRES = datetime(2026, 1, 1, 1, 30, tzinfo=UTC)
MESSAGE = {
    "msgId": "msg1+/==",
    "msgtype": "text",
    "text": {"content": " hello "},
    "conversationId": "cid1",
    "conversationType": "2",
    "conversationTitle": "Ops room",
    "senderId": "$:LWCP_v1:$x",
    "senderStaffId": "u100",
    "senderNick": "Alice",
    "robotCode": "dingrobot",
    "createAt": int(CREATED.timestamp() * 1000),
    "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=abc",
    "sessionWebhookExpiredTime": int(EXPIRES.timestamp() * 1000),
}


def _push(payload: object, topic: str = BOT_MESSAGE) -> BotPush:
    received = StreamProtocol().receive(
        json.dumps(
            {
                "type": "CALLBACK",
                "headers": {"topic": topic, "messageId": "push1"},
                "data": json.dumps(payload),
            }
        )
    )
    assert isinstance(received, BotPush)
    return received


def _translated(
    payload: dict[str, Any],
    *,
    clock_offset: timedelta = timedelta(0),
    reply_within_s: float | None = None,
    robot_code: str | None = None,
) -> Envelope:
    push = _push(payload)
    return to_envelope(
        parse_bot_message(push.payload),
        push,
        client_id="dingclient",
        robot_code=robot_code,
        received_at=NOW,
        clock_offset=clock_offset,
        reply_within_s=reply_within_s,
    )


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in MESSAGE.items() if name not in names}


def test_a_group_message_arrives_whole():
    envelope = _translated(MESSAGE)

    assert envelope == Envelope(
        bot="dingrobot",
        client_id="dingclient",
        message_id="msg1+/==",
        push_id="push1",
        conversation_id="cid1",
        conversation=Conversation.GROUP,
        conversation_title="Ops room",
        sender_id="$:LWCP_v1:$x",
        sender_staff_id="u100",
        sender_nick="Alice",
        kind="text",
        text="hello",
        session_webhook=str(MESSAGE["sessionWebhook"]),
        webhook_expires_at=EXPIRES,
        deadline=EXPIRES - timedelta(seconds=2),
        created_at=CREATED,
        received_at=NOW,
    )


def test_a_message_that_does_not_name_its_robot_is_for_the_bot_it_came_to():
    unnamed = _without("robotCode")
    assert _translated(unnamed).bot == "dingclient"
    assert _translated(unnamed, robot_code="robot1").bot == "robot1"
    assert _translated(MESSAGE, robot_code="robot1").bot == "dingrobot"


def test_every_other_conversation_type_is_private():
    assert _translated(MESSAGE | {"conversationType": "1"}).conversation == "private"
    assert _translated(_without("conversationType")).conversation == "private"


def test_without_a_robot_code_the_bot_is_the_client():
    assert _translated(_without("robotCode")).bot == "dingclient"


def test_a_message_without_an_id_gets_one_that_a_redelivery_gets_again():
    first, again = _translated(_without("msgId")), _translated(_without("msgId"))
    other = _translated(_without("msgId") | {"text": {"content": "other"}})

    assert first.message_id
    assert first.message_id == again.message_id
    assert first.message_id != other.message_id


def test_an_id_too_long_for_a_header_is_replaced():
    assert len(_translated(MESSAGE | {"msgId": "x" * 100_000}).message_id) < 100


def test_without_a_webhook_there_is_no_deadline():
    assert _translated(_without("sessionWebhook")).deadline is None


def test_a_webhook_that_names_no_end_has_the_shortest_life():
    """From the moment the message was written, by DingTalk's clock."""
    envelope = _translated(MESSAGE | {"sessionWebhookExpiredTime": None})

    assert envelope.webhook_expires_at is None
    assert envelope.deadline == CREATED + timedelta(minutes=20) - timedelta(seconds=2)


def test_without_any_time_it_counts_from_the_moment_it_was_received_on_dingtalks_clock():
    payload = _without("sessionWebhookExpiredTime", "createAt")

    envelope = _translated(payload, clock_offset=timedelta(minutes=5))

    assert envelope.deadline == NOW + timedelta(minutes=25) - timedelta(seconds=2)
    assert envelope.clock_offset_s == 300


def test_the_promise_counts_on_our_clock():
    envelope = _translated(MESSAGE, clock_offset=timedelta(minutes=5), reply_within_s=10)

    assert envelope.promise_at == NOW + timedelta(seconds=10)


_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(sorted(MESSAGE)) | st.text(min_size=1), _ODD, min_size=1),
    st.booleans(),
)
def test_no_payload_is_too_odd(odd, is_partly_sound):
    envelope = _translated((MESSAGE | odd) if is_partly_sound else odd)

    task = answer_task(envelope)
    on_the_wire = json.loads(json.dumps(task.body))[1]["envelope"]
    assert Envelope.from_wire(on_the_wire) == envelope
    assert Message.of(envelope).text == envelope.text
    assert envelope.message_id
    assert json.dumps(task.headers).encode()


def test_every_part_of_a_message_arrives():
    content = {
        "richText": [{"text": "see"}, {"type": "picture", "downloadCode": "code-1"}],
        "isReplyMsg": True,
        "repliedMsg": {"msgType": "file", "msgId": "m0", "content": {"fileName": "plan.pdf"}},
    }
    users = [{"dingtalkId": "$:LWCP_v1:$c", "staffId": "u300"}]
    extra = {"atUsers": users, "isAdmin": True, "senderPlatform": "Mac"}

    envelope = _translated(MESSAGE | {"msgtype": "richText", "content": content} | extra)

    assert envelope.attachments == (Attachment(kind="picture", download_code="code-1"),)
    assert envelope.quoted == Quoted(
        message_id="m0", kind="file", attachments=(Attachment(kind="file", name="plan.pdf"),)
    )
    assert envelope.mentions == (Mention(staff_id="u300", dingtalk_id="$:LWCP_v1:$c"),)
    assert envelope.raw == {"senderPlatform": "Mac"}
    assert envelope.sender_is_admin
    assert not envelope.is_delegated


def test_a_message_to_a_person_the_bot_stands_in_for_is_marked():
    push = _push(MESSAGE | {"hostingContext": {"userId": "u400"}}, topic=BOT_DELEGATE)

    envelope = to_envelope(
        parse_bot_message(push.payload),
        push,
        client_id="dingclient",
        received_at=NOW,
        clock_offset=timedelta(0),
        reply_within_s=None,
    )

    assert envelope.is_delegated
    assert envelope.raw == {"hostingContext": {"userId": "u400"}}


SEALER = Sealer.from_setting(Fernet.generate_key().decode())


@given(structures.payloads, st.sampled_from([IN_CLEAR, SEALER]))
def test_every_variation_of_what_people_send_reaches_an_agent_whole(raw, sealer):
    """Right in shape, wild in content; sealed or not."""
    envelope = _translated(json.loads(raw) or {"a": 1})

    carried = json.loads(json.dumps(answer_task(envelope, sealer).body))[1]["envelope"]
    read = Envelope.from_wire(sealer.unseal(carried))

    assert read == envelope
    message = Message.of(read)
    assert len(message.attachments) == len(envelope.attachments)
    assert (message.quoted is None) == (envelope.quoted is None)
    assert isinstance(echo(message), str)
