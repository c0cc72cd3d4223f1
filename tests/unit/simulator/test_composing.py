import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dingwire.simulator.bot_records import ProactiveSend
from dingwire.simulator.composing import Utterance, compose
from dingwire.simulator.contents import Quote
from dingwire.simulator.faults import Faults
from dingwire.simulator.records import BOT_TOPIC, Message, Reply
from dingwire.simulator.world import BOT_ID, World


@pytest.fixture
def world() -> World:
    return World(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), faults=Faults())


def said(world: World, text: str = "hello", **more: Any) -> Message:
    message = compose(world, Utterance(text=text, person="alice", **more))
    world.add_message(message)
    return message


def quoted(world: World, quote: Any) -> Any:
    return said(world, quote=quote).payload["text"]["repliedMsg"]


def test_a_voice_message_may_come_without_words(world):
    assert said(world, kind="audio").payload["content"]["recognition"] == "hello"
    silent = said(world, "", kind="audio").payload["content"]

    assert "recognition" not in silent
    assert silent["duration"] == 4000


def test_a_forwarded_conversation_is_json_in_json(world):
    content = said(world, "Alice: done\nBob: thanks", kind="chatRecord").payload["content"]
    entries = json.loads(content["chatRecord"])

    assert content["summary"] == "Alice: done\nBob: thanks"
    assert [(each["senderName"], each["content"]) for each in entries] == [
        ("Alice", "done"),
        ("Bob", "thanks"),
    ]


def test_kinds_without_a_file_carry_what_the_sheet_says(world):
    assert said(world, kind="markdown").payload["content"] == {"text": "hello"}
    assert "unknownMsgType" in said(world, kind="unknownMsgType").payload["content"]
    assert said(world, kind="unknownMsgType").payload["ai_robot_sessionid"] == ""
    assert "biz_custom_action_url" in said(world, kind="interactiveCard").payload["content"]


def test_a_quote_of_a_text_is_kept_apart_from_the_answer(world):
    first = said(world)
    payload = said(world, "why?", quote=first).payload

    assert payload["text"]["content"] == "why?"
    assert payload["text"]["isReplyMsg"] is True
    assert payload["text"]["repliedMsg"]["content"] == {"text": "hello"}
    assert payload["originalMsgId"] == payload["text"]["repliedMsg"]["msgId"] == first.message_id


def test_a_quote_in_a_message_with_content_stands_there(world):
    content = said(world, kind="richText", quote=said(world)).payload["content"]

    assert content["repliedMsg"]["msgType"] == "text"
    assert content["richText"]


def test_quoted_files_keep_their_codes_and_say_durations_as_text(world):
    picture, voice = said(world, kind="picture"), said(world, kind="audio")
    rich = said(world, kind="richText")

    code = picture.payload["content"]["downloadCode"]
    assert quoted(world, picture)["content"] == {"downloadCode": code}
    assert quoted(world, voice)["content"]["duration"] == "4000"
    assert quoted(world, rich)["content"]["richText"][0] == {"msgType": "text", "content": "hello"}
    assert quoted(world, rich)["content"]["richText"][-1]["msgType"] == "picture"


def test_a_quote_of_the_bot_names_the_bot(world):
    reply = Reply("cid", "alice", 1, {"msgtype": "text", "text": {"content": "hi"}}, {}, "hi")
    shown = quoted(world, reply)

    assert (shown["senderId"], shown["content"]) == (BOT_ID, {"text": "hi"})


def test_a_quoted_card_is_known_by_its_key_alone(world):
    world.journal.proactive.append(ProactiveSend(1, {}, {}, process_query_key="pqk1"))
    payload = said(world, quote="pqk1").payload

    assert payload["originalProcessQueryKey"] == "pqk1"
    assert payload["text"]["repliedMsg"]["msgType"] == "interactiveCard"
    assert "content" not in payload["text"]["repliedMsg"]


def test_a_quote_can_be_made_up_and_an_unknown_one_is_refused(world):
    made_up = Quote("video", "msgOld", "$:x", 1, {"duration": "2000"}, "Carol")

    assert quoted(world, made_up)["senderNick"] == "Carol"
    with pytest.raises(ValueError, match="quote"):
        said(world, quote="nothing like this")


def test_people_who_are_mentioned_stand_beside_the_bot(world):
    payload = said(world, group="Ops room", mentions=["bob"]).payload

    assert payload["atUsers"][0] == {"dingtalkId": BOT_ID}
    assert payload["atUsers"][1]["staffId"] == "bob"
    assert "atUsers" not in said(world, mentions=["bob"]).payload


def test_a_bot_that_stands_in_for_somebody_gets_no_webhook(world):
    message = said(world, delegate="bob")

    assert message.topic == "/v1.0/im/bot/messages/delegate"
    assert message.payload["hostingContext"] == {"userId": "bob", "nick": "Bob"}
    assert message.payload["conversationMsgContext"][0]["readStatus"] == "1"
    assert "sessionWebhook" not in message.payload
    assert said(world).topic == BOT_TOPIC


def test_a_code_becomes_good_for_the_robot_that_is_sent_it(world):
    message = said(world, kind="picture")
    code = world.files.find(message.codes[0])

    assert code is not None
    assert code.robots == set()
    world.files.grant(message.codes[0], "bot")
    assert code.robots == {"bot"}
