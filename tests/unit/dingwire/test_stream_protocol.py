"""Frames and what they ask of us."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingwire.errors import FrameError
from dingwire.frames import (
    BOT_DELEGATE,
    BOT_MESSAGE,
    CARD_CALLBACK,
    Frame,
    FrameKind,
    ack,
    parse_frame,
)
from dingwire.protocol import (
    BotPush,
    CardPush,
    Disconnect,
    EventPush,
    Malformed,
    Ping,
    Received,
    StreamProtocol,
    Unhandled,
)

PRIVATE = "what a person wrote"


def raw_frame(kind: str, topic: str, data: object = None, **headers: object) -> str:
    return json.dumps(
        {
            "specVersion": "1.0",
            "type": kind,
            "headers": {"topic": topic, "messageId": "push-1", **headers},
            "data": data if isinstance(data, str) else json.dumps(data),
        }
    )


def receive(raw: str | bytes) -> Received:
    return StreamProtocol().receive(raw)


def test_a_frame_is_read_with_its_headers_and_its_inner_json():
    frame = parse_frame(
        raw_frame("CALLBACK", BOT_MESSAGE, {"msgId": "m"}, connectionId="c", time="1767225600123")
    )

    assert frame == Frame(
        kind=FrameKind.CALLBACK,
        topic=BOT_MESSAGE,
        push_id="push-1",
        connection_id="c",
        time=datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC),
        headers=frame.headers,
        data={"msgId": "m"},
        raw_data='{"msgId": "m"}',
    )
    assert frame.headers["connectionId"] == "c"


def test_a_frame_may_misspell_headers_send_a_number_for_time_and_an_object_for_data():
    frame = parse_frame(
        '{"type":"EVENT","header":{"topic":"*","time":1767225600000},"data":{"a":1},"new":[]}'
    )

    assert (frame.kind, frame.topic, frame.data) == (FrameKind.EVENT, "*", {"a": 1})
    assert frame.time == datetime(2026, 1, 1, tzinfo=UTC)
    assert json.loads(frame.raw_data) == {"a": 1}


@pytest.mark.parametrize("headers", ["null", "[]", '"x"', "{}"])
def test_a_frame_without_headers_is_still_a_frame(headers):
    frame = parse_frame(f'{{"type":"SYSTEM","headers":{headers}}}')

    assert (frame.topic, frame.push_id, frame.time) == ("", "", None)


@pytest.mark.parametrize("kind", ["NEWS", "", None, 7, [], {}])
def test_an_unknown_type_is_no_error(kind):
    assert parse_frame(json.dumps({"type": kind})).kind is FrameKind.UNKNOWN


@pytest.mark.parametrize(
    "raw",
    ["", "{", "null", "[]", "7", f'"{PRIVATE}"', f"{PRIVATE}", b"\xff\xfe", "[" * 100_000,
     '{"a":' * 100_000, "1" * 5000],
)  # fmt: skip
def test_what_is_no_json_object_is_a_frame_error_that_does_not_show_it(raw):
    with pytest.raises(FrameError, match="malformed frame of ") as caught:
        parse_frame(raw)

    assert PRIVATE not in str(caught.value)
    assert caught.value.__context__ is None


def test_neither_a_frame_nor_a_push_shows_its_content():
    push = receive(raw_frame("CALLBACK", BOT_MESSAGE, {"text": {"content": PRIVATE}}))

    assert PRIVATE not in repr(push)


def test_a_ping_is_answered_with_its_own_data():
    ping = receive(raw_frame("SYSTEM", "ping", '{"opaque":"7e57"}'))

    assert isinstance(ping, Ping)
    assert json.loads(ping.reply) == {
        "code": 200,
        "headers": {"messageId": "push-1", "contentType": "application/json"},
        "message": "OK",
        "data": '{"opaque":"7e57"}',
    }


def test_a_disconnect_tells_its_reason():
    frame = receive(raw_frame("SYSTEM", "disconnect", {"reason": "connection is expired"}))

    assert isinstance(frame, Disconnect)
    assert frame.reason == "connection is expired"
    assert json.loads(frame.reply)["code"] == 200


def test_a_disconnect_without_reason_or_message_id_is_one_too():
    frame = receive('{"type":"SYSTEM","headers":{"topic":"disconnect"}}')

    assert isinstance(frame, Disconnect)
    assert frame.reason == ""
    assert json.loads(frame.reply)["data"] == "{}"


@pytest.mark.parametrize("topic", [BOT_MESSAGE, BOT_DELEGATE])
def test_a_chat_message_comes_with_its_payload(topic):
    push = receive(raw_frame("CALLBACK", topic, {"msgId": "m"}))

    assert isinstance(push, BotPush)
    assert push.payload == {"msgId": "m"}
    assert push.frame.push_id == "push-1"


def test_a_card_button_comes_with_its_payload():
    push = receive(raw_frame("CALLBACK", CARD_CALLBACK, {"outTrackId": "o"}))

    assert isinstance(push, CardPush)
    assert push.payload == {"outTrackId": "o"}


def test_an_event_is_handed_on():
    push = receive(raw_frame("EVENT", "*", {"userId": ["u"]}, eventType="user_add_org"))

    assert isinstance(push, EventPush)
    assert push.frame.headers["eventType"] == "user_add_org"


@pytest.mark.parametrize("data", ["", "not json", "[]", "{}", "null"])
def test_a_chat_message_without_content_is_malformed(data):
    assert isinstance(receive(raw_frame("CALLBACK", BOT_MESSAGE, data)), Malformed)


@pytest.mark.parametrize("topic", ["CONNECTED", "REGISTERED", "KEEPALIVE", "whatever", ""])
def test_other_system_topics_are_left_unanswered(topic):
    received = receive(raw_frame("SYSTEM", topic))

    assert isinstance(received, Unhandled)
    assert received.reply is None


def test_a_callback_nobody_handles_is_answered_404():
    received = receive(raw_frame("CALLBACK", "/v1.0/graph/api/invoke", {"a": 1}))

    assert isinstance(received, Unhandled)
    assert received.reply is not None
    assert json.loads(received.reply)["code"] == 404


def test_a_frame_of_an_unknown_type_is_left_unanswered():
    received = receive(raw_frame("NEWS", "x"))

    assert isinstance(received, Unhandled)
    assert received.reply is None


def test_a_binary_message_is_read_when_it_is_json_and_malformed_otherwise():
    assert isinstance(receive(raw_frame("SYSTEM", "ping").encode()), Ping)
    assert isinstance(receive(b"\x00\xff\x01"), Malformed)


def test_a_frame_of_one_mebibyte_is_read():
    push = receive(raw_frame("CALLBACK", BOT_MESSAGE, {"text": {"content": "x" * (1 << 20)}}))

    assert isinstance(push, BotPush)


def answer_data(kind: FrameKind, **options: Any) -> object:
    return json.loads(json.loads(ack(Frame(kind=kind, push_id="p"), **options))["data"])


def test_an_ack_answers_each_kind_of_frame_in_its_own_form():
    assert answer_data(FrameKind.CALLBACK) == {"response": None}
    assert answer_data(FrameKind.EVENT) == {"status": "SUCCESS", "message": ""}
    assert answer_data(FrameKind.EVENT, code=500) == {"status": "LATER", "message": ""}
    assert answer_data(FrameKind.SYSTEM) == {}
    assert answer_data(FrameKind.CALLBACK, data={"response": {"a": "ü"}}) == {
        "response": {"a": "ü"}
    }


def test_it_registers_for_chat_messages_card_buttons_and_events():
    assert StreamProtocol().subscriptions() == [
        {"type": "CALLBACK", "topic": "/v1.0/im/bot/messages/get"},
        {"type": "CALLBACK", "topic": "/v1.0/card/instances/callback"},
        {"type": "EVENT", "topic": "*"},
    ]


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
almost_frames = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["SYSTEM", "EVENT", "CALLBACK", "NEWS"]) | any_json,
        "headers": any_json
        | st.fixed_dictionaries(
            {},
            optional={
                "topic": st.sampled_from(["ping", "disconnect", BOT_MESSAGE, CARD_CALLBACK])
                | any_json,
                "messageId": any_json,
                "time": any_json,
            },
        ),
        "data": any_json | any_json.map(json.dumps),
    },
)


@given(st.one_of(st.text(), st.binary(), any_json.map(json.dumps), almost_frames.map(json.dumps)))
def test_whatever_comes_is_sorted_without_an_exception(raw):
    received = receive(raw)

    reply = getattr(received, "reply", None)
    if reply is not None:
        assert isinstance(json.loads(reply)["data"], str)


@given(st.one_of(st.text(), st.binary(), almost_frames.map(json.dumps)))
def test_parsing_a_frame_raises_a_frame_error_or_nothing(raw):
    with contextlib.suppress(FrameError):
        parse_frame(raw)
