"""Nothing that comes over the socket ends the listener: the next message always arrives."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from contract.broker import Broker
from dingwire.messages import parse_bot_message
from dingwire.simulator import Simulator
from tests.listening import envelopes_on, running_listener

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
async def simulator():
    async with Simulator(queue_until_connected=True) as simulator:
        yield simulator


async def _next_message_arrives(simulator: Simulator) -> None:
    message = await simulator.say("the next message")
    await simulator.until(
        lambda s: message.message_id in {a.message_id for a in s.message_acks},
        what="the ack of the next message",
    )
    assert message.state == "acked"


def _envelopes(tmp_path):
    return envelopes_on(Broker.from_url("embedded://", tmp_path))


FRAMES = {
    "not JSON": "{not json",
    "empty": "",
    "an array": "[]",
    "null": "null",
    "a number": "1" * 5000,
    "deep": "[" * 100_000,
    "no type": "{}",
    "unknown type": '{"type": "NEW", "headers": {"topic": "x", "messageId": "1"}, "data": "{}"}',
    "unknown system topic": '{"type": "SYSTEM", "headers": {"topic": "KEEPALIVE"}, "data": "{}"}',
    "headers of the wrong type": '{"type": "CALLBACK", "headers": [], "data": 7}',
    "ping without data": '{"type": "SYSTEM", "headers": {"topic": "ping"}}',
    "callback without data": '{"type": "CALLBACK", "headers": '
    '{"topic": "/v1.0/im/bot/messages/get", "messageId": "1"}}',
    "callback with broken data": '{"type": "CALLBACK", "headers": '
    '{"topic": "/v1.0/im/bot/messages/get", "messageId": "1"}, "data": "{broken"}',
    "lone surrogate": '{"type": "CALLBACK", "headers": '
    '{"topic": "\\ud800", "messageId": "\\ud800"}, "data": "{}"}',
    "binary noise": b"\x00\xff\xfe",
    "binary JSON": b'{"type": "SYSTEM", "headers": {"topic": "ping", "messageId": "1"}}',
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
async def test_an_odd_frame_is_passed_over(simulator, tmp_path, frame):
    async with running_listener(simulator, tmp_path):
        await simulator.raw(frame)
        await _next_message_arrives(simulator)

    assert len(simulator.connections) == 1


async def test_a_topic_nobody_handles_is_answered_404(simulator, tmp_path):
    async with running_listener(simulator, tmp_path):
        push = await simulator.push("/v1.0/graph/api/invoke", '{"x": 1}')
        await _next_message_arrives(simulator)

    assert {a.code for a in simulator.acks if a.push_id == push.push_id} == {404}


MESSAGES = {
    "no webhook": {"omit": ["sessionWebhook", "sessionWebhookExpiredTime"]},
    "null webhook": {"sessionWebhook": None},
    "expiry as a string": {"sessionWebhookExpiredTime": "1893456000000"},
    "null expiry": {"sessionWebhookExpiredTime": None},
    "absurd expiry": {"sessionWebhookExpiredTime": 10**30},
    "no msgId": {"omit": ["msgId"]},
    "msgId of the wrong type": {"msgId": {"a": 1}},
    "endless msgId": {"msgId": "x" * 200_000},
    "no text": {"omit": ["text"]},
    "text of the wrong type": {"raw_data": '{"msgId": "1", "msgtype": "text", "text": ["x"]}'},
    "unknown kind": {"kind": "hologram"},
    "no kind": {"omit": ["msgtype"]},
    "lone surrogate": {
        "raw_data": '{"msgId": "\\ud800", "msgtype": "\\ud800", "text": {"content": "\\ud800"}}'
    },
    "almost nothing": {"raw_data": '{"a": 1}'},
}


@pytest.mark.parametrize("oddity", MESSAGES.values(), ids=MESSAGES.keys())
async def test_an_odd_message_is_enqueued_all_the_same(simulator, tmp_path, oddity):
    async with running_listener(simulator, tmp_path):
        await simulator.say("odd", **oddity)
        await _next_message_arrives(simulator)
        await simulator.until(lambda s: len(s.message_acks) == 2)

    assert {ack.code for ack in simulator.message_acks} == {200}
    assert len(_envelopes(tmp_path)) == 2


async def test_every_sample_arrives_and_none_costs_the_connection(simulator, tmp_path):
    """With its words, and what came beside them; tests/samples says what that is."""
    samples = {path.stem: path.read_text(encoding="utf-8") for path in SAMPLES.glob("*.json")}
    async with running_listener(simulator, tmp_path):
        for sample in samples.values():
            await simulator.say("sample", raw_data=sample)
        await simulator.until(lambda s: len(s.message_acks) == len(samples))
        await _next_message_arrives(simulator)

    assert {ack.code for ack in simulator.message_acks} == {200}
    assert len(simulator.connections) == 1
    found = {envelope.message_id: envelope for envelope in _envelopes(tmp_path)}
    for name, sample in samples.items():
        payload = json.loads(sample)
        message, envelope = parse_bot_message(payload), found[payload["msgId"]]
        assert (name, envelope.kind, envelope.text) == (name, message.kind, message.text)
        assert len(envelope.attachments) == len(message.media)
        assert (envelope.quoted is None) == (message.quoted is None)


QUOTES = {
    "null": None,
    "a number": 7,
    "an array": [[]],
    "broken JSON": '{"msgType": "te',
    "of the wrong types": {"msgType": {}, "msgId": [], "content": 7, "createdAt": "soon"},
    "deep": json.loads("[" * 200 + "]" * 200),
    "within a quote": {"msgType": "text", "repliedMsg": {"repliedMsg": {}}, "content": "{}"},
}


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES.keys())
async def test_a_quote_that_cannot_be_read_never_costs_the_message(simulator, tmp_path, quote):
    text = {"content": "and this one?", "isReplyMsg": True, "repliedMsg": quote}
    async with running_listener(simulator, tmp_path):
        payload = {"msgId": "m1", "msgtype": "text", "text": text, "quoteMessage": quote}
        await simulator.say("", raw_data=json.dumps(payload))
        await simulator.until(lambda s: s.message_acks)

    [envelope] = _envelopes(tmp_path)
    assert envelope.text == "and this one?"
    assert envelope.quoted is not None


async def test_an_expiry_as_a_string_is_the_same_time(simulator, tmp_path):
    async with running_listener(simulator, tmp_path):
        await simulator.say("odd", sessionWebhookExpiredTime="1893456000000")
        await simulator.until(lambda s: s.message_acks)

    assert _envelopes(tmp_path)[0].webhook_expires_at.isoformat() == "2030-01-01T00:00:00+00:00"


async def test_a_message_of_a_mebibyte_arrives_whole(simulator, tmp_path):
    async with running_listener(simulator, tmp_path):
        await simulator.say("x" * 1024 * 1024)
        await simulator.until(lambda s: s.message_acks)

    assert len(_envelopes(tmp_path)[0].text) == 1024 * 1024


async def test_a_frame_beyond_the_limit_ends_the_socket_and_not_the_listener(simulator, tmp_path):
    async with running_listener(simulator, tmp_path):
        await simulator.raw("x" * 3 * 1024 * 1024)
        await simulator.until(lambda s: len(s.connections) == 2)
        await _next_message_arrives(simulator)


async def test_a_flood_of_noise_delays_no_ping(tmp_path):
    async with (
        Simulator(ping_first_s=0.1) as simulator,
        running_listener(simulator, tmp_path),
    ):
        for _ in range(2000):
            await simulator.raw("{noise")
        await simulator.until(lambda s: [a for a in s.acks if a.kind == "ping"])


async def test_what_was_written_and_the_webhook_reach_no_log(simulator, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="listener")
    caplog.set_level(logging.DEBUG, logger="dingwire")
    caplog.set_level(logging.DEBUG, logger="asyncio")
    frame = {"type": "CALLBACK", "headers": {}, "data": {"text": "xyzzy"}}
    async with running_listener(simulator, tmp_path, allowed_users=("alice",)):
        await simulator.raw("{xyzzy")
        await simulator.raw(json.dumps(frame))
        await simulator.say("xyzzy")
        await simulator.say("xyzzy", person="mallory")
        await simulator.say("xyzzy", kind="hologram", content={"xyzzy": "xyzzy"})
        await simulator.until(lambda s: len(s.message_acks) == 3)
        await asyncio.sleep(0)

    lines = str([vars(record) for record in caplog.records])
    assert "message_enqueued" in lines
    assert "message_denied" in lines
    assert "frame_malformed" in lines
    assert "xyzzy" not in lines
    assert "sendBySession" not in lines
